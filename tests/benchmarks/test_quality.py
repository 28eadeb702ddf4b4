"""The measurement of the quality check: what it counts, and that each defect spoils a film."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.defects import DEFECTS, Defect
from benchmarks.quality import find_films, measure
from edge_runtime.errors import DatasetError


def limb(rows: int = 300, columns: int = 240) -> npt.NDArray[np.uint8]:
    """A bone in flesh in air, with the grain of trabeculae."""
    across = np.abs(np.arange(columns) - columns / 2)[np.newaxis]
    film = 20.0 + 60.0 * (across < 70) + 90.0 * (across < 25)
    grain = np.random.default_rng(0).normal(0, 12, (rows // 2, columns // 2))
    film = film + np.kron(grain, np.ones((2, 2))) * (across < 25)
    return np.clip(film, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "limb.png"), limb())
    cv2.imwrite(str(tmp_path / "blank.png"), np.full((300, 240), 90, np.uint8))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "notes.txt").write_text("no film")
    return tmp_path


def test_films_as_they_are_and_spoilt_are_counted(folder: Path) -> None:
    result = measure(find_films(folder, None), "KNEE", sample=3)
    group = result["valid"]["all"]
    assert (group["films"], group["refused"]) == (2, 1)
    assert group["findings"] == {"the film is blank or nearly so": 1}
    assert len(result["unreadable"]) == 1
    assert "broken.png" in result["unreadable"][0]
    assert result["spoilt"] == 2
    assert result["seen"]["no object"]["refused"] == {"0": 2, "0.01": 2, "0.05": 2, "0.2": 2}
    assert result["seen"]["blur"]["refused"]["3"] == 2, "the blank one, and the blurred limb"
    detail = group["measures"]["detail"]
    assert detail[0] == 0.0
    assert detail == sorted(detail)


def test_the_command_prints_a_table_or_json(folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.quality", str(folder), "--sample", "1"]
    table = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "| all | 2 | 50.00 | the film is blank or nearly so: 1 |" in table.stdout
    assert "broken.png" in table.stderr
    printed = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert set(json.loads(printed.stdout)["seen"]) == {defect.name for defect in DEFECTS}


def test_a_folder_without_films_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no film in this folder"):
        find_films(tmp_path, None)
    cv2.imwrite(str(tmp_path / "limb.png"), limb())
    with pytest.raises(DatasetError, match="--where is for dataset folders"):
        find_films(tmp_path, "centre == 1")


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda d: d.name)
def test_a_defect_leaves_the_film_alone_and_is_the_same_twice(defect: Defect) -> None:
    film = limb()
    before = film.copy()
    for strength in defect.strengths:
        spoilt = defect.spoil(film, strength, 5)
        assert spoilt.dtype == np.uint8
        assert (film == before).all()
        assert spoilt.shape != film.shape or (spoilt != film).any()
        assert (spoilt == defect.spoil(film, strength, 5)).all()


def test_crops_keep_what_they_say() -> None:
    crop, cut = (next(d for d in DEFECTS if d.name == name) for name in ("crop", "top cut off"))
    film = limb()
    for kept in crop.strengths:
        assert crop.spoil(film, kept, 0).size / film.size == pytest.approx(kept, rel=0.03)
    assert len(cut.spoil(film, 0.0, 0)) == pytest.approx(len(film) / 2, abs=3)
