"""Delete what is done with: never what is not delivered, nor what is not committed to."""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from edge_runtime.spool.database import Spool, set_settings

# How many files are deleted before the lock is let go: intake is not to wait for long.
_AT_ONCE = 50
# Rows of the table `setting`: when the clock was last looked at, and since when it was not set.
_CLOCK_SEEN, _CLOCK_SINCE = "retention.clock_seen", "retention.clock_since"
# So often it is noted: a disk that sleeps is not woken every minute.
_SEEN_EVERY_S = 3600.0
# A clock that is further ahead than that was set: units are switched off over a holiday, at most.
_LONGEST_OFF_S = 14 * 86400.0
_OPEN_FILMS = "('received', 'screening', 'failed')"


def free_bytes(spool: Spool) -> int:
    """Return how much space the spool's file system has left for this user."""
    return shutil.disk_usage(spool.folder).free


def remove_old(
    spool: Spool, keep_s: float, reserve_bytes: int, committed_only: Collection[str]
) -> int:
    """Delete files that are older than wanted, or oldest first where space is short.

    The rows stay: what came, what came of it and where it went is not forgotten.

    Parameters
    ----------
    keep_s
        How long files are kept after they came, in seconds. Where the clock was set meanwhile, by
        more than a unit is ever switched off, they are kept for as long once more.
    reserve_bytes
        Where less is free, also younger ones go.
    committed_only
        Destinations that must have committed to what they were sent.

    Returns
    -------
    int
        Bytes of the files that were deleted.
    """
    freed = 0
    since = _clock_goes_on_since(spool)
    # A look first: a transaction that deletes nothing would still hold up the others.
    while any(_removable(spool, keep_s, since, reserve_bytes, committed_only)):
        with spool.transaction() as execute:
            batch = list(_removable(spool, keep_s, since, reserve_bytes, committed_only))
            # Files go before their rows say so: on a full disk, rows can only be written when
            # there is space again. A row whose file is gone is one that is done with, and is found
            # again next time.
            for _, _, path, size in batch:
                path.unlink(missing_ok=True)
                freed += size
            for table, row_id, _, _ in batch:
                execute(f"UPDATE {table} SET removed_at = ? WHERE id = ?", spool.now(), row_id)
    _note_clock(spool, since)
    return freed


def _clock_goes_on_since(spool: Spool) -> float:
    """Return since when, by the clock as it is, the clock was not set.

    A unit without a battery for its clock starts in 1970 and leaps to today: what came "decades
    ago" came this morning. How long something was kept is known of the time since the last leap.
    """
    seen, since = spool.setting(_CLOCK_SEEN), spool.setting(_CLOCK_SINCE)
    now = spool.now()
    if seen is None or since is None or not -_SEEN_EVERY_S < now - float(seen) < _LONGEST_OFF_S:
        return now
    return float(since)


def _note_clock(spool: Spool, since: float) -> None:
    seen, now = spool.setting(_CLOCK_SEEN), spool.now()
    if (
        seen is None
        or spool.setting(_CLOCK_SINCE) != repr(since)
        or not 0 <= now - float(seen) < _SEEN_EVERY_S
    ):
        with spool.transaction() as execute:
            set_settings(execute, {_CLOCK_SEEN: repr(now), _CLOCK_SINCE: repr(since)})


def _removable(
    spool: Spool, keep_s: float, since: float, reserve_bytes: int, committed_only: Collection[str]
) -> Iterator[tuple[str, int, Path, int]]:
    """Yield table, row, path and size of the next files that may go, oldest first."""
    pressed, now = free_bytes(spool) < reserve_bytes, spool.now()
    # What came between these stays; what came later than now came before the clock was put back.
    kept = now - keep_s, now
    if pressed:
        kept = math.inf, -math.inf
    elif now - keep_s < since:
        return
    must_commit = ", ".join(repr(name) for name in sorted(committed_only)) or "''"
    open_delivery = (
        "(x.state IN ('waiting', 'sending') OR "
        f"x.state = 'sent' AND x.destination IN ({must_commit}))"
    )
    queries = {
        "film": "SELECT id, path, size FROM film WHERE removed_at IS NULL "
        "AND received_at NOT BETWEEN ? AND ? "
        f"AND state NOT IN {_OPEN_FILMS} AND NOT EXISTS (SELECT 1 FROM document_film f "
        f"JOIN delivery x USING (document_id) WHERE f.film_id = film.id AND {open_delivery}) "
        # A study that is about to be reported on needs its films' headers.
        "AND NOT EXISTS (SELECT 1 FROM study s WHERE s.reported < s.revision "
        "AND s.study_instance_uid = film.study_instance_uid) "
        "ORDER BY received_at LIMIT ?",
        "document": "SELECT id, path, size FROM document WHERE removed_at IS NULL "
        "AND made_at NOT BETWEEN ? AND ? AND kind <> 'original' "
        "AND NOT EXISTS (SELECT 1 FROM delivery x "
        f"WHERE x.document_id = document.id AND {open_delivery}) ORDER BY made_at LIMIT ?",
        "quarantine": "SELECT id, path, size FROM quarantine WHERE removed_at IS NULL "
        "AND received_at NOT BETWEEN ? AND ? ORDER BY received_at LIMIT ?",
    }
    missing = reserve_bytes - free_bytes(spool)
    for table, query in queries.items():
        for row in spool.rows(query, *kept, _AT_ONCE):
            yield table, row["id"], spool.folder / row["path"], row["size"]
            missing -= row["size"]
            if pressed and missing <= 0:
                return
