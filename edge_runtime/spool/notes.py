"""What the worker writes rejection notes of: objects that were sent and are taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.rejection import Reason
from edge_runtime.spool.audit import hashed, record
from edge_runtime.spool.database import Spool
from edge_runtime.spool.documents import NewDocument, add_document


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
        added = add_document(
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
