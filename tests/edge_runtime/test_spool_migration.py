"""A spool that an older osteoedge made is brought up to date, and loses nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from benchmarks.spool import fill
from edge_runtime.errors import SpoolError
from edge_runtime.spool import Spool, database
from tests.edge_runtime.units import receive, screen, send


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spool of version 1, with a history."""
    with monkeypatch.context() as patch:
        patch.setattr(database, "SCHEMA_VERSION", 1)
        with Spool(tmp_path) as spool:
            fill(spool, 50)
    return tmp_path


def content(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table; the database is not opened as a spool."""
    with sqlite3.connect(folder / database.DATABASE) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
            for (name,) in tables.fetchall()
        }


def version(folder: Path) -> int:
    with sqlite3.connect(folder / database.DATABASE) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_spool_of_version_1_is_upgraded_and_loses_nothing(old: Path) -> None:
    before = content(old)
    assert version(old) == 1 and len(before["film"]) == 50 and "read" not in before
    Spool(old).close()
    after = content(old)
    assert version(old) == database.SCHEMA_VERSION
    assert {"read", "read_link", "film_header", "recall_closure"} <= after.keys()
    assert {"drift_film", "drift_block", "drift_acceptance"} <= after.keys()
    assert {name: after[name] for name in before} == before
    Spool(old).close()
    assert content(old) == after, "opened once more, it is as it was"


def test_an_upgraded_spool_works_as_a_new_one_does(old: Path, tmp_path: Path) -> None:
    with Spool(old) as upgraded, Spool(tmp_path / "new") as new:
        made = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
        assert [tuple(row) for row in upgraded.rows(made)] == [tuple(row) for row in new.rows(made)]
        receive(upgraded, "1.2.3.4.5")
        screen(upgraded, "urgent_review")
        send(upgraded)
        assert upgraded.rows("PRAGMA foreign_key_check") == []


def test_an_upgrade_that_fails_changes_nothing(old: Path) -> None:
    with sqlite3.connect(old / database.DATABASE) as connection:
        connection.execute("CREATE TABLE recall_closure (in_the TEXT, way TEXT)")
    before = content(old)
    with pytest.raises(SpoolError, match="recall_closure already exists"):
        Spool(old)
    assert version(old) == 1 and content(old) == before


def test_reads_cannot_be_changed_or_deleted(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        with spool.transaction() as execute:
            execute(
                "INSERT INTO read VALUES (1, 'c', '1.2', '', 'agree', NULL, '', '', '', "
                "'A. Reader', 'page', 1.0, 1.0)"
            )
            execute("INSERT INTO read_link VALUES (1, '1.2', 1, 'not_flagged', '', 1.0)")
            execute("INSERT INTO recall_closure VALUES (1, '1.2', NULL, 'A. Nurse', 'seen', 1.0)")
        for table in ("read", "read_link", "recall_closure"):
            for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET rowid = 7"):
                with (
                    pytest.raises(sqlite3.IntegrityError, match="only added to"),
                    spool.transaction() as execute,
                ):
                    execute(statement)
