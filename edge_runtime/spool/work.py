"""What the worker takes from the spool and gives back: each step one transaction.

Work may be done twice, where the worker was killed in the middle; a result is recorded once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_runtime.rejection import Reason
from edge_runtime.spool.audit import hashed, record
from edge_runtime.spool.database import RESULTS, Execute, Spool, set_settings
from edge_runtime.spool.states import ENDED, FilmState
from edge_runtime.spool.withdrawal import cancel_waiting, retract, retract_results

# A film that was begun this often, and never ended, ends the worker; it is set aside.
MAX_STARTS = 3
# A waiting time beyond any that is ever set: the clock was put back.
CLOCK_JUMP_S = 2 * 3600.0
# Rows of the table `setting`: what the worker makes results with, and the machine's last start.
WORK_SETTING, _BOOT_SETTING = "work", "boot_id"
# Of a document `d`: it was sent, or may have been.
_WENT = (
    "EXISTS (SELECT 1 FROM delivery x WHERE x.document_id = d.id "
    "AND (x.state IN ('sending', 'sent', 'committed') OR x.uncertain))"
)

DocumentKind = Literal["sr", "sc", "seg", "ko", "original"]


@dataclass(frozen=True)
class SpooledFilm:
    """A film that the worker has taken.

    Attributes
    ----------
    path
        Of its file.
    result_revision
        How many results films of this instance have had, this one included. Work that is repeated
        after a kill has the same.
    starts
        How often it was begun since it last ended, this time included.
    """

    id: int
    path: Path
    sop_instance_uid: str
    study_instance_uid: str
    content_sha256: str
    result_revision: int
    starts: int
    failures: int

    @property
    def ends_the_worker(self) -> bool:
        """Whether it was begun too often without an end."""
        return self.starts > MAX_STARTS


@dataclass(frozen=True)
class NewResult:
    """What came of a film.

    Attributes
    ----------
    work
        Hash of what made it: bundle, software, intended use.
    tumour, malignant
        Scores for the study's rule, 0..1; None where there are none.
    document
        JSON, schema `osteoedge.screening/1`.
    live
        Whether it may be sent. One of shadow mode cancels what waits of an earlier result, and lets
        stand what was sent of it: nothing would come in its place.
    """

    state: FilmState
    decision: str
    tumour: float | None
    malignant: float | None
    document: str
    work: str
    live: bool = True


@dataclass(frozen=True)
class NewDocument:
    """A DICOM object that lies whole and synced below the spool's folder.

    Attributes
    ----------
    destinations
        Names of those that it is to be sent to.
    """

    kind: DocumentKind
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    path: Path
    size: int
    destinations: tuple[str, ...]


@dataclass(frozen=True)
class StudyView:
    """A film of a study that has a current result."""

    film_id: int
    path: Path
    content_sha256: str
    result_revision: int
    decision: str
    tumour: float | None
    malignant: float | None
    document: str


@dataclass(frozen=True)
class SentReport:
    """A report that was sent, or may have been."""

    sop_instance_uid: str
    series_instance_uid: str
    study_revision: int
    made_at: float


@dataclass(frozen=True)
class OpenStudy:
    """A study whose newest revision has no report yet.

    Attributes
    ----------
    views
        Its films that have a current result, as they came.
    starts
        How often a report was begun since the last that ended, this time included.
    sent_report
        The newest one that is not withdrawn; None where there is none.
    """

    study_instance_uid: str
    revision: int
    views: tuple[StudyView, ...]
    starts: int
    sent_report: SentReport | None

    @property
    def ends_the_worker(self) -> bool:
        """Whether a report was begun too often without an end."""
        return self.starts > MAX_STARTS


@dataclass(frozen=True)
class WithdrawnDocument:
    """An object that was sent, or may have been, and is not to be used.

    Attributes
    ----------
    headers
        Files whose header tells its patient and study: films that it is of, and itself.
    """

    id: int
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    reason: Reason
    headers: tuple[Path, ...]


def begin(spool: Spool, work: str, boot_id: str) -> None:
    """Put the queue in order for a worker that starts: nothing is being screened now.

    Films that have a result of other work, of which nothing was sent, are screened again.

    Parameters
    ----------
    work
        Hash of what this worker makes results with.
    boot_id
        Of the machine: a film was not at fault where the machine went down.
    """
    now = spool.now()
    with spool.transaction() as execute:
        rebooted = spool.setting(_BOOT_SETTING) not in (None, boot_id)
        execute(
            "UPDATE film SET state = ?, state_since = ?, starts = starts - ? WHERE state = ?",
            FilmState.RECEIVED, now, int(rebooted), FilmState.SCREENING,
        )  # fmt: skip
        set_settings(execute, {WORK_SETTING: work, _BOOT_SETTING: boot_id})
        execute(
            "UPDATE film SET state = ?, state_since = ?, starts = 0 WHERE state IN (?, ?, ?) "
            "AND EXISTS (SELECT 1 FROM result r WHERE r.film_id = film.id AND r.current "
            "            AND r.work <> ?) "
            "AND EXISTS (SELECT 1 FROM document_film df JOIN delivery d USING (document_id) "
            "            WHERE df.film_id = film.id AND d.state = 'waiting') "
            "AND NOT EXISTS (SELECT 1 FROM document_film df JOIN delivery d USING (document_id) "
            "                WHERE df.film_id = film.id AND d.state IN ('sent', 'committed'))",
            FilmState.RECEIVED, now, *ENDED, work,
        )  # fmt: skip


def claim_film(spool: Spool) -> SpooledFilm | None:
    """Take the next film: the most urgent first, then in the order that they came.

    One that ended the worker before comes after those that did not.
    """
    now = spool.now()
    waiting = (
        "SELECT id FROM film WHERE state IN ('received', 'failed') "
        "AND (next_try <= ? OR next_try > ?) ORDER BY starts, urgency, id LIMIT 1"
    )
    # A look first: a transaction that takes nothing would still wake the disk.
    if spool.row(waiting, now, now + CLOCK_JUMP_S) is None:
        return None
    with spool.transaction() as execute:
        found = execute(
            "UPDATE film SET state = ?, state_since = ?, starts = starts + 1 "
            f"WHERE id = ({waiting}) RETURNING *",
            FilmState.SCREENING, now, now, now + CLOCK_JUMP_S,
        ).fetchone()  # fmt: skip
        if found is None:
            return None
        earlier = execute(
            "SELECT COUNT(*) AS results FROM result r JOIN film f ON f.id = r.film_id "
            "WHERE f.sop_instance_uid = ?",
            found["sop_instance_uid"],
        ).fetchone()["results"]
    return SpooledFilm(
        id=found["id"],
        path=spool.folder / found["path"],
        sop_instance_uid=found["sop_instance_uid"],
        study_instance_uid=found["study_instance_uid"],
        content_sha256=found["content_sha256"],
        result_revision=earlier + 1,
        starts=found["starts"],
        failures=found["failures"],
    )


def give_back(spool: Spool, work: SpooledFilm | OpenStudy) -> None:
    """Put back what was begun and could not be ended for want of space: it is not at fault."""
    with spool.transaction() as execute:
        if isinstance(work, SpooledFilm):
            execute(
                "UPDATE film SET state = ?, state_since = ?, starts = starts - 1 "
                "WHERE id = ? AND state = ?",
                FilmState.RECEIVED, spool.now(), work.id, FilmState.SCREENING,
            )  # fmt: skip
        else:
            execute(
                "UPDATE study SET starts = starts - 1 WHERE study_instance_uid = ? "
                "AND reported < revision AND starts > 0",
                work.study_instance_uid,
            )


def fail(spool: Spool, film: SpooledFilm, reason: str, wait_s: float) -> None:
    """Put a film back that could not be screened for a reason that is not its own."""
    now = spool.now()
    with spool.transaction() as execute:
        execute(
            "UPDATE film SET state = ?, state_since = ?, reason = ?, starts = 0, "
            "failures = failures + 1, next_try = ? WHERE id = ? AND state = ?",
            FilmState.FAILED, now, reason, now + wait_s, film.id, FilmState.SCREENING,
        )  # fmt: skip


def finish(
    spool: Spool, film: SpooledFilm, result: NewResult, documents: Sequence[NewDocument]
) -> bool:
    """Record what came of a film; its study has a new revision.

    Returns
    -------
    bool
        False where the film was superseded or withdrawn meanwhile: nothing is recorded then.
    """
    now = spool.now()
    with spool.transaction() as execute:
        state = execute("SELECT state FROM film WHERE id = ?", film.id).fetchone()["state"]
        if state != FilmState.SCREENING:
            return False
        retract_results(execute, film.id, Reason.QUALITY, sent_too=result.live)
        execute(
            "INSERT INTO result (film_id, revision, work, decision, tumour, malignant, document, "
            "made_at) VALUES (?,?,?,?,?,?,?,?)",
            film.id, film.result_revision, result.work, result.decision, result.tumour,
            result.malignant, result.document, now,
        )  # fmt: skip
        execute(
            "UPDATE film SET state = ?, state_since = ?, starts = 0, failures = 0, reason = NULL "
            "WHERE id = ?",
            result.state, now, film.id,
        )  # fmt: skip
        urgency = _urgency(result.decision)
        for document in documents:
            if document.kind == "original" and _has_original(execute, film.id):
                continue
            _add_document(
                execute, spool, document, film.study_instance_uid, None, [film.id], urgency
            )
        execute(
            "INSERT INTO study (study_instance_uid, revision, reasons, urgency, updated_at) "
            "VALUES (?, 1, '[]', ?, ?) ON CONFLICT (study_instance_uid) DO UPDATE SET "
            "revision = revision + 1, urgency = MIN(urgency, excluded.urgency), "
            "updated_at = excluded.updated_at",
            film.study_instance_uid, urgency, now,
        )  # fmt: skip
        record(
            execute, now, "screened", film=hashed(film.sop_instance_uid), state=result.state,
            decision=result.decision, work=result.work,
        )  # fmt: skip
    return True


def claim_study(spool: Spool) -> OpenStudy | None:
    """Take the most urgent study without a report, none of whose films is about to come."""
    waiting = (
        "SELECT study_instance_uid FROM study s WHERE reported < revision AND NOT EXISTS ("
        "  SELECT 1 FROM film f WHERE f.study_instance_uid = s.study_instance_uid"
        "  AND f.state IN ('received', 'screening')) ORDER BY starts, urgency, updated_at LIMIT 1"
    )
    if spool.row(waiting) is None:
        return None
    with spool.transaction() as execute:
        found = execute(
            "UPDATE study SET starts = starts + 1 "
            f"WHERE study_instance_uid = ({waiting}) RETURNING *"
        ).fetchone()
    if found is None:
        return None
    uid = found["study_instance_uid"]
    views = spool.rows(
        "SELECT f.path, f.content_sha256, r.* FROM film f "
        "JOIN result r ON r.film_id = f.id AND r.current "
        "WHERE f.study_instance_uid = ? ORDER BY f.id",
        uid,
    )
    sent = spool.row(
        "SELECT * FROM document d WHERE study_instance_uid = ? AND kind = 'sr' "
        f"AND withdrawn IS NULL AND {_WENT} ORDER BY study_revision DESC LIMIT 1",
        uid,
    )
    return OpenStudy(
        study_instance_uid=uid,
        revision=found["revision"],
        starts=found["starts"],
        views=tuple(
            StudyView(
                film_id=view["film_id"],
                path=spool.folder / view["path"],
                content_sha256=view["content_sha256"],
                result_revision=view["revision"],
                decision=view["decision"],
                tumour=view["tumour"],
                malignant=view["malignant"],
                document=view["document"],
            )
            for view in views
        ),
        sent_report=(
            SentReport(
                sop_instance_uid=sent["sop_instance_uid"],
                series_instance_uid=sent["series_instance_uid"],
                study_revision=sent["study_revision"],
                made_at=sent["made_at"],
            )
            if sent is not None
            else None
        ),
    )


def report_study(
    spool: Spool,
    study: OpenStudy,
    decision: str | None,
    reasons: str,
    report: NewDocument | None,
) -> bool:
    """Record a study's decision, and its report in the place of earlier ones.

    Parameters
    ----------
    decision
        None where no film has a current result.
    reasons
        JSON list of sentences.
    report
        None where there is nothing to report on, or no report is made of studies.

    Returns
    -------
    bool
        False where the study changed meanwhile: nothing is recorded then.
    """
    now = spool.now()
    with spool.transaction() as execute:
        urgency = _urgency(decision)
        changed = execute(
            "UPDATE study SET decision = ?, reasons = ?, urgency = ?, reported = revision, "
            "starts = 0, updated_at = ? WHERE study_instance_uid = ? AND revision = ?",
            decision, reasons, urgency, now, study.study_instance_uid, study.revision,
        ).rowcount  # fmt: skip
        if not changed:
            return False
        _cancel_waiting_reports(execute, study.study_instance_uid)
        # Triage: whatever of the study still waits moves with its decision.
        execute(
            "UPDATE delivery SET urgency = ? WHERE state = 'waiting' AND document_id IN ("
            "SELECT id FROM document WHERE study_instance_uid = ?)",
            urgency, study.study_instance_uid,
        )  # fmt: skip
        if report is not None:
            _add_document(
                execute, spool, report, study.study_instance_uid, study.revision,
                [view.film_id for view in study.views], urgency,
            )  # fmt: skip
        record(
            execute, now, "study decided", study=hashed(study.study_instance_uid),
            revision=study.revision, decision=decision,
        )  # fmt: skip
    return True


def next_withdrawn(spool: Spool) -> list[WithdrawnDocument]:
    """Return objects of one study and reason that were sent and have no rejection note yet."""
    rows = spool.rows(
        "SELECT * FROM document d WHERE withdrawn IS NOT NULL AND note_id IS NULL "
        "AND kind <> 'original' AND EXISTS ("
        "  SELECT 1 FROM delivery x WHERE x.document_id = d.id AND x.state IN "
        "  ('sent', 'committed')) AND NOT EXISTS ("
        "  SELECT 1 FROM delivery x WHERE x.document_id = d.id AND x.state = 'sending') "
        "ORDER BY id"
    )
    return [
        WithdrawnDocument(
            id=row["id"],
            sop_class_uid=row["sop_class_uid"],
            sop_instance_uid=row["sop_instance_uid"],
            series_instance_uid=row["series_instance_uid"],
            study_instance_uid=row["study_instance_uid"],
            reason=Reason(row["withdrawn"]),
            headers=(
                *(
                    spool.folder / film["path"]
                    for film in spool.rows(
                        "SELECT f.path FROM film f JOIN document_film d ON d.film_id = f.id "
                        "WHERE d.document_id = ?",
                        row["id"],
                    )
                ),
                spool.folder / row["path"],
            ),
        )
        for row in rows
        if row["study_instance_uid"] == rows[0]["study_instance_uid"]
        and row["withdrawn"] == rows[0]["withdrawn"]
    ]


def note_withdrawal(
    spool: Spool, withdrawn: Sequence[WithdrawnDocument], note: NewDocument
) -> None:
    """Record the rejection note of objects; it goes wherever one of them went."""
    with spool.transaction() as execute:
        held = ", ".join(str(document.id) for document in withdrawn)
        went = execute(
            f"SELECT DISTINCT destination FROM delivery WHERE document_id IN ({held}) "
            "AND state IN ('sent', 'committed')"
        ).fetchall()
        sent_to = tuple(row["destination"] for row in went)
        added = _add_document(
            execute, spool, note, withdrawn[0].study_instance_uid, None, [], 0, sent_to
        )
        execute(f"UPDATE document SET note_id = ? WHERE id IN ({held})", added)
        record(
            execute, spool.now(), "results rejected", objects=len(withdrawn),
            study=hashed(withdrawn[0].study_instance_uid), reason=withdrawn[0].reason.words,
        )  # fmt: skip


def give_up_withdrawal(spool: Spool, withdrawn: Sequence[WithdrawnDocument]) -> None:
    """Record that no rejection note can be written of objects: they stand for their own note."""
    with spool.transaction() as execute:
        for document in withdrawn:
            execute("UPDATE document SET note_id = id WHERE id = ?", document.id)
        record(
            execute, spool.now(), "no rejection note", objects=len(withdrawn),
            study=hashed(withdrawn[0].study_instance_uid),
        )  # fmt: skip


def sweep_results(spool: Spool) -> int:
    """Delete objects that were written and never recorded; return how many.

    For the worker alone, before it writes any.
    """
    removed = 0
    with spool.transaction() as execute:
        for file in (spool.folder / RESULTS).iterdir():
            path = str(file.relative_to(spool.folder))
            if not execute("SELECT 1 FROM document WHERE path = ?", path).fetchone():
                file.unlink(missing_ok=True)
                removed += 1
    return removed


def _add_document(
    execute: Execute,
    spool: Spool,
    document: NewDocument,
    study_uid: str,
    study_revision: int | None,
    film_ids: Sequence[int],
    urgency: int,
    destinations: Sequence[str] | None = None,
) -> int:
    added = execute(
        "INSERT INTO document (kind, sop_class_uid, sop_instance_uid, series_instance_uid, "
        "study_instance_uid, study_revision, path, size, made_at) VALUES (?,?,?,?,?,?,?,?,?)",
        document.kind, document.sop_class_uid, document.sop_instance_uid,
        document.series_instance_uid, study_uid, study_revision,
        str(document.path.relative_to(spool.folder)), document.size, spool.now(),
    ).lastrowid  # fmt: skip
    assert added is not None
    for film_id in film_ids:
        execute("INSERT INTO document_film VALUES (?, ?)", added, film_id)
    for destination in document.destinations if destinations is None else destinations:
        execute(
            "INSERT INTO delivery (document_id, destination, state, rank, urgency, size) "
            "VALUES (?, ?, 'waiting', ?, ?, ?)",
            added, destination, int(document.kind == "original"), urgency, document.size,
        )  # fmt: skip
    return added


def _has_original(execute: Execute, film_id: int) -> bool:
    found = execute(
        "SELECT 1 FROM document d JOIN document_film f ON f.document_id = d.id "
        "WHERE f.film_id = ? AND d.kind = 'original'",
        film_id,
    ).fetchone()
    return found is not None


def _cancel_waiting_reports(execute: Execute, study_uid: str) -> None:
    """Cancel earlier reports where they wait; one that went nowhere is withdrawn altogether."""
    earlier: list[sqlite3.Row] = execute(
        f"SELECT d.id, {_WENT} AS went FROM document d "
        "WHERE study_instance_uid = ? AND kind = 'sr' AND withdrawn IS NULL",
        study_uid,
    ).fetchall()
    for document in earlier:
        if document["went"]:
            cancel_waiting(execute, document["id"])
        else:
            retract(execute, document["id"], Reason.QUALITY)


def _urgency(decision: str | None) -> int:
    """Rank a decision: what must be seen first goes first."""
    ranks = {"urgent_review": 0, "unable": 1, "routine_review": 2, "not_flagged": 3}
    return 0 if decision is None else ranks[decision]
