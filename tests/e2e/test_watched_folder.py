"""Films come to the unit in folders: copied slowly, renamed, on a stick that is pulled."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.receivers import Unit
from tests.e2e.senders import send_file
from tests.e2e.test_intake import catalogued, data_set_of, noise, small_disk
from tests.edge_runtime.codings import LOSSLESS, LOSSY, as_file
from tests.edge_runtime.films import save
from tests.edge_runtime.fuzzing import mutate
from tests.processes import until

__all__ = ["small_disk"]


@contextmanager
def watching(
    home: Path, stick: Path, *, after: str = "keep", settle_s: float = 0.2, reserve_mib: int = 10
) -> Iterator[Unit]:
    """A unit that watches a folder."""
    folder = (
        f'[[intake.folders]]\npath = "{stick}"\nsettle_s = {settle_s}\nevery_s = 0.05\n'
        f'after = "{after}"\n'
    )
    unit = Unit(home, folder, reserve_mib=reserve_mib)
    try:
        unit.start(None)
        yield unit
    finally:
        unit.close()


def outcomes(unit: Unit) -> list[str]:
    return [record["outcome"] for record in unit.logged("received")]


def test_films_appear_by_rename_and_in_folders(tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    (stick / "DICOM" / "deep").mkdir(parents=True)
    with watching(tmp_path, stick) as unit:
        unfinished = save(noise(32), stick / "film.part")
        hidden = save(noise(32, 1), stick / ".hidden.dcm")
        (stick / "DICOM" / "link.dcm").symlink_to(hidden)
        save(noise(32, 2), stick / "DICOM" / "deep" / "IM0001")
        until(lambda: outcomes(unit) == ["new"], "the one that is whole")
        unfinished.rename(stick / "film.dcm")
        until(lambda: outcomes(unit) == ["new", "new"], "the one that is renamed")
        rows = unit.rows("SELECT path, source FROM film ORDER BY id")
        assert (stick / "film.dcm").exists()
        assert not unit.leftovers()
    assert {row["source"] for row in rows} == {f"folder:{stick}"}
    held = unit.spool / rows[1]["path"]
    assert held.read_bytes() == (stick / "film.dcm").read_bytes()


def test_what_grows_after_all_is_another_content(tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    whole = save(noise(200), tmp_path / "film.dcm").read_bytes()
    with watching(tmp_path, stick) as unit:
        with (stick / "film.dcm").open("wb", buffering=0) as stalled:
            stalled.write(whole[:50_000])
            until(lambda: outcomes(unit) == ["new"], "taken too early")
            stalled.write(whole[50_000:])
        until(lambda: outcomes(unit) == ["new", "revised"], "the whole film")
        states = [row["state"] for row in unit.rows("SELECT state FROM film ORDER BY id")]
    assert states == ["superseded", "received"]


def test_nothing_is_done_twice(tmp_path: Path) -> None:
    stick, away = tmp_path / "stick", tmp_path / "away"
    stick.mkdir()
    film = save(noise(32), stick / "film.dcm")
    (stick / "readme.txt").write_text("not a film")
    with watching(tmp_path, stick) as unit:
        until(lambda: sorted(outcomes(unit)) == ["new", "quarantined"], "both")
        # The stick is pulled, and put in again.
        stick.rename(away)
        until(lambda: unit.logged("folder is not there"), "noticed")
        away.rename(stick)
        until(lambda: unit.logged("folder is there"), "noticed")
        # So is the unit.
        unit.processes[0].kill()
        unit.processes.pop().wait()
        unit.start(None)
        save(noise(32, 3), stick / "z.dcm")
        until(lambda: len(outcomes(unit)) == 3, "the new one")
        assert outcomes(unit)[2] == "new"
        # A copy of the same film, and the film itself by network: done already.
        shutil.copy(film, stick / "copy.dcm")
        until(lambda: outcomes(unit)[3:] == ["duplicate"], "the copy")
        (row,) = unit.rows("SELECT * FROM quarantine")
    assert row["reason"] == "not a DICOM, PNG or JPEG file"
    assert (unit.spool / row["path"]).read_text() == "not a film"


def test_by_network_and_by_folder_is_the_same(tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    film = save(noise(32), tmp_path / "film.dcm")
    settings = (
        f'[intake.dicom]\n[[intake.folders]]\npath = "{stick}"\nsettle_s = 0.1\nevery_s = 0.05\n'
    )
    unit = Unit(tmp_path, settings)
    try:
        unit.start()
        unit.start(None)
        assert send_file(unit.port, film) == 0
        (row,) = unit.rows("SELECT path FROM film")
        # As it lies in the spool: what a sender's own encoder makes of a file is another matter.
        shutil.copy(unit.spool / row["path"], stick / "a.dcm")
        sent = (unit.spool / row["path"]).read_bytes()
        (stick / "b.dcm").write_bytes(
            film.read_bytes()[: -len(data_set_of(film))]
            + sent[len(sent) - len(data_set_of(unit.spool / row["path"])) :]
        )
        until(lambda: outcomes(unit) == ["new", "duplicate", "duplicate"], "all three")
        assert len(unit.rows("SELECT * FROM film")) == 1
    finally:
        unit.close()


def test_what_was_taken_is_removed_where_that_is_wanted(tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    film = save(noise(32), stick / "film.dcm")
    other = stick / "readme.txt"
    other.write_text("not a film")
    with watching(tmp_path, stick, after="remove") as unit:
        until(lambda: len(outcomes(unit)) == 2, "both")
        until(lambda: not film.exists(), "the film is in the spool")
        assert len(unit.rows("SELECT * FROM film")) == 1
        assert other.exists()


def test_a_full_disk_leaves_the_film_where_it_is(small_disk: Path, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    filler = small_disk / "filler"
    with watching(small_disk, stick, after="remove", reserve_mib=10) as unit:
        filler.write_bytes(bytes(37 << 20))
        film = save(noise(1000), stick / "film.dcm")
        until(lambda: unit.logged("not received"), "refused")
        assert film.exists()
        assert not unit.leftovers()
        filler.unlink()
        until(lambda: not film.exists(), "taken")
        assert outcomes(unit) == ["new"]
        assert len(unit.logged("not received")) == 1


@pytest.mark.data
def test_catalogued_files_by_folder(local_data: Path, tmp_path: Path) -> None:
    files = catalogued(local_data)
    stick = tmp_path / "stick"
    stick.mkdir()
    for number, file in enumerate(files):
        (stick / f"{number:03}").symlink_to(file)
        shutil.copyfile(file, stick / f"{number:03}.dcm")
    with watching(tmp_path, stick) as unit:
        until(lambda: len(outcomes(unit)) == len(files), "all of them", 120)
        paths = unit.rows("SELECT path FROM film UNION SELECT path FROM quarantine")
        assert not unit.leftovers()
    kept = {(unit.spool / row["path"]).read_bytes() for row in paths}
    missing = [file.name for file in files if file.read_bytes() not in kept]
    print(Counter(outcomes(unit)))
    assert not missing


def test_500_damaged_files_each_have_a_place(tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    films = [as_file(make()) for make in (*LOSSLESS.values(), *LOSSY.values())]
    for number in range(500):
        rng = np.random.default_rng([61, number])
        data = mutate(films[number % len(films)], films[rng.integers(len(films))], rng)
        (stick / f"{number:03}").write_bytes(data)
    with watching(tmp_path, stick) as unit:
        until(lambda: len(outcomes(unit)) == 500, "all of them", 120)
        paths = unit.rows("SELECT path FROM film UNION SELECT path FROM quarantine")
        assert not unit.leftovers()
        assert unit.processes[0].poll() is None
    kept = {(unit.spool / row["path"]).read_bytes() for row in paths}
    # The same data set under other file meta information is the same film, and kept once.
    missing = [file for file in stick.iterdir() if file.read_bytes() not in kept]
    assert outcomes(unit).count("duplicate") == len(missing)
    assert {"new", "revised", "quarantined"} <= set(outcomes(unit))
