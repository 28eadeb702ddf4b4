"""The worker's films: the next one to screen, and what came of it; each step one transaction.

Work may be done twice, where the worker was killed in the middle; a result is recorded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.rejection import Reason
from edge_runtime.spool.audit import hashed, record
from edge_runtime.spool.database import Execute, Spool, set_settings
from edge_runtime.spool.documents import NewDocument, add_document, urgency_of
from edge_runtime.spool.drift import WatchedFilm, watch_film
from edge_runtime.spool.states import ENDED, MAX_STARTS, FilmState
from edge_runtime.spool.studies import OpenStudy
from edge_runtime.spool.withdrawal import retract_results

# A waiting time beyond any that is ever set: the clock was put back.
CLOCK_JUMP_S = 2 * 3600.0
# Rows of the table `setting`: what the worker makes results with, and the machine's last start.
WORK_SETTING, _BOOT_SETTING = "work", "boot_id"


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
    watched
        What tells whether films drift; None where nobody measured it.
    """

    state: FilmState
    decision: str
    tumour: float | None
    malignant: float | None
    document: str
    work: str
    live: bool = True
    watched: WatchedFilm | None = None


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
        if result.watched is not None:
            unable = result.decision == "unable"
            watch_film(execute, now, film.id, film.study_instance_uid, unable, result.watched)
        urgency = urgency_of(result.decision)
        for document in documents:
            if document.kind == "original" and _has_original(execute, film.id):
                continue
            add_document(
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


def _has_original(execute: Execute, film_id: int) -> bool:
    found = execute(
        "SELECT 1 FROM document d JOIN document_film f ON f.document_id = d.id "
        "WHERE f.film_id = ? AND d.kind = 'original'",
        film_id,
    ).fetchone()
    return found is not None
