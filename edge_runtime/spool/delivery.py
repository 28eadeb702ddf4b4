"""What the outbox takes from the spool and gives back: each step one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_runtime.spool.audit import hashed, record
from edge_runtime.spool.database import Execute, Spool
from edge_runtime.spool.states import ENDED, FilmState
from edge_runtime.spool.work import CLOCK_JUMP_S

_DONE = "('sent', 'committed', 'cancelled')"
# The longest wait of an object in whose sending the outbox ended.
_CRASH_WAIT_S = 3600.0
# An object that a destination lost twice is not sent again at once.
_LOST_AGAIN_S = 3600.0
# An object that is not to be sent again: taken back, or a report that has a newer one.
_OBSOLETE = (
    "EXISTS (SELECT 1 FROM document d WHERE d.id = document_id AND (d.withdrawn IS NOT NULL "
    "OR d.kind = 'sr' AND EXISTS (SELECT 1 FROM document n WHERE n.kind = 'sr' "
    "AND n.study_instance_uid = d.study_instance_uid AND n.study_revision > d.study_revision)))"
)


@dataclass(frozen=True)
class Delivery:
    """One object for one destination.

    Attributes
    ----------
    size
        Bytes of its file.
    attempts
        How often its sending was begun, this time included.
    """

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


def resume(spool: Spool, destination: str | None = None) -> None:
    """Put the outbox, or one destination's, in order where it starts: nothing is being sent now.

    What was being sent may have arrived, as in :func:`not_delivered`. It may also be what ended
    the outbox: each time it waits twice as long, from two seconds to an hour.
    """
    with spool.transaction() as execute:
        execute(
            f"UPDATE delivery SET uncertain = 1, state = CASE WHEN {_OBSOLETE} THEN 'sent' "
            "ELSE 'waiting' END, next_try = ? + MIN(?, 1 << MIN(attempts, 20)) "
            "WHERE state = 'sending' AND destination = COALESCE(?, destination)",
            spool.now(), _CRASH_WAIT_S, destination,
        )  # fmt: skip


def waiting(
    spool: Spool, destination: str, limit: int, *, notes_only: bool = False
) -> list[Delivery]:
    """Return what goes next to a destination: results before films, urgent first, small first.

    Parameters
    ----------
    notes_only
        Of all that waits, rejection notes alone.
    """
    now = spool.now()
    return [
        _delivery(spool, row)
        for row in spool.rows(
            "SELECT x.*, d.kind, d.sop_class_uid, d.sop_instance_uid, d.path FROM delivery x "
            "JOIN document d ON d.id = x.document_id WHERE x.state = 'waiting' "
            "AND x.destination = ? AND (x.next_try <= ? OR x.next_try > ?) "
            "AND (d.kind = 'ko' OR NOT ?) ORDER BY x.rank, x.urgency, x.size, x.id LIMIT ?",
            destination, now, now + CLOCK_JUMP_S, notes_only, limit,
        )
    ]  # fmt: skip


def claim_delivery(spool: Spool, destination: str, *, notes_only: bool = False) -> Delivery | None:
    """Take the first of what :func:`waiting` returns."""
    # A look first: a transaction that takes nothing would still wake the disk.
    if not waiting(spool, destination, 1, notes_only=notes_only):
        return None
    with spool.transaction() as execute:
        found = waiting(spool, destination, 1, notes_only=notes_only)
        if not found:
            return None
        execute(
            "UPDATE delivery SET state = 'sending', attempts = attempts + 1 WHERE id = ?",
            found[0].id,
        )
    return replace(found[0], attempts=found[0].attempts + 1)


def delivered(spool: Spool, delivery: Delivery, sent_bytes: int) -> None:
    """Record that a destination has an object.

    Parameters
    ----------
    sent_bytes
        Of the file that was sent: of a film that was compressed for it, less than its own.
    """
    now = spool.now()
    with spool.transaction() as execute:
        execute(
            "UPDATE delivery SET state = 'sent', sent_at = ?, size = ?, error = NULL WHERE id = ?",
            now, sent_bytes, delivery.id,
        )  # fmt: skip
        _finish_films(execute, delivery.id, now)
        record(
            execute, now, "delivered", object=hashed(delivery.sop_instance_uid),
            kind=delivery.kind, destination=delivery.destination, size=sent_bytes,
        )  # fmt: skip


def not_delivered(
    spool: Spool,
    delivery: Delivery,
    error: str,
    wait_s: float,
    *,
    tried: bool = True,
    uncertain: bool = False,
) -> None:
    """Put an object back that a destination did not take.

    It is sent again, under the same UID; but not where it is out of date meanwhile.

    Parameters
    ----------
    wait_s
        Seconds until it is tried again; an hour at most.
    tried
        False where the destination was not reached: that says nothing of the object.
    uncertain
        It may have arrived, without an answer. Where it is not to be sent again, now or later, it
        counts as sent, so that a rejection note goes after it.
    """
    with spool.transaction() as execute:
        execute(
            "UPDATE delivery SET uncertain = uncertain OR ? WHERE id = ?", uncertain, delivery.id
        )
        execute(
            "UPDATE delivery SET error = ?, next_try = ?, attempts = attempts - ?, state = CASE "
            f"WHEN NOT {_OBSOLETE} THEN 'waiting' WHEN uncertain THEN 'sent' ELSE 'cancelled' END "
            "WHERE id = ?",
            error, spool.now() + wait_s, int(not tried), delivery.id,
        )  # fmt: skip


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
                "UPDATE delivery SET commitment_uid = ?, commitment_at = ? WHERE id = ?",
                transaction_uid, spool.now(), one.delivery_id,
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
            "SELECT x.id, x.attempts, d.sop_instance_uid FROM delivery x JOIN document d "
            "ON d.id = x.document_id WHERE x.commitment_uid = ? AND x.state = 'sent'",
            transaction_uid,
        ).fetchall()
        kept, lost = set(committed), set(failed)
        for row in asked:
            if row["sop_instance_uid"] in kept:
                execute("UPDATE delivery SET state = 'committed' WHERE id = ?", row["id"])
            elif row["sop_instance_uid"] in lost:
                execute(
                    "UPDATE delivery SET commitment_uid = NULL, next_try = ?, "
                    "error = 'not committed to', state = "
                    f"CASE WHEN {_OBSOLETE} THEN 'cancelled' ELSE 'waiting' END WHERE id = ?",
                    now + (_LOST_AGAIN_S if row["attempts"] > 1 else 0.0), row["id"],
                )  # fmt: skip


def commitment_overdue(spool: Spool, destination: str, wait_s: float) -> None:
    """Let a destination be asked again where its answer did not come in so many seconds."""
    now = spool.now()
    with spool.transaction() as execute:
        execute(
            "UPDATE delivery SET commitment_uid = NULL WHERE destination = ? AND state = 'sent' "
            "AND commitment_uid IS NOT NULL AND (commitment_at <= ? OR commitment_at > ?)",
            destination, now - wait_s, now,
        )  # fmt: skip


def _delivery(spool: Spool, row: sqlite3.Row) -> Delivery:
    return Delivery(
        id=row["id"],
        kind=row["kind"],
        destination=row["destination"],
        sop_class_uid=row["sop_class_uid"],
        sop_instance_uid=row["sop_instance_uid"],
        path=spool.folder / row["path"],
        size=row["size"],
        attempts=row["attempts"],
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
        FilmState.DELIVERED, now, *ENDED, delivery_id,
    )  # fmt: skip
