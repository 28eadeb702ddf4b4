"""What the outbox takes from the spool and gives back: each step one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.spool.audit import hashed, record
from edge_runtime.spool.database import Execute, Spool
from edge_runtime.spool.states import FilmState
from edge_runtime.spool.work import CLOCK_JUMP_S

_DONE = "('sent', 'committed', 'cancelled')"
# An object that is not to be sent again: taken back, or a report that has a newer one.
_OBSOLETE = (
    "EXISTS (SELECT 1 FROM document d WHERE d.id = document_id AND (d.withdrawn IS NOT NULL "
    "OR d.kind = 'sr' AND EXISTS (SELECT 1 FROM document n WHERE n.kind = 'sr' "
    "AND n.study_instance_uid = d.study_instance_uid AND n.study_revision > d.study_revision)))"
)


@dataclass(frozen=True)
class Delivery:
    """One object for one destination, taken by the outbox."""

    id: int
    kind: str
    destination: str
    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    size: int
    attempts: int


@dataclass(frozen=True)
class SentObject:
    """An object that was sent to a destination and is not committed to yet."""

    delivery_id: int
    sop_class_uid: str
    sop_instance_uid: str


def resume(spool: Spool) -> None:
    """Put the outbox in order where it starts: nothing is being sent now.

    What was being sent may have arrived. It is sent again, under the same UID; or where it is
    out of date meanwhile, counts as sent, so that a rejection note goes after it.
    """
    with spool.transaction() as execute:
        execute(
            f"UPDATE delivery SET state = CASE WHEN {_OBSOLETE} THEN 'sent' ELSE 'waiting' END "
            "WHERE state = 'sending'"
        )


def claim_delivery(spool: Spool, destination: str) -> Delivery | None:
    """Take what goes next to a destination: results before films, urgent first, small first."""
    now = spool.now()
    waiting = (
        "SELECT id FROM delivery WHERE state = 'waiting' AND destination = ? "
        "AND (next_try <= ? OR next_try > ?) ORDER BY rank, urgency, size, id LIMIT 1"
    )
    # A look first: a transaction that takes nothing would still wake the disk.
    if spool.row(waiting, destination, now, now + CLOCK_JUMP_S) is None:
        return None
    with spool.transaction() as execute:
        found = execute(
            "UPDATE delivery SET state = 'sending', attempts = attempts + 1 "
            f"WHERE id = ({waiting}) RETURNING *",
            destination, now, now + CLOCK_JUMP_S,
        ).fetchone()  # fmt: skip
        if found is None:
            return None
        document = execute("SELECT * FROM document WHERE id = ?", found["document_id"]).fetchone()
    return Delivery(
        id=found["id"],
        kind=document["kind"],
        destination=destination,
        sop_class_uid=document["sop_class_uid"],
        sop_instance_uid=document["sop_instance_uid"],
        path=spool.folder / document["path"],
        size=found["size"],
        attempts=found["attempts"],
    )


def delivered(spool: Spool, delivery: Delivery) -> None:
    """Record that a destination has an object."""
    now = spool.now()
    with spool.transaction() as execute:
        execute(
            "UPDATE delivery SET state = 'sent', sent_at = ?, error = NULL WHERE id = ?",
            now, delivery.id,
        )  # fmt: skip
        _finish_films(execute, delivery.id, now)
        record(
            execute, now, "delivered", object=hashed(delivery.sop_instance_uid),
            kind=delivery.kind, destination=delivery.destination, size=delivery.size,
        )  # fmt: skip


def not_delivered(spool: Spool, delivery: Delivery, error: str, wait_s: float) -> None:
    """Put an object back that a destination did not take.

    Parameters
    ----------
    wait_s
        Seconds until it is tried again; below a day.
    """
    with spool.transaction() as execute:
        execute(
            "UPDATE delivery SET error = ?, next_try = ?, state = "
            f"CASE WHEN {_OBSOLETE} THEN 'cancelled' ELSE 'waiting' END WHERE id = ?",
            error, spool.now() + wait_s, delivery.id,
        )  # fmt: skip


def hurry(spool: Spool, destination: str) -> None:
    """Try at once what waits for its next try: the link is up again."""
    with spool.transaction() as execute:
        execute(
            "UPDATE delivery SET next_try = 0 WHERE state = 'waiting' AND destination = ?",
            destination,
        )


def uncommitted(spool: Spool, destination: str, limit: int) -> list[SentObject]:
    """Return objects that a destination has and was not yet asked to commit to."""
    return [
        SentObject(row["id"], row["sop_class_uid"], row["sop_instance_uid"])
        for row in spool.rows(
            "SELECT x.id, d.sop_class_uid, d.sop_instance_uid FROM delivery x "
            "JOIN document d ON d.id = x.document_id WHERE x.destination = ? "
            "AND x.state = 'sent' AND x.commitment_uid IS NULL ORDER BY x.id LIMIT ?",
            destination, limit,
        )
    ]  # fmt: skip


def commitment_asked(spool: Spool, transaction_uid: str, sent: Sequence[SentObject]) -> None:
    """Record that a destination was asked to commit to objects."""
    with spool.transaction() as execute:
        for one in sent:
            execute(
                "UPDATE delivery SET commitment_uid = ? WHERE id = ?",
                transaction_uid, one.delivery_id,
            )  # fmt: skip


def commitment_answered(
    spool: Spool, transaction_uid: str, committed: Iterable[str], failed: Iterable[str]
) -> None:
    """Record what a destination answered: objects that it failed to keep are sent again.

    Parameters
    ----------
    committed, failed
        SOP Instance UIDs.
    """
    now = spool.now()
    with spool.transaction() as execute:
        asked = execute(
            "SELECT x.id, d.sop_instance_uid FROM delivery x JOIN document d "
            "ON d.id = x.document_id WHERE x.commitment_uid = ? AND x.state = 'sent'",
            transaction_uid,
        ).fetchall()
        kept, lost = set(committed), set(failed)
        for row in asked:
            if row["sop_instance_uid"] in kept:
                execute("UPDATE delivery SET state = 'committed' WHERE id = ?", row["id"])
            elif row["sop_instance_uid"] in lost:
                execute(
                    "UPDATE delivery SET state = 'waiting', commitment_uid = NULL, next_try = ?, "
                    "error = 'not committed to' WHERE id = ?",
                    now, row["id"],
                )  # fmt: skip


def commitment_overdue(spool: Spool, destination: str) -> None:
    """Ask again: answers that never came are not coming."""
    with spool.transaction() as execute:
        execute(
            "UPDATE delivery SET commitment_uid = NULL WHERE destination = ? AND state = 'sent'",
            destination,
        )


def _finish_films(execute: Execute, delivery_id: int, now: float) -> None:
    """Call a film delivered whose objects all are, and whose study has its report."""
    execute(
        "UPDATE film SET state = ?, state_since = ? WHERE state IN (?, ?, ?) AND id IN ("
        "  SELECT df.film_id FROM delivery x JOIN document_film df USING (document_id) "
        "  WHERE x.id = ?) "
        "AND NOT EXISTS (SELECT 1 FROM document_film df JOIN delivery x USING (document_id) "
        f"  WHERE df.film_id = film.id AND x.state NOT IN {_DONE}) "
        "AND EXISTS (SELECT 1 FROM study s WHERE s.study_instance_uid = film.study_instance_uid "
        "  AND s.reported = s.revision)",
        FilmState.DELIVERED, now, FilmState.REPORTED, FilmState.UNABLE, FilmState.QUARANTINED,
        delivery_id,
    )  # fmt: skip
