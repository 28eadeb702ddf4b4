"""When a file in a watched folder is whole, by a clock that the test turns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.intake import folder
from edge_runtime.intake.folder import WatchedFolder
from edge_runtime.spool import Spool
from edge_runtime.unit.config import FolderIntake
from edge_runtime.unit.life import Life
from tests.edge_runtime.films import film, save


class Watched:
    """A watched folder whose time passes when the test says so."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stick, self.now = home / "stick", 1000.0
        self.stick.mkdir()
        self.spool = Spool(home / "spool")
        self.incoming = home / "spool" / "incoming" / "folders"
        self.incoming.mkdir()
        monkeypatch.setattr(folder.time, "monotonic", lambda: self.now)
        settings = FolderIntake(path=self.stick, settle_s=2.0, every_s=1.0)
        self.folder = WatchedFolder(settings, self.spool, self.incoming, 0)

    def look(self, seconds: float = 1.0) -> int:
        """Let time pass, look, and return how many films the spool has."""
        self.now += seconds
        self.folder.look(Life())
        assert not list(self.incoming.iterdir())
        return len(self.spool.rows("SELECT * FROM film"))


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    made = Watched(tmp_path, monkeypatch)
    yield made
    made.spool.close()


def test_a_file_is_taken_once_it_stands_still(watched: Watched, tmp_path: Path) -> None:
    whole = save(film(), tmp_path / "film").read_bytes()
    path = watched.stick / "film"
    with path.open("wb", buffering=0) as slow:
        for start in range(0, len(whole), 4000):
            slow.write(whole[start : start + 4000])
            assert [watched.look(), watched.look(0.9)] == [0, 0]
    assert watched.look() == 0
    assert watched.look() == 1
    assert watched.spool.rows("SELECT * FROM quarantine") == []


def test_written_over_in_place_it_starts_anew(watched: Watched) -> None:
    path = save(film(), watched.stick / "film")
    assert watched.look() == 0
    # The same size: only its time tells.
    os.utime(path, ns=(1, 1))
    assert [watched.look(), watched.look(1.9)] == [0, 0]
    assert watched.look() == 1


def test_it_is_looked_at_no_more_often_than_asked(watched: Watched) -> None:
    save(film(), watched.stick / "film")
    watched.look()
    assert watched.folder.wait_s == 1.0
    assert watched.look(0.5) == 0
    assert watched.folder.wait_s == 0.5


def test_it_changes_while_it_is_copied(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(film(), watched.stick / "film")
    for _ in range(2):
        watched.look()
    real = folder.os.fstat

    def touched(descriptor: int) -> os.stat_result:
        monkeypatch.undo()
        monkeypatch.setattr(folder.time, "monotonic", lambda: watched.now)
        os.utime(path, ns=(2, 2))
        return real(descriptor)

    monkeypatch.setattr(folder.os, "fstat", touched)
    assert watched.look() == 0
    assert [watched.look(), watched.look(), watched.look()] == [0, 0, 1]


def test_it_vanishes_or_may_not_be_read(watched: Watched) -> None:
    gone = save(film(), watched.stick / "gone")
    pipe = watched.stick / "pipe"
    os.mkfifo(pipe)
    for _ in range(2):
        watched.look()
    gone.unlink()
    gone.mkdir()
    assert [watched.look(), watched.look()] == [0, 0]
    gone.rmdir()
    save(film(), gone)
    assert [watched.look(), watched.look(), watched.look()] == [0, 0, 1]


def test_too_large_is_not_copied(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_FILE_BYTES", 1000)
    save(film(), watched.stick / "film")
    assert [watched.look() for _ in range(4)] == [0] * 4
    (row,) = watched.spool.rows("SELECT outcome FROM seen_file")
    assert row["outcome"] == "too large"
