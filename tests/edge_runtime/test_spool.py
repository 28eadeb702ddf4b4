"""The spool: what was acknowledged has exactly one current result, whatever happens in between."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_runtime.errors import SpoolError
from edge_runtime.rejection import Reason
from edge_runtime.spool import FilmState, Spool
from edge_runtime.spool.admission import (
    FilmIdentity,
    Outcome,
    Received,
    admit,
    quarantine,
    sweep,
    take_rejection,
)
from edge_runtime.spool.audit import verify
from edge_runtime.spool.delivery import (
    Delivery,
    claim_delivery,
    delivered,
    not_delivered,
    resume,
)
from edge_runtime.spool.documents import NewDocument
from edge_runtime.spool.notes import next_withdrawn, note_withdrawal
from edge_runtime.spool.retention import remove_old
from edge_runtime.spool.studies import claim_study, report_study
from edge_runtime.spool.withdrawal import withdraw
from edge_runtime.spool.work import NewResult, SpooledFilm, begin, claim_film, fail, finish

WORK = "bundle one"
RESULT = NewResult(FilmState.REPORTED, "urgent_review", 0.9, 0.8, "{}", WORK)
FILM = FilmIdentity("1.2.1", "1.2.3.1", "1.2.3.0", "1.2.3", "patient", 2)


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> Spool:
    opened = Spool(tmp_path / "spool", clock)
    begin(opened, WORK, "boot")
    return opened


def received(spool: Spool, content: str) -> Received:
    data = content.encode()
    file = spool.folder / "incoming" / hashlib.sha256(data).hexdigest()[:8]
    file.write_bytes(data)
    return Received(file, hashlib.sha256(data).hexdigest(), len(data), "test")


def document(spool: Spool, kind: str, uid: str, destinations: tuple[str, ...]) -> NewDocument:
    path = spool.folder / "results" / f"{uid}.dcm"
    path.write_bytes(uid.encode())
    return NewDocument(kind, "1.2.9", uid, "1.2.9.0", path, len(uid), destinations)  # type: ignore[arg-type]


def screen(spool: Spool, *, sends: bool = True, result: NewResult = RESULT) -> SpooledFilm:
    film = claim_film(spool)
    assert film is not None
    uid = f"2.25.{film.id}.{film.result_revision}"
    made = document(spool, "sc", uid, ("pacs",) if sends else ())
    assert finish(spool, film, result, [made])
    return film


def report(spool: Spool) -> str | None:
    study = claim_study(spool)
    if study is None:
        return None
    made = None
    if study.views:
        uid = f"2.25.{study.study_instance_uid}.{study.revision}"
        made = document(spool, "sr", uid, ("pacs",))
    decision = study.views[0].decision if study.views else None
    assert report_study(spool, study, decision, "[]", made)
    return None if made is None else made.sop_instance_uid


def deliver_all(spool: Spool) -> list[str]:
    sent = []
    while delivery := claim_delivery(spool, "pacs"):
        delivered(spool, delivery, delivery.size)
        sent.append(delivery.sop_instance_uid)
    return sent


def states(spool: Spool) -> list[str]:
    return [row["state"] for row in spool.rows("SELECT state FROM film ORDER BY id")]


def test_a_film_goes_from_received_to_delivered(spool: Spool) -> None:
    assert admit(spool, received(spool, "film"), FILM) == Outcome.NEW
    assert not list((spool.folder / "incoming").iterdir())
    film = screen(spool)
    assert film.path.read_text() == "film"
    assert states(spool) == ["reported"]
    report(spool)
    assert len(deliver_all(spool)) == 2
    assert states(spool) == ["delivered"]
    assert verify(spool)[0] > 4


def test_the_same_bytes_again_are_done_once(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    screen(spool)
    assert admit(spool, received(spool, "film"), FILM) == Outcome.DUPLICATE
    assert claim_film(spool) is None
    assert not list((spool.folder / "incoming").iterdir())


def test_a_corrected_patient_supersedes_and_takes_back_what_was_sent(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    screen(spool)
    old_report = report(spool)
    sent = deliver_all(spool)
    other = replace(FILM, patient_sha256="right patient")
    assert admit(spool, received(spool, "corrected"), other) == Outcome.REVISED
    assert states(spool) == ["superseded", "received"]
    withdrawn = next_withdrawn(spool)
    assert sorted(one.sop_instance_uid for one in withdrawn) == sorted(sent)
    assert old_report in sent
    assert {one.reason for one in withdrawn} == {Reason.PATIENT_SAFETY}
    note_withdrawal(spool, withdrawn, document(spool, "ko", "2.25.9", ()))
    assert next_withdrawn(spool) == []
    assert deliver_all(spool) == ["2.25.9"], "it goes where what it takes back went"
    assert screen(spool).result_revision == 2


def test_a_reprocessed_film_supersedes_the_report_and_names_it(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    screen(spool)
    old_report = report(spool)
    deliver_all(spool)
    admit(spool, received(spool, "reprocessed"), FILM)
    screen(spool)
    assert {one.reason for one in next_withdrawn(spool)} == {Reason.QUALITY}
    study = claim_study(spool)
    assert study is not None and study.sent_report is not None
    assert study.sent_report.sop_instance_uid == old_report
    assert [view.result_revision for view in study.views] == [2]


def test_results_that_were_not_sent_are_cancelled_without_a_note(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    screen(spool)
    report(spool)
    admit(spool, received(spool, "corrected"), replace(FILM, patient_sha256="other"))
    assert deliver_all(spool) == []
    assert next_withdrawn(spool) == []


def test_what_is_being_sent_while_it_is_taken_back_is_taken_back_after(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    screen(spool)
    sending = claim_delivery(spool, "pacs")
    assert sending is not None
    withdraw(spool, FILM.sop_instance_uid, Reason.QUALITY, "Dr A")
    assert next_withdrawn(spool) == [], "not before it is known whether it arrived"
    delivered(spool, sending, sending.size)
    assert [one.sop_instance_uid for one in next_withdrawn(spool)] == [sending.sop_instance_uid]


def test_a_failed_delivery_of_what_was_taken_back_is_not_tried_again(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    screen(spool)
    sending = claim_delivery(spool, "pacs")
    assert sending is not None
    withdraw(spool, FILM.study_instance_uid, Reason.WORKLIST, "Dr A")
    not_delivered(spool, sending, "no link", 0.0)
    assert claim_delivery(spool, "pacs") is None


def test_a_late_view_makes_a_new_report_that_names_the_one_before(spool: Spool) -> None:
    admit(spool, received(spool, "view one"), FILM)
    screen(spool)
    first = report(spool)
    deliver_all(spool)
    admit(spool, received(spool, "view two"), replace(FILM, sop_instance_uid="1.2.3.2"))
    screen(spool)
    study = claim_study(spool)
    assert study is not None and study.sent_report is not None
    assert len(study.views) == 2
    assert study.sent_report.sop_instance_uid == first
    assert next_withdrawn(spool) == [], "out of date is not wrong"


def test_reports_wait_for_the_views_that_are_already_here(spool: Spool) -> None:
    for number in (1, 2):
        film = replace(FILM, sop_instance_uid=f"1.2.3.{number}")
        admit(spool, received(spool, f"view {number}"), film)
    screen(spool)
    assert claim_study(spool) is None
    screen(spool)
    assert claim_study(spool) is not None


def test_only_the_newest_of_unsent_reports_is_sent(spool: Spool) -> None:
    for number in (1, 2):
        film = replace(FILM, sop_instance_uid=f"1.2.3.{number}")
        admit(spool, received(spool, f"view {number}"), film)
        screen(spool)
        report(spool)
    assert sum(uid.startswith("2.25.1.2.3") for uid in deliver_all(spool)) == 1


def test_a_rejection_note_withdraws_films_now_and_those_to_come(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    note = received(spool, "note")
    later = replace(FILM, sop_instance_uid="1.2.3.7")
    rejected = [FILM.sop_instance_uid, later.sop_instance_uid]
    assert take_rejection(spool, note, Reason.QUALITY, rejected) == 1
    assert take_rejection(spool, received(spool, "note"), Reason.QUALITY, rejected) == 0
    assert admit(spool, received(spool, "later"), later) == Outcome.WITHDRAWN
    assert states(spool) == ["withdrawn", "withdrawn"]
    assert claim_film(spool) is None


def test_a_withdrawal_during_the_screening_discards_its_result(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    film = claim_film(spool)
    assert film is not None
    withdraw(spool, FILM.sop_instance_uid, Reason.QUALITY, "Dr A")
    assert not finish(spool, film, RESULT, [])
    assert spool.rows("SELECT * FROM result") == []


def test_whoever_withdraws_names_something_that_is_there(spool: Spool) -> None:
    with pytest.raises(SpoolError, match="no film or study"):
        withdraw(spool, "1.2.840", Reason.QUALITY, "Dr A")


def test_a_film_that_ends_the_worker_three_times_lets_others_pass(spool: Spool) -> None:
    admit(spool, received(spool, "deadly"), FILM)
    admit(spool, received(spool, "sound"), replace(FILM, sop_instance_uid="1.2.3.2"))
    first = claim_film(spool)
    begin(spool, WORK, "boot")  # The worker was killed and starts again.
    second = claim_film(spool)
    assert first is not None and second is not None
    assert second.id != first.id, "the film that ended it goes behind the others"
    assert finish(spool, second, RESULT, [])
    for start in (2, 3, 4):
        film = claim_film(spool)
        assert film is not None and film.starts == start
        assert film.ends_the_worker == (start > 3)
        begin(spool, WORK, "boot")


def test_a_power_cut_is_not_held_against_a_film(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    for boot in ("second", "third", "fourth", "fifth"):
        film = claim_film(spool)
        assert film is not None and film.starts == 1
        begin(spool, WORK, boot)


def test_urgent_films_and_results_go_first(spool: Spool) -> None:
    for number, urgency in enumerate((2, 2, 0)):
        film = replace(
            FILM, sop_instance_uid=f"1.2.3.{number}", study_instance_uid=f"1.2.{number}",
            urgency=urgency,
        )  # fmt: skip
        admit(spool, received(spool, f"film {number}"), film)
    not_flagged = replace(RESULT, decision="not_flagged")
    order = [screen(spool, result=not_flagged).sop_instance_uid]
    order += [screen(spool).sop_instance_uid]
    assert order == ["1.2.3.2", "1.2.3.0"]
    first = claim_delivery(spool, "pacs")
    assert first is not None and first.sop_instance_uid == "2.25.1.1", "the urgent result"


def test_a_clock_that_is_put_back_does_not_strand_what_waits(spool: Spool, clock: Clock) -> None:
    admit(spool, received(spool, "film"), FILM)
    film = claim_film(spool)
    assert film is not None
    fail(spool, film, "no delegate", 60.0)
    assert claim_film(spool) is None
    clock.now -= 10 * 365 * 86400
    assert claim_film(spool) is not None


def test_other_work_screens_again_what_was_not_sent(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    screen(spool)
    begin(spool, "bundle two", "boot")
    assert states(spool) == ["received"]
    again = screen(spool, result=replace(RESULT, work="bundle two"))
    assert again.result_revision == 2
    assert len(spool.rows("SELECT * FROM result WHERE current")) == 1
    assert deliver_all(spool) == [f"2.25.{again.id}.2"]


def test_a_result_of_shadow_mode_takes_back_nothing_that_was_sent(spool: Spool) -> None:
    for number in (1, 2):
        film = replace(FILM, sop_instance_uid=f"1.2.3.{number}", study_instance_uid=f"1.2.{number}")
        admit(spool, received(spool, f"film {number}"), film)
        screen(spool)
    sent = claim_delivery(spool, "pacs")
    assert sent is not None and sent.sop_instance_uid == "2.25.1.1"
    delivered(spool, sent, sent.size)
    begin(spool, "bundle two", "boot")
    admit(spool, received(spool, "film 1"), replace(FILM, sop_instance_uid="1.2.3.1"))
    for _ in range(2):
        screen(spool, sends=False, result=replace(RESULT, work="bundle two", live=False))
    assert next_withdrawn(spool) == [], "nothing would come in its place"
    assert deliver_all(spool) == [], "what waited is out of date"
    assert len(spool.rows("SELECT * FROM result WHERE current AND work = 'bundle two'")) == 2
    withdraw(spool, "1.2.3.1", Reason.QUALITY, "Dr A")
    assert [one.sop_instance_uid for one in next_withdrawn(spool)] == ["2.25.1.1"]


def test_a_film_sent_again_is_screened_again_only_for_other_work(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    screen(spool)
    report(spool)
    deliver_all(spool)
    begin(spool, "bundle two", "boot")
    assert states(spool) == ["delivered"], "what was sent stands, until somebody asks"
    assert admit(spool, received(spool, "film"), FILM) == Outcome.AGAIN
    screen(spool, result=replace(RESULT, work="bundle two"))
    assert [one.reason for one in next_withdrawn(spool)] == [Reason.QUALITY]


def test_sweeping_deletes_what_was_never_acknowledged_and_nothing_else(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    quarantine(spool, received(spool, "no film"), "no DICOM file")
    half = spool.folder / "incoming" / "0"
    half.mkdir()
    (half / "half.dcm").write_text("ha")
    orphan = spool.folder / "films" / "ab"
    orphan.mkdir()
    (orphan / "abcd.dcm").write_text("renamed, then killed before the commit")
    assert sweep(spool, half) == 2
    kept = [file.read_text() for file in spool.folder.rglob("*.dcm")]
    assert sorted(kept) == ["film", "no film"]


def test_retention_keeps_what_is_not_delivered(spool: Spool, clock: Clock) -> None:
    admit(spool, received(spool, "film"), FILM)
    screen(spool)
    report(spool)
    pass_days(spool, clock, 100)
    deliver_all(spool)
    assert remove_old(spool, 86400.0, 0, ["pacs"]) == 0, "nor what is not committed to"
    assert remove_old(spool, 86400.0, 0, ()) > 0
    assert not list(spool.folder.rglob("*.dcm"))
    assert admit(spool, received(spool, "film"), FILM) == Outcome.DUPLICATE


def pass_days(spool: Spool, clock: Clock, days: int) -> None:
    """Let a unit be on every day; nothing is deleted."""
    for _ in range(days):
        assert remove_old(spool, 86400.0 * days, 0, ()) == 0
        clock.now += 86400.0


@pytest.mark.parametrize("jump_s", [20 * 365 * 86400.0, -20 * 365 * 86400.0])
def test_a_clock_that_leaps_deletes_nothing_early(
    spool: Spool, clock: Clock, jump_s: float
) -> None:
    """A unit whose clock has no battery starts decades ago; another's is wrong for a minute."""
    keep_s = 30 * 86400.0
    admit(spool, received(spool, "film"), FILM)
    screen(spool)
    report(spool)
    deliver_all(spool)
    assert remove_old(spool, keep_s, 0, ()) == 0
    clock.now += jump_s
    assert remove_old(spool, keep_s, 0, ()) == 0
    clock.now += 60.0
    late = replace(FILM, sop_instance_uid="1.2.3.2", study_instance_uid="1.2.4")
    admit(spool, received(spool, "film while it was wrong"), late)
    screen(spool)
    report(spool)
    deliver_all(spool)
    clock.now -= jump_s
    pass_days(spool, clock, 30)
    clock.now -= 1.0
    assert remove_old(spool, keep_s, 0, ()) == 0, "kept for as long as was asked"
    clock.now += 2.0
    assert remove_old(spool, keep_s, 0, ()) > 0
    assert not list(spool.folder.rglob("*.dcm")), "nor for ever, whenever it came"


