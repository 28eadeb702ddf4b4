"""The DICOM objects that the worker makes: their rows, and to whom they are to be sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_runtime.spool.database import RESULTS, Execute, Spool

DocumentKind = Literal["sr", "sc", "seg", "ko", "original"]


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


def add_document(
    execute: Execute,
    spool: Spool,
    document: NewDocument,
    study_uid: str,
    study_revision: int | None,
    film_ids: Sequence[int],
    urgency: int,
    destinations: Sequence[str] | None = None,
) -> int:
    """Enter an object and what is to be sent of it, within a transaction; return its row's number.

    Parameters
    ----------
    study_revision
        Which revision of its study a report is of; None for other objects.
    film_ids
        Films that it is made of.
    urgency
        Of its sending, see :func:`urgency_of`.
    destinations
        In the place of the document's own.
    """
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


def urgency_of(decision: str | None) -> int:
    """Rank a decision: what must be seen first goes first."""
    ranks = {"urgent_review": 0, "unable": 1, "routine_review": 2, "not_flagged": 3}
    return 0 if decision is None else ranks[decision]


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
