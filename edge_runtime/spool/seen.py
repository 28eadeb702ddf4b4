"""Files of watched folders that were dealt with and lie where they were."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.spool.database import Spool


def was_seen(spool: Spool, file: Path, size: int, mtime_ns: int) -> bool:
    """Return whether a file was dealt with, and is the same still."""
    row = spool.row("SELECT size, mtime_ns FROM seen_file WHERE path = ?", str(file))
    return row is not None and (row["size"], row["mtime_ns"]) == (size, mtime_ns)


def note_seen(spool: Spool, file: Path, size: int, mtime_ns: int, outcome: str) -> None:
    """Remember a file that was dealt with.

    Parameters
    ----------
    outcome
        What came of it, in a word.
    """
    with spool.transaction() as execute:
        execute(
            "INSERT OR REPLACE INTO seen_file VALUES (?, ?, ?, ?)",
            str(file), size, mtime_ns, outcome,
        )  # fmt: skip