def test_a_full_disk_is_tidied_up_whatever_the_clock_says(spool: Spool, clock: Clock) -> None:
    admit(spool, received(spool, "film"), FILM)
    screen(spool)
    report(spool)
    deliver_all(spool)
    clock.now -= 20 * 365 * 86400.0
    assert remove_old(spool, 30 * 86400.0, 1 << 60, ()) > 0


@pytest.mark.parametrize("jump_s", [10 * 365 * 86400.0, -10 * 365 * 86400.0, -86400.0])
def test_a_clock_that_leaps_strands_nothing(spool: Spool, clock: Clock, jump_s: float) -> None:
    """What was put off before or while the clock is wrong waits no longer than it may ever."""
    for number in range(2):
        film = replace(FILM, sop_instance_uid=f"1.2.3.{number}", study_instance_uid=f"1.2.{number}")
        admit(spool, received(spool, f"film {number}"), film)
    screen(spool)
    put_off = claim_delivery(spool, "pacs")
    assert put_off is not None
    not_delivered(spool, put_off, "refused", 3600.0)
    clock.now += jump_s
    film_put_off = claim_film(spool)
    assert film_put_off is not None
    fail(spool, film_put_off, "no delegate", 300.0)
    clock.now -= jump_s
    # The longest that an object ever waits, and a little.
    clock.now += 3601.0
    assert claim_film(spool) is not None
    assert claim_delivery(spool, "pacs") is not None
    begin(spool, WORK, "boot")
    screen(spool)
    while report(spool):
        pass
    assert len(deliver_all(spool)) > 0
    resume(spool)
    clock.now += 3601.0
    deliver_all(spool)
    assert set(states(spool)) == {"delivered"}


