"""What a courier does with objects and waiting times; its destination does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from pathlib import Path

import pytest

from edge_runtime.outbox.courier import Courier
from edge_runtime.outbox.link import Link
from edge_runtime.outbox.store import (
    BusyError,
    InterruptedSendError,
    RefusedError,
    UnreachableError,
)
from edge_runtime.rejection import Reason
from edge_runtime.spool import Spool
from edge_runtime.spool.delivery import Delivery, claim_delivery, resume, waiting
from edge_runtime.spool.notes import next_withdrawn
from edge_runtime.spool.withdrawal import withdraw
from edge_runtime.unit.life import Life
from tests.edge_runtime.outgoing import (
    capture,
    dicom,
    object_uid,
    queue_objects,
    report,
    states,
    unit,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()


@dataclass
class PassingClock:
    """A clock that goes on by what is slept, and ends the life at its time."""

    life: Life
    end: float
    moment: float = NOON
    zone: tzinfo | None = UTC
    on_sleep: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self.moment

    def sleep(self, seconds: float, life: Life) -> None:
        self.moment += seconds
        self.on_sleep()
        if self.moment >= self.end:
            life.stop()


@dataclass
class ScriptedStore:
    """A destination that answers as a function says, and remembers what it was sent, and when."""

    clock: PassingClock
    answer: Callable[[Delivery], Exception | None] = lambda delivery: None
    tried: list[tuple[float, str]] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    idled: list[float] = field(default_factory=list)

    def send(self, delivery: Delivery, coming: Sequence[Delivery]) -> int:
        self.tried.append((self.clock.now() - NOON, delivery.sop_instance_uid))
        error = self.answer(delivery)
        if error is not None:
            raise error
        self.stored.append(delivery.sop_instance_uid)
        return delivery.size

    def idle(self) -> None:
        self.idled.append(self.clock.now() - NOON)

    def close(self) -> None: ...

    def abort(self) -> None: ...


@dataclass
class Scene:
    """A spool, a clock, and a destination."""

    spool: Spool
    life: Life
    clock: PassingClock
    store: ScriptedStore
    link: Link
    windows: tuple[str, ...] = ()
    live: bool = True

    def run(self, seconds: float) -> None:
        """Let the courier work for some time."""
        self.clock.end = self.clock.moment + seconds
        (destination,) = unit(
            self.spool.folder, dicom("pacs", 104, windows=self.windows)
        ).destinations
        Courier(
            destination, self.store, self.spool, self.life, self.clock, self.link,
            lambda spool: self.live,
        ).run()  # fmt: skip

    def queue(self, name: str, decision: str = "not_flagged", kilobytes: int = 2) -> str:
        objects = [("sc", capture(object_uid(name), kilobytes))]
        return queue_objects(self.spool, name, ["pacs"], objects, decision)[0]

    def state(self, sop_instance_uid: str) -> str:
        return states(self.spool.folder, "pacs")[sop_instance_uid]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    life = Life()
    clock = PassingClock(life, NOON)
    (tmp_path / "net/wwan0").mkdir(parents=True)
    (tmp_path / "net/wwan0/carrier").write_text("0\n")
    link = Link(tmp_path / "net", tmp_path / "none", tmp_path / "none")
    spool = Spool(tmp_path / "spool", clock.now)
    return Scene(spool, life, clock, ScriptedStore(clock), link)


def test_urgent_goes_first_results_before_films_small_before_large(scene: Scene) -> None:
    large = scene.queue("large", kilobytes=9)
    small = scene.queue("small")
    urgent = scene.queue("urgent", "urgent_review", kilobytes=20)
    film = capture(object_uid("film"), 1)
    (original,) = queue_objects(
        scene.spool, "film", ["pacs"], [("original", film)], "urgent_review"
    )
    scene.run(5)
    assert scene.store.stored == [urgent, small, large, original]


def test_waits_twice_as_long_up_to_a_minute_while_nobody_is_there(scene: Scene) -> None:
    uid = scene.queue("film")
    scene.store.answer = lambda _: UnreachableError("nobody")
    scene.run(300)
    at = [moment for moment, _ in scene.store.tried]
    assert at == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]
    assert scene.state(uid) == "waiting"
    assert waiting(scene.spool, "pacs", 1)[0].attempts == 0, "the object is not at fault"


def test_tries_at_once_when_the_link_comes_up(scene: Scene, tmp_path: Path) -> None:
    scene.queue("film")
    carrier = tmp_path / "net/wwan0/carrier"
    scene.store.answer = lambda _: UnreachableError("nobody")

    def plug_in() -> None:
        if scene.clock.moment >= NOON + 100:
            carrier.write_text("1\n")

    scene.clock.on_sleep = plug_in
    scene.run(120)
    at = [moment for moment, _ in scene.store.tried]
    assert at == [0, 1, 3, 7, 15, 31, 63, 100, 101, 103, 107, 115]


def test_success_begins_the_waiting_times_anew(scene: Scene) -> None:
    failures = iter([True] * 5 + [False] + [True] * 99)
    scene.queue("a"), scene.queue("b")
    scene.store.answer = lambda _: UnreachableError("nobody") if next(failures) else None
    scene.run(40)
    at = [moment for moment, _ in scene.store.tried]
    assert at == [0, 1, 3, 7, 15, 31, 31, 32, 34, 38]


def test_sends_inside_its_windows_only_and_at_once_when_one_opens(scene: Scene) -> None:
    scene.windows = ("13:00-13:01",)
    scene.store.answer = lambda _: UnreachableError("nobody")
    scene.queue("film")
    scene.run(3 * 3600)
    at = [moment - 3600 for moment, _ in scene.store.tried]
    assert at == [0, 1, 3, 7, 15, 31]


def test_a_refused_object_holds_up_nothing_and_is_tried_again_in_an_hour(scene: Scene) -> None:
    refused = scene.queue("first", "urgent_review")
    others = [scene.queue(f"film {number}") for number in range(3)]
    scene.store.answer = lambda one: (
        RefusedError("0xA900") if one.sop_instance_uid == refused else None
    )
    scene.run(3700)
    assert scene.store.stored == others
    at = [moment for moment, uid in scene.store.tried if uid == refused]
    assert at == pytest.approx([0, 3600], abs=2)


def test_an_error_of_one_object_holds_up_nothing(scene: Scene) -> None:
    broken = scene.queue("first", "urgent_review")
    others = [scene.queue(f"film {number}") for number in range(3)]
    scene.store.answer = lambda one: ZeroDivisionError() if one.sop_instance_uid == broken else None
    scene.run(60)
    assert scene.store.stored == others


def test_an_object_that_ends_every_association_lets_the_others_go(scene: Scene) -> None:
    poison = scene.queue("first", "urgent_review")
    others = [scene.queue(f"film {number}") for number in range(5)]
    (original,) = queue_objects(
        scene.spool, "film", ["pacs"], [("original", capture(object_uid("film"), 1))]
    )
    scene.store.answer = lambda one: (
        InterruptedSendError("cut") if one.sop_instance_uid == poison else None
    )
    scene.run(600)
    assert scene.store.stored == [*others, original]
    at = [moment for moment, uid in scene.store.tried if uid == poison]
    # At once, at once, then behind the others; never more than two minutes apart.
    assert max(b - a for a, b in pairwise(at)) <= 121
    assert len(at) < 25


def test_a_film_too_large_for_the_link_lets_the_others_go(scene: Scene) -> None:
    def originals(name: str, kilobytes: int, decision: str) -> str:
        given = capture(object_uid(name), kilobytes)
        return queue_objects(scene.spool, name, ["pacs"], [("original", given)], decision)[0]

    large = originals("large", 9, "urgent_review")
    others = [originals(f"film {number}", 1, "not_flagged") for number in range(20)]

    def takes_time(delivery: Delivery) -> Exception | None:
        scene.clock.moment += 180
        return InterruptedSendError("cut") if delivery.sop_instance_uid == large else None

    scene.store.answer = takes_time
    scene.run(2 * 3600)
    assert scene.store.stored == others
    at = [moment for moment, uid in scene.store.tried if uid == large]
    assert len(at) <= 12, "of 40 that the link had time for"
    assert max(b - a for a, b in pairwise(at)) <= 3600 + 2 * 180, "nor is it forgotten"


def test_an_object_that_a_destination_trips_over_is_tried_ever_less(scene: Scene) -> None:
    poison = scene.queue("first", "urgent_review")
    other = scene.queue("other")
    scene.store.answer = lambda one: BusyError("0xA700") if one.sop_instance_uid == poison else None
    scene.run(4 * 3600)
    assert scene.store.stored == [other]
    at = [moment for moment, uid in scene.store.tried if uid == poison]
    assert at[:4] == pytest.approx([0, 2, 6, 14], abs=4)
    assert len(at) < 16
    assert max(b - a for a, b in pairwise(at)) <= 3661


def test_what_ended_the_outbox_waits_longer_each_time(scene: Scene) -> None:
    poison = scene.queue("first", "urgent_review")
    other = scene.queue("other")
    waits = []
    for _ in range(14):
        while (claimed := claim_delivery(scene.spool, "pacs")) is None or (
            claimed.sop_instance_uid == other
        ):
            scene.clock.moment += 1
        began = scene.clock.moment
        # Killed here.
        resume(scene.spool)
        while not any(one.sop_instance_uid == poison for one in waiting(scene.spool, "pacs", 9)):
            scene.clock.moment += 1
        waits.append(scene.clock.moment - began)
    assert waits[:4] == [2, 4, 8, 16]
    assert max(waits) == 3600


def test_commitment_is_asked_for_when_the_queue_ends_and_while_it_does_not(scene: Scene) -> None:
    for number in range(20):
        scene.queue(f"film {number}")

    def takes_time(delivery: Delivery) -> None:
        scene.clock.moment += 60

    scene.store.answer = takes_time
    scene.run(1250)
    assert len(scene.store.stored) == 20
    assert scene.store.idled == [300, 600, 900, 1200]


def test_rejection_notes_alone_leave_in_shadow_mode(scene: Scene) -> None:
    uids = queue_objects(
        scene.spool, "film", ["pacs"],
        [("sr", report(object_uid("sr"))), ("ko", report(object_uid("ko")))],
    )  # fmt: skip
    scene.live = False
    scene.run(3600)
    assert [uid for _, uid in scene.store.tried] == uids[1:]
    assert [scene.state(uid) for uid in uids] == ["waiting", "sent"]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (InterruptedSendError("cut"), "sent"),
        (UnreachableError("nobody"), "cancelled"),
        (RefusedError("0xA900"), "cancelled"),
    ],
)
@pytest.mark.parametrize("meanwhile", [True, False])
def test_what_is_withdrawn_gets_a_rejection_note_where_it_may_have_arrived(
    scene: Scene, error: Exception, state: str, meanwhile: bool
) -> None:
    def take_back() -> None:
        with Spool(scene.spool.folder, scene.clock.now) as other:
            withdraw(other, object_uid("film"), Reason.QUALITY, "A. Person")

    def answer(delivery: Delivery) -> Exception:
        if meanwhile:
            take_back()
        return error

    uid = scene.queue("film")
    scene.store.answer = answer
    scene.run(1)
    if not meanwhile:
        take_back()
    assert scene.state(uid) == state
    assert bool(next_withdrawn(scene.spool)) == (state == "sent")
    assert len(scene.store.tried) == 1, "it is not sent again"


def test_reports_are_sent_like_pictures(scene: Scene) -> None:
    uids = queue_objects(
        scene.spool, "film", ["pacs"],
        [("sc", capture(object_uid("sc"))), ("sr", report(object_uid("sr")))],
    )  # fmt: skip
    scene.run(5)
    assert scene.store.stored == [uids[1], uids[0]]
