"""The worker's studies: the next one to decide on anew, its decision and its report."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.rejection import Reason
from edge_runtime.spool.audit import hashed, record
from edge_runtime.spool.database import Execute, Spool
from edge_runtime.spool.documents import NewDocument, add_document, urgency_of
from edge_runtime.spool.states import MAX_STARTS
from edge_runtime.spool.withdrawal import cancel_waiting, retract

# Of a document `d`: it was sent, or may have been.
_WENT = (
    "EXISTS (SELECT 1 FROM delivery x WHERE x.document_id = d.id "
    "AND (x.state IN ('sending', 'sent', 'committed') OR x.uncertain))"
)


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
        urgency = urgency_of(decision)
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
            add_document(
                execute, spool, report, study.study_instance_uid, study.revision,
                [view.film_id for view in study.views], urgency,
            )  # fmt: skip
        record(
            execute, now, "study decided", study=hashed(study.study_instance_uid),
            revision=study.revision, decision=decision,
        )  # fmt: skip
    return True


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