def test_a_film_moves_only_as_the_states_allow(spool: Spool) -> None:
    admit(spool, received(spool, "film"), FILM)
    with (
        pytest.raises(sqlite3.IntegrityError, match="no such transition"),
        spool.transaction() as x,
    ):
        x("UPDATE film SET state = 'delivered'")


def test_a_spool_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool, spool.transaction() as execute:
        execute("PRAGMA user_version = 99")
    with pytest.raises(SpoolError, match="newer osteoedge"):
        Spool(tmp_path)


class SpoolMachine(RuleBasedStateMachine):
    """Anything in any order, with processes killed in between."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.spool = Spool(Path(mkdtemp(prefix="spool-")), self.clock)
        begin(self.spool, WORK, "boot")
        self.acknowledged: dict[str, str] = {}
        self.rejected: set[str] = set()
        self.film: SpooledFilm | None = None
        self.sending: Delivery | None = None

    @rule(sop=st.integers(1, 3), content=st.integers(1, 2), patient=st.integers(1, 2))
    def send(self, sop: int, content: int, patient: int) -> None:
        uid, text = f"1.2.3.{sop}", f"{sop} {content} {patient}"
        identity = replace(
            FILM, sop_instance_uid=uid, study_instance_uid=f"1.2.{sop % 2}",
            patient_sha256=str(patient),
        )  # fmt: skip
        outcome = admit(self.spool, received(self.spool, text), identity)
        if outcome != Outcome.DUPLICATE:
            self.acknowledged[uid] = hashlib.sha256(text.encode()).hexdigest()
            if outcome != Outcome.WITHDRAWN:
                self.rejected.discard(uid)

    @rule()
    def take(self) -> None:
        if self.film is None:
            self.film = claim_film(self.spool)

    @precondition(lambda self: self.film is not None)
    @rule(decision=st.sampled_from(["urgent_review", "not_flagged", "unable"]))
    def end(self, decision: str) -> None:
        film, self.film = self.film, None
        assert film is not None
        uid = f"2.25.{film.id}.{film.result_revision}"
        made = document(self.spool, "sc", uid, ("pacs",))
        state = FilmState.UNABLE if decision == "unable" else FilmState.REPORTED
        finish(self.spool, film, replace(RESULT, state=state, decision=decision), [made])

    @precondition(lambda self: self.film is not None)
    @rule()
    def fail(self) -> None:
        film, self.film = self.film, None
        assert film is not None
        fail(self.spool, film, "no delegate", 0.0)

    @rule()
    def kill_worker(self) -> None:
        self.film = None
        begin(self.spool, WORK, "boot")

    @rule()
    def report(self) -> None:
        report(self.spool)

    @rule()
    def note(self) -> None:
        if withdrawn := next_withdrawn(self.spool):
            uid = f"2.25.8.{withdrawn[0].id}.{len(withdrawn)}"
            note_withdrawal(self.spool, withdrawn, document(self.spool, "ko", uid, ()))

    @rule(arrives=st.booleans())
    def deliver(self, arrives: bool) -> None:
        self.sending = self.sending or claim_delivery(self.spool, "pacs")
        if self.sending is not None:
            if arrives:
                delivered(self.spool, self.sending, self.sending.size)
            else:
                not_delivered(self.spool, self.sending, "no link", 0.0)
            self.sending = None

    @rule()
    def start_sending(self) -> None:
        self.sending = self.sending or claim_delivery(self.spool, "pacs")

    @rule()
    def kill_outbox(self) -> None:
        self.sending = None
        resume(self.spool)
        self.clock.now += 4000.0  # What was being sent waits a while.

    @rule(sop=st.integers(1, 3))
    def reject(self, sop: int) -> None:
        uid = f"1.2.3.{sop}"
        if uid in self.acknowledged:
            withdraw(self.spool, uid, Reason.QUALITY, "Dr A")
            self.rejected.add(uid)

    @invariant()
    def every_acknowledged_film_is_there_once(self) -> None:
        for uid, content in self.acknowledged.items():
            films = self.spool.rows(
                "SELECT * FROM film WHERE sop_instance_uid = ? ORDER BY revision", uid
            )
            open_films = [f for f in films if f["state"] not in ("superseded", "withdrawn")]
            assert len(open_films) == (0 if uid in self.rejected else 1)
            if open_films:
                assert open_films[0]["content_sha256"] == content
            assert (self.spool.folder / films[-1]["path"]).exists()

    @invariant()
    def whatever_ended_has_exactly_one_current_result(self) -> None:
        for row in self.spool.rows(
            "SELECT f.state, (SELECT COUNT(*) FROM result r WHERE r.film_id = f.id AND r.current) "
            "AS results FROM film f"
        ):
            if row["state"] in ("reported", "unable", "delivered", "quarantined"):
                assert row["results"] == 1
            elif row["state"] in ("superseded", "withdrawn"):
                assert row["results"] == 0

    @invariant()
    def what_is_counted_is_what_is_there(self) -> None:
        counted = {
            (row["what"], row["destination"], row["key"]): row["number"]
            for row in self.spool.rows("SELECT * FROM tally WHERE what <> 'sent'")
            if row["number"]
        }
        there = self.spool.rows(
            "SELECT 'film', '', state, COUNT(*) FROM film GROUP BY 3 "
            "UNION ALL SELECT 'result', '', decision, COUNT(*) FROM result GROUP BY 3 "
            "UNION ALL SELECT 'study', '', '', COUNT(*) FROM study GROUP BY 3 "
            "UNION ALL SELECT 'delivery', destination, state, COUNT(*) FROM delivery GROUP BY 2, 3"
        )
        assert counted == {tuple(row)[:3]: row[3] for row in there}

    @invariant()
    def nothing_that_was_taken_back_waits_to_be_sent(self) -> None:
        assert not self.spool.rows(
            "SELECT 1 FROM delivery x JOIN document d ON d.id = x.document_id "
            "WHERE d.withdrawn IS NOT NULL AND x.state = 'waiting'"
        )

    def teardown(self) -> None:
        # Left alone, the queue empties, and every film and study has what it should.
        self.kill_worker()
        self.kill_outbox()
        while (film := claim_film(self.spool)) is not None:
            uid = f"2.25.{film.id}.{film.result_revision}"
            finish(self.spool, film, RESULT, [document(self.spool, "sc", uid, ("pacs",))])
        while self.spool.row("SELECT 1 FROM study WHERE reported < revision") is not None:
            report(self.spool)
        while withdrawn := next_withdrawn(self.spool):
            uid = f"2.25.8.{withdrawn[0].id}.{len(withdrawn)}"
            note_withdrawal(self.spool, withdrawn, document(self.spool, "ko", uid, ()))
        deliver_all(self.spool)
        assert set(states(self.spool)) <= {"delivered", "superseded", "withdrawn"}
        verify(self.spool)
        self.spool.close()


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
