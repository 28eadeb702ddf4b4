"""Delete what is done with: never what is not delivered, nor what is not committed to."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from edge_runtime.spool.database import Spool

# How many files are deleted before the lock is let go: intake is not to wait for long.
_AT_ONCE = 50
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
        How long files are kept after they came, in seconds.
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
    while batch := list(_removable(spool, keep_s, reserve_bytes, committed_only)):
        with spool.transaction() as execute:
            for table, row_id, path, size in batch:
                execute(f"UPDATE {table} SET removed_at = ? WHERE id = ?", spool.now(), row_id)
                # A kill between here and the commit leaves a row whose file is gone; it is one
                # that is done with, and is found again next time.
                path.unlink(missing_ok=True)
                freed += size
    return freed


def _removable(
    spool: Spool, keep_s: float, reserve_bytes: int, committed_only: Collection[str]
) -> Iterator[tuple[str, int, Path, int]]:
    """Yield table, row, path and size of the next files that may go, oldest first."""
    pressed = free_bytes(spool) < reserve_bytes
    before = spool.now() if pressed else spool.now() - keep_s
    must_commit = ", ".join(repr(name) for name in sorted(committed_only)) or "''"
    open_delivery = (
        "(x.state IN ('waiting', 'sending') OR "
        f"x.state = 'sent' AND x.destination IN ({must_commit}))"
    )
    queries = {
        "film": "SELECT id, path, size FROM film WHERE removed_at IS NULL AND received_at < ? "
        f"AND state NOT IN {_OPEN_FILMS} AND NOT EXISTS (SELECT 1 FROM document_film f "
        f"JOIN delivery x USING (document_id) WHERE f.film_id = film.id AND {open_delivery}) "
        # A study that is about to be reported on needs its films' headers.
        "AND NOT EXISTS (SELECT 1 FROM study s WHERE s.reported < s.revision "
        "AND s.study_instance_uid = film.study_instance_uid) "
        "ORDER BY received_at LIMIT ?",
        "document": "SELECT id, path, size FROM document WHERE removed_at IS NULL "
        "AND made_at < ? AND kind <> 'original' AND NOT EXISTS (SELECT 1 FROM delivery x "
        f"WHERE x.document_id = document.id AND {open_delivery}) ORDER BY made_at LIMIT ?",
        "quarantine": "SELECT id, path, size FROM quarantine WHERE removed_at IS NULL "
        "AND received_at < ? ORDER BY received_at LIMIT ?",
    }
    missing = reserve_bytes - free_bytes(spool)
    for table, query in queries.items():
        for row in spool.rows(query, before, _AT_ONCE):
            yield table, row["id"], spool.folder / row["path"], row["size"]
            missing -= row["size"]
            if pressed and missing <= 0:
                return
