"""The audit log: whatever is done to the chain afterwards is found."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.errors import SpoolError
from edge_runtime.spool import Spool
from edge_runtime.spool.audit import entries, head, record, verify
from edge_runtime.spool.database import DATABASE

LENGTH = 6
COLUMNS = {
    "at": st.floats(0, 4e9),
    "event": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    "facts": st.sampled_from(['{"film": "b"}', '{"film":  "0"}', "{}", '{"film": "0", "x": 1}']),
    "sha256": st.text("0123456789abcdef", min_size=64, max_size=64),
}


@contextmanager
def written() -> Iterator[tuple[Spool, sqlite3.Connection]]:
    """A chain of some entries, and a way around the spool into its database."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool", clock=lambda: 1.5e9)
        with spool.transaction() as execute:
            for number in range(LENGTH):
                record(execute, spool.now(), "screened", film=str(number))
        around = sqlite3.connect(spool.folder / DATABASE, isolation_level=None)
        for trigger in ("audit_is_not_changed", "audit_is_not_deleted"):
            around.execute(f"DROP TRIGGER {trigger}")
        yield spool, around
        around.close()
        spool.close()


def test_a_chain_that_nobody_touched() -> None:
    with written() as (spool, _):
        assert verify(spool) == (LENGTH, head(spool))
        assert [entry.facts["film"] for entry in entries(spool)] == list("012345")


def test_an_empty_chain(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        assert verify(spool) == (0, "0" * 64)


def test_the_spool_itself_lets_nobody_change_it(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        with spool.transaction() as execute:
            record(execute, 0.0, "screened")
        for sql in ("UPDATE audit SET event = 'x'", "DELETE FROM audit"):
            error = pytest.raises(sqlite3.IntegrityError, match="only added to")
            with error, spool.transaction() as execute:
                execute(sql)
        assert verify(spool)[0] == 1


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_change_is_found(data: st.DataObject) -> None:
    seq = data.draw(st.integers(1, LENGTH), label="entry")
    column = data.draw(st.sampled_from(sorted(COLUMNS)), label="column")
    value = data.draw(COLUMNS[column], label="value")
    with written() as (spool, around):
        was = around.execute(f"SELECT {column} FROM audit WHERE seq = ?", (seq,)).fetchone()[0]
        around.execute(f"UPDATE audit SET {column} = ? WHERE seq = ?", (value, seq))
        if value == was:
            assert verify(spool)[0] == LENGTH
        else:
            with pytest.raises(SpoolError, match=f"entry {seq} of the audit log"):
                verify(spool)


@settings(max_examples=20, deadline=None)
@given(seq=st.integers(1, LENGTH - 1), renumbered=st.booleans())
def test_an_entry_left_out_is_found(seq: int, renumbered: bool) -> None:
    with written() as (spool, around):
        around.execute("DELETE FROM audit WHERE seq = ?", (seq,))
        if renumbered:
            around.execute("UPDATE audit SET seq = seq - 1 WHERE seq > ?", (seq,))
        with pytest.raises(SpoolError, match=f"entry {seq} of the audit log"):
            verify(spool)


def test_an_end_that_is_cut_off_changes_the_head() -> None:
    """The chain alone does not show it; the hash that was noted before does."""
    with written() as (spool, around):
        noted = head(spool)
        around.execute("DELETE FROM audit WHERE seq = ?", (LENGTH,))
        entries_left, newest = verify(spool)
        assert entries_left == LENGTH - 1
        assert newest == head(spool) != noted


@settings(max_examples=20, deadline=None)
@given(seq=st.integers(1, LENGTH), sha256=st.text("0123456789abcdef", min_size=64, max_size=64))
def test_an_entry_put_in_is_found(seq: int, sha256: str) -> None:
    with written() as (spool, around):
        # In two steps: numbers must not meet on the way.
        around.execute("UPDATE audit SET seq = -seq - 1 WHERE seq >= ?", (seq,))
        around.execute("UPDATE audit SET seq = -seq WHERE seq < 0")
        around.execute("INSERT INTO audit VALUES (?, 1.5e9, 'screened', '{}', ?)", (seq, sha256))
        with pytest.raises(SpoolError, match=f"entry {seq} of the audit log"):
            verify(spool)


@settings(max_examples=20, deadline=None)
@given(pair=st.tuples(st.integers(1, LENGTH), st.integers(1, LENGTH)).filter(lambda p: p[0] < p[1]))
def test_entries_that_changed_places_are_found(pair: tuple[int, int]) -> None:
    first, second = pair
    with written() as (spool, around):
        for old, new in ((first, -1), (second, first), (-1, second)):
            around.execute("UPDATE audit SET seq = ? WHERE seq = ?", (new, old))
        with pytest.raises(SpoolError, match=f"entry {first} of the audit log"):
            verify(spool)
