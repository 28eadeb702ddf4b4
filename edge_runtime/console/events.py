"""What changes, as server-sent events (HTML standard, 9.2): which study, how far, which decision.

One thread looks at the spool: at a number that SQLite changes with each commit of anybody, and only
where it did, at the newest films. Each client has a short queue; who does not read is let go, and
may come back with the last event's id.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import secrets
import sqlite3
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.bundle import ModelBundle
from edge_runtime.console.documents import StudyEvent
from edge_runtime.console.problems import RefusedError
from edge_runtime.console.studies import study_state, told_decision, told_since
from edge_runtime.errors import SpoolError
from edge_runtime.spool import FilmState, Spool

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""How often the spool is looked at, seconds."""

# The newest films, whose studies are watched: days of work.
_WATCHED_FILMS = 2000
_REMEMBERED, _QUEUED = 1000, 200
_MOST_CLIENTS = 32
_HEARTBEAT_S = 15.0
# A browser that lost its connection asks again after that, milliseconds.
_RETRY = b"retry: 2000\n\n"


@dataclass(frozen=True)
class _Event:
    number: int
    study: StudyEvent


@dataclass(frozen=True)
class _Watched:
    """A study as it was seen.

    Attributes
    ----------
    details
        Whatever else a page that shows it would draw anew for.
    """

    event: StudyEvent
    details: tuple[Any, ...]


class Events:
    """Tells every client of changes. All but the look itself is for one thread, the event loop's.

    Parameters
    ----------
    folder
        Of the spool.
    """

    def __init__(self, folder: Path, bundle: ModelBundle) -> None:
        self._folder = folder
        self._bundle = bundle
        self._clients: set[asyncio.Queue[_Event | None]] = set()
        self._past: deque[_Event] = deque(maxlen=_REMEMBERED)
        self._seen: dict[str, _Watched] = {}
        self._number = 0
        # Event ids of another run of the console mean nothing to this one.
        self._run = secrets.token_hex(4)
        self._begun = False

    async def watch(self) -> None:
        """Look at the spool until cancelled."""
        loop = asyncio.get_running_loop()
        # A connection to SQLite belongs to one thread.
        with ThreadPoolExecutor(1, "events") as thread:
            spool = await loop.run_in_executor(thread, Spool, self._folder)
            try:
                version, failed = None, False
                while True:
                    try:
                        version, found = await loop.run_in_executor(
                            thread, _look, spool, self._bundle, version
                        )
                        failed = False
                        if found is not None:
                            self._compare(*found)
                    except SpoolError as error:
                        if not failed:
                            log.error("cannot look at the spool", exc_info=error)
                        failed = True
                    await asyncio.sleep(LOOK_S)
            finally:
                thread.submit(spool.close)

    def close(self) -> None:
        """End every stream."""
        for queue in list(self._clients):
            _let_go(queue)
        self._clients.clear()

    def check_room(self) -> None:
        """Refuse where there are too many clients.

        Raises
        ------
        RefusedError
            There are.
        """
        if len(self._clients) >= _MOST_CLIENTS:
            raise RefusedError(503, "too many clients listen to events", "Close some of them")

    async def stream(self, last_id: str | None) -> AsyncIterator[bytes]:
        """Yield events as they are sent, from now on, or from behind the last that a client had.

        Where it is not known any more what came since, every watched study is told.
        """
        queue: asyncio.Queue[_Event | None] = asyncio.Queue(_QUEUED)
        missed = self._since(last_id)
        self._clients.add(queue)
        try:
            yield _RETRY
            for event in missed:
                yield self._text(event)
            while True:
                try:
                    next_event = await asyncio.wait_for(queue.get(), _HEARTBEAT_S)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if next_event is None:
                    return
                yield self._text(next_event)
        finally:
            self._clients.discard(queue)

    def _since(self, last_id: str | None) -> list[_Event]:
        if last_id is None:
            return []
        run, _, number = last_id.partition("-")
        if run == self._run and number.isdecimal():
            known = [event for event in self._past if event.number > int(number)]
            if int(number) == self._number or (known and known[0].number == int(number) + 1):
                return known
        return [_Event(self._number, watched.event) for watched in self._seen.values()]

    def _compare(self, live: bool, found: dict[str, _Watched]) -> None:
        """Tell what changed since the last look."""
        before, self._seen = self._seen, found
        begun, self._begun = self._begun, True
        if not live:
            # Nothing is told in shadow mode; who asks again is told that.
            self.close()
            self._past.clear()
        if not live or not begun:
            return
        for uid, watched in found.items():
            if before.get(uid) != watched:
                self._publish(watched.event)

    def _publish(self, study: StudyEvent) -> None:
        self._number += 1
        event = _Event(self._number, study)
        self._past.append(event)
        for queue in list(self._clients):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                _let_go(queue)
                self._clients.discard(queue)

    def _text(self, event: _Event) -> bytes:
        data = json.dumps(event.study.model_dump())
        return f"event: study\nid: {self._run}-{event.number}\ndata: {data}\n\n".encode()


def _look(
    spool: Spool, bundle: ModelBundle, before: int | None
) -> tuple[int, tuple[bool, dict[str, _Watched]] | None]:
    """Return the number of the spool's newest state, and what is there; None: what was there."""
    version: int = spool.rows("PRAGMA data_version")[0][0]
    if version == before:
        return version, None
    since = told_since(spool, bundle)
    newest = "(SELECT study_instance_uid FROM film ORDER BY id DESC LIMIT ?)"
    films: defaultdict[str, list[sqlite3.Row]] = defaultdict(list)
    for film in spool.rows(
        "SELECT id, study_instance_uid, state FROM film WHERE state <> 'superseded' "
        f"AND study_instance_uid IN {newest} ORDER BY id",
        _WATCHED_FILMS,
    ):
        films[film["study_instance_uid"]].append(film)
    decided = {
        row["study_instance_uid"]: row
        for row in spool.rows(
            f"SELECT * FROM study WHERE study_instance_uid IN {newest}", _WATCHED_FILMS
        )
    }
    reads = {
        row["study_instance_uid"]: row["last"]
        for row in spool.rows(
            "SELECT study_instance_uid, MAX(read_id) AS last FROM read_link "
            f"WHERE study_instance_uid IN {newest} GROUP BY 1",
            _WATCHED_FILMS,
        )
    }
    told_from = math.inf if since is None else since
    return version, (
        since is not None,
        {
            uid: _watched(uid, of_study, decided.get(uid), reads.get(uid), told_from)
            for uid, of_study in films.items()
        },
    )


def _watched(
    uid: str,
    films: list[sqlite3.Row],
    study: sqlite3.Row | None,
    last_read: int | None,
    since: float,
) -> _Watched:
    left = [film["state"] for film in films if film["state"] != FilmState.WITHDRAWN]
    reported = study is not None and study["reported"] >= study["revision"]
    event = StudyEvent(
        study_instance_uid=uid,
        state=study_state(left, reported) if left else "withdrawn",
        decision=told_decision(study, since) if left else None,
    )
    states = tuple((film["id"], film["state"]) for film in films)
    return _Watched(event, (states, study["revision"] if study else 0, last_read))


def _let_go(queue: asyncio.Queue[_Event | None]) -> None:
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)
