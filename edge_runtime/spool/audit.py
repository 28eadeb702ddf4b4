"""The audit log: what the unit did, added to in the same transaction as what was done.

Each entry's hash covers the entry before it, so that none can be changed, left out or put in
between without every later hash being wrong. Whoever can write the database could also write the
whole chain anew, or cut off its end: the newest hash is in every log line of a delivery and in
`osteoedge status`, to be compared with.

Entries name films and studies by hash, and never a patient.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from edge_runtime.errors import SpoolError
from edge_runtime.spool.database import Execute, Spool

_ORIGIN = "0" * 64


@dataclass(frozen=True)
class AuditEntry:
    """One entry.

    Attributes
    ----------
    at
        UTC seconds since 1970.
    sha256
        Of the entry before and of this one, 64 hexadecimal digits.
    """

    seq: int
    at: float
    event: str
    facts: dict[str, object]
    sha256: str


def hashed(uid: str) -> str:
    """Return what stands for a UID in logs: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(uid.encode()).hexdigest()[:16]


def record(execute: Execute, now: float, event: str, **facts: object) -> None:
    """Add an entry, within the transaction that does what it tells of."""
    last = execute("SELECT seq, sha256 FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    seq, before = (1, _ORIGIN) if last is None else (last["seq"] + 1, last["sha256"])
    text = json.dumps(facts, sort_keys=True)
    execute(
        "INSERT INTO audit VALUES (?, ?, ?, ?, ?)",
        seq, now, event, text, _chain(before, seq, now, event, text),
    )  # fmt: skip


def entries(spool: Spool, after: int = 0) -> Iterator[AuditEntry]:
    """Yield entries in order, those behind ``after``."""
    for row in _rows(spool, after):
        facts = json.loads(row["facts"])
        yield AuditEntry(row["seq"], row["at"], row["event"], facts, row["sha256"])


def head(spool: Spool) -> str:
    """Return the hash of the newest entry, 64 hexadecimal digits."""
    last = spool.row("SELECT sha256 FROM audit ORDER BY seq DESC LIMIT 1")
    return _ORIGIN if last is None else str(last["sha256"])


def verify(spool: Spool) -> tuple[int, str]:
    """Check the whole chain; return how many entries it has, and the newest hash.

    Raises
    ------
    SpoolError
        An entry was changed, left out or put in; it is named.
    """
    before, expected = _ORIGIN, 1
    for row in _rows(spool):
        # The text as it lies there: other text may stand for the same facts.
        right = _chain(before, row["seq"], row["at"], row["event"], row["facts"])
        if row["seq"] != expected or row["sha256"] != right:
            raise SpoolError(
                f"entry {expected} of the audit log is not what was written",
                "Treat every later entry as unproven, and ask who had access",
                str(spool.folder),
            )
        before, expected = right, expected + 1
    return expected - 1, before


def _rows(spool: Spool, after: int = 0) -> Iterator[sqlite3.Row]:
    while rows := spool.rows("SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT 1000", after):
        yield from rows
        after = rows[-1]["seq"]


def _chain(before: str, seq: int, at: float, event: str, facts: str) -> str:
    return hashlib.sha256(
        "\n".join((before, str(seq), repr(at), event, facts)).encode()
    ).hexdigest()
