"""Take results back: a film was corrected, rejected by the console, or withdrawn by a person.

What was not delivered is cancelled. What was, or may have been, is marked: the worker writes a
rejection note for it (IHE Radiology, Imaging Object Change Management).
"""

from __future__ import annotations

import sqlite3

from edge_runtime.errors import SpoolError
from edge_runtime.rejection import Reason
from edge_runtime.spool.audit import hashed, record
from edge_runtime.spool.database import Execute, Spool
from edge_runtime.spool.states import TAKEN_BACK, FilmState


def withdraw(spool: Spool, sop_or_study_uid: str, reason: Reason, person: str) -> int:
    """Withdraw a film, or all films of a study; return how many were not withdrawn before.

    Parameters
    ----------
    person
        Who asked for it, for the audit log.

    Raises
    ------
    SpoolError
        The spool holds no such film or study.
    """
    now = spool.now()
    with spool.transaction() as execute:
        films = execute(
            "SELECT * FROM film WHERE sop_instance_uid = ?1 OR study_instance_uid = ?1",
            sop_or_study_uid,
        ).fetchall()
        if not films:
            raise SpoolError(
                "holds no film or study with this UID", "Check the UID", str(spool.folder)
            )
        withdrawn = sum(withdraw_film(execute, film, reason, now) for film in films)
        record(
            execute, now, "withdrawn", what=hashed(sop_or_study_uid), films=withdrawn,
            reason=reason.words, person=person,
        )  # fmt: skip
    return withdrawn


def withdraw_film(execute: Execute, film: sqlite3.Row, reason: Reason, now: float) -> bool:
    """Withdraw one film, within a transaction; return whether it was not withdrawn before."""
    if film["state"] == FilmState.WITHDRAWN:
        return False
    _take_back(execute, film, FilmState.WITHDRAWN, reason.words, now)
    retract_results(execute, film["id"], reason)
    _change_study(execute, film["study_instance_uid"], now)
    _retract_reports_of_nothing(execute, film["study_instance_uid"], reason)
    return True


def supersede(execute: Execute, film: sqlite3.Row, now: float, *, patient_corrected: bool) -> None:
    """Let another content of the same instance replace a film, within a transaction."""
    if film["state"] in TAKEN_BACK:
        return
    _take_back(execute, film, FilmState.SUPERSEDED, "the film came again with other content", now)
    reason = Reason.PATIENT_SAFETY if patient_corrected else Reason.QUALITY
    retract_results(execute, film["id"], reason)
    if patient_corrected:
        # Reports carry the patient's name: with the wrong one they are not only out of date.
        _retract_reports(execute, film["study_instance_uid"], reason)
    _change_study(execute, film["study_instance_uid"], now)
    _retract_reports_of_nothing(execute, film["study_instance_uid"], reason)


def retract_results(
    execute: Execute, film_id: int, reason: Reason, *, sent_too: bool = True
) -> None:
    """Take back a film's current result and the objects made of it alone.

    Parameters
    ----------
    sent_too
        False: those that were sent stand, the others are cancelled.
    """
    execute("UPDATE result SET current = 0 WHERE film_id = ? AND current", film_id)
    for document in execute(
        "SELECT d.id FROM document d JOIN document_film f ON f.document_id = d.id "
        "WHERE f.film_id = ? AND d.kind IN ('sc', 'seg') AND d.withdrawn IS NULL",
        film_id,
    ).fetchall():
        if sent_too:
            retract(execute, document["id"], reason)
        else:
            cancel_waiting(execute, document["id"])


def retract(execute: Execute, document_id: int, reason: Reason) -> None:
    """Take back one object: cancel what waits, mark it for a rejection note where it was sent."""
    execute("UPDATE document SET withdrawn = ? WHERE id = ?", reason, document_id)
    cancel_waiting(execute, document_id)


def cancel_waiting(execute: Execute, document_id: int) -> None:
    """Do not send an object where it was not sent yet, nor again where it may have arrived."""
    execute(
        "UPDATE delivery SET state = CASE WHEN uncertain THEN 'sent' ELSE 'cancelled' END "
        "WHERE document_id = ? AND state = 'waiting'",
        document_id,
    )


def _take_back(
    execute: Execute, film: sqlite3.Row, state: FilmState, words: str, now: float
) -> None:
    execute(
        "UPDATE film SET state = ?, state_since = ?, reason = ? WHERE id = ?",
        state, now, words, film["id"],
    )  # fmt: skip
    # The film itself is not forwarded any more. No rejection note names it: that is for whoever
    # made it, and a corrected film has the same UID.
    execute(
        "UPDATE delivery SET state = 'cancelled' WHERE state = 'waiting' AND document_id IN ("
        "SELECT d.id FROM document d JOIN document_film f ON f.document_id = d.id "
        "WHERE f.film_id = ? AND d.kind = 'original')",
        film["id"],
    )


def _retract_reports(execute: Execute, study_uid: str, reason: Reason) -> None:
    for document in execute(
        "SELECT id FROM document WHERE study_instance_uid = ? AND kind = 'sr' "
        "AND withdrawn IS NULL", study_uid,
    ).fetchall():  # fmt: skip
        retract(execute, document["id"], reason)


def _retract_reports_of_nothing(execute: Execute, study_uid: str, reason: Reason) -> None:
    """Take back the reports of a study that has no film left to report on."""
    left = execute(
        "SELECT 1 FROM film WHERE study_instance_uid = ? AND state NOT IN (?, ?)",
        study_uid, *TAKEN_BACK,
    ).fetchone()  # fmt: skip
    if left is None:
        _retract_reports(execute, study_uid, reason)


def _change_study(execute: Execute, study_uid: str, now: float) -> None:
    """Note that what is known of a study changed; the worker reports on it anew."""
    execute(
        "UPDATE study SET revision = revision + 1, updated_at = ? WHERE study_instance_uid = ?",
        now, study_uid,
    )  # fmt: skip
