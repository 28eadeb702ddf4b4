"""Events: what changes is told within a moment, to whoever listens, and to whoever comes back."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.console import events as events_module
from edge_runtime.console.documents import StudyEvent
from edge_runtime.console.events import Events
from tests.edge_runtime.consoles import (
    BUNDLE,
    Console,
    EventStream,
    SocketConnection,
    console_at_work,
    film_of,
)
from tests.edge_runtime.screenings import screening
from tests.processes import until


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    with console_at_work(tmp_path) as console:
        yield console


def listen(console: Console, last_id: str | None = None) -> EventStream:
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    stream = EventStream(SocketConnection(console.socket), headers)
    assert stream.status == 200
    return stream


def told(stream: EventStream) -> list[tuple[str, str, str | None]]:
    return [(e["study_instance_uid"], e["state"], e["decision"]) for e in stream.events]


def test_a_film_is_told_as_it_goes_on(console: Console) -> None:
    stream = listen(console)
    film = film_of(1)
    began = time.monotonic()
    console.submit(film)
    until(lambda: told(stream) == [("2.25.11", "waiting", None)], "received", 5)
    print(f"received, told after {time.monotonic() - began:.2f} s")
    began = time.monotonic()
    console.screen(screening())
    until(lambda: told(stream)[-1] == ("2.25.11", "done", "urgent_review"), "done", 5)
    print(f"decided, told after {time.monotonic() - began:.2f} s")
    asked = {"person": "Dr Test", "reason": "quality"}
    console.local("POST", f"/v1/films/{film.SOPInstanceUID}/withdraw", asked)
    until(lambda: told(stream)[-1] == ("2.25.11", "withdrawn", None), "withdrawn", 5)
    stream.close()


def test_who_comes_back_misses_nothing(console: Console) -> None:
    first = listen(console)
    console.submit(film_of(1))
    until(lambda: len(first.events) == 1, "one event", 5)
    first.close()
    for number in (2, 3):
        console.submit(film_of(number))
    watching = listen(console)
    again = listen(console, first.events[-1]["id"])
    until(
        lambda: {uid for uid, _, _ in told(again)} == {"2.25.12", "2.25.13"}, "what came since", 5
    )
    nothing = listen(console, again.events[-1]["id"])
    stranger = listen(console, "another-7")
    until(lambda: len(stranger.events) == 3, "every study", 5)
    console.submit(film_of(4))
    until(lambda: told(nothing) == [("2.25.14", "waiting", None)], "only what is new", 5)
    for stream in (watching, again, nothing, stranger):
        stream.close()


def test_shadow_mode_ends_every_stream(console: Console) -> None:
    stream = listen(console)
    console.go(live=False)
    assert stream.ended.wait(5)
    assert console.local("GET", "/v1/events").status == 403
    console.submit(film_of(1))
    console.screen(screening())
    console.go(live=True)
    stream = listen(console, "another-7")
    console.submit(film_of(2))
    until(lambda: ("2.25.12", "waiting", None) in told(stream), "an event", 5)
    hidden = [event for event in told(stream) if event[0] == "2.25.11"]
    assert {decision for _, _, decision in hidden} <= {None}, "what shadow mode hid stays so"
    stream.close()


def test_who_does_not_read_is_let_go_and_others_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "_QUEUED", 10)

    async def play() -> None:
        events = Events(tmp_path, BUNDLE)
        idler, reader = events.stream(None), events.stream(None)
        assert await anext(idler) == await anext(reader) == b"retry: 2000\n\n"
        for number in range(11):
            events._publish(
                StudyEvent(study_instance_uid=f"2.25.{number}", state="waiting", decision=None)
            )
            assert f"2.25.{number}".encode() in await anext(reader)
        with pytest.raises(StopAsyncIteration):
            await anext(idler)
        assert len(events._clients) == 1

    asyncio.run(play())


def test_clients_are_counted(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "_MOST_CLIENTS", 2)
    streams = [listen(console), listen(console)]
    assert console.local("GET", "/v1/events").status == 503
    for stream in streams:
        stream.close()

    def free() -> bool:
        connection = SocketConnection(console.socket)
        stream = EventStream(connection, {})
        stream.close()
        return stream.status == 200

    until(free, "a place is free again", 10)


def test_it_stops_at_once_with_streams_open(tmp_path: Path) -> None:
    with console_at_work(tmp_path) as console:
        streams = [listen(console) for _ in range(3)]
        port = http.client.HTTPConnection("127.0.0.1", console.port)
        streams.append(EventStream(port, {"Authorization": f"Bearer {console.token}"}))
        began = time.monotonic()
        console.life.stop()
        for stream in streams:
            assert stream.ended.wait(5)
        until(lambda: not console.socket.exists(), "it stopped", 5)
        print(f"stopped in {time.monotonic() - began:.2f} s")
        assert time.monotonic() - began < 4
