"""The comparison with the floor: its arithmetic, and that it measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from benchmarks import stages
from benchmarks.films.film import write_film
from benchmarks.harness import Percentile
from benchmarks.imports import by_package
from benchmarks.stages import Bound
from edge_runtime.radiograph import read_radiograph
from tests.conftest import ROOT

APP = typer.Typer()
APP.command()(stages.main)


def test_a_bound_is_held_up_to_its_limit() -> None:
    def bound(value: float, *, at_least: bool = False) -> bool:
        found = Percentile(value, value - 0.2, value + 0.2)
        return Bound("what", found, 1.5, "x", at_least).held

    assert [bound(value) for value in (1.4, 1.5, 1.51)] == [True, True, False]
    assert [bound(value, at_least=True) for value in (1.49, 1.5, 1.6)] == [False, True, True]


def test_imports_are_added_up_by_package() -> None:
    report = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       500 |        500 |   json.decoder\n"
        "import time:      1500 |       2000 | json\n"
        "import time:      3000 |       3000 |     numpy.linalg\n"
        "import time:      4000 |       7000 | numpy\n"
        "INFO: something else that is said\n"
    )
    assert by_package(report) == {"numpy": 7.0, "standard library": 2.0}
    assert list(by_package(report)) == ["numpy", "standard library"]


def test_the_film_is_one_of_a_detector(tmp_path: Path) -> None:
    picture = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    first, second = tmp_path / "first.dcm", tmp_path / "second.dcm"
    for path in (first, second):
        write_film(path, picture, rows=610, columns=500)
    assert first.read_bytes() == second.read_bytes()
    radiograph = read_radiograph(first)
    assert radiograph.display.shape == (610, 500)
    assert not any("window" in note for note in radiograph.notes)
    assert len(np.unique(radiograph.display)) > 5000, "noise, as on a film"
    assert radiograph.display[0].mean() < 5000
    assert radiograph.display[-1].mean() > 60000


def test_stages_of_a_real_bundle(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "ROWS", 610)
    monkeypatch.setattr(stages, "COLUMNS", 500)
    monkeypatch.setattr(stages, "MEMORY_SIDE", 500)
    monkeypatch.setattr(stages, "SCREENINGS", 10)
    said: list[str] = []
    document = stages.measure_stages(tiny_bundle, None, 20, said.append)
    assert json.loads(json.dumps(document)) == document
    assert len(said) == 4
    assert document["synthetic"]
    systems = document["systems"]
    assert set(systems) == {
        "floor, 1 run", "floor, 2 runs", "ours", "naive", "floor, 1 run, one core",
        "floor, 2 runs, one core", "ours, one core", "bare", "infer",
    }  # fmt: skip
    assert all(0 < found["low"] <= found["value"] <= found["high"] for found in systems.values())
    assert {"read", "decode", "preprocess", "invoke", "postprocess", "total"} == set(
        document["stages"]
    )
    assert document["memory_mb"]["before_mb"] < document["memory_mb"]["film_mb"]
    assert document["imports_ms"]["numpy"] > 0
    assert len({bound["what"] for bound in document["bounds"]}) == 8
    for bound in document["bounds"]:
        value = bound["value"]
        assert 0 < value["low"] <= value["value"] <= value["high"] or bound["unit"] == "MB"
        within = value["value"] <= bound["limit"]
        assert bound["held"] == (within != bound["at_least"])
    text = stages.details(document)
    assert "SYNTHETIC" in str(stages.table(document).title)
    assert "floor, 1 run:" in text and "numpy" in text


@pytest.mark.parametrize(("measured", "code", "word"), [(0.3, 0, "held"), (0.4, 3, "MISSED")])
def test_a_missed_bound_is_an_exit_code(
    measured: float, code: int, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = Bound("output handling", Percentile(measured, measured, measured), 0.3, "ms")
    document = {
        "host": {"cpu": "a processor"}, "bundle": "knee 1", "synthetic": False,
        "systems": {}, "one_core_ratios": {}, "stages": {}, "imports_ms": {}, "memory_mb": {},
        "bounds": [{**vars(bound), "value": vars(bound.value), "held": bound.held}],
    }  # fmt: skip
    monkeypatch.setattr(stages, "measure_stages", lambda *_: document)
    out = tmp_path / "stages.json"
    result = CliRunner().invoke(APP, ["knee.osteo", "--out", str(out)])
    assert result.exit_code == code
    assert word in result.stdout
    assert json.loads(out.read_text()) == document


def test_an_absent_bundle_is_one_line() -> None:
    result = CliRunner().invoke(APP, ["absent.osteo"])
    assert result.exit_code == 1
    assert "absent.osteo" in result.stderr and "Traceback" not in result.stderr


def memory(bundle: Path, folder: Path, screenings: int) -> dict[str, float]:
    film = folder / "film.dcm"
    write_film(film, np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8), 610, 500)
    command = [sys.executable, "-m", "benchmarks.memory", bundle, film, screenings]
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=True, cwd=ROOT
    )
    answer: dict[str, float] = json.loads(result.stdout)
    return answer


def test_screenings_leave_no_memory_behind(tiny_bundle: Path, tmp_path: Path) -> None:
    # A twentieth of a film that was kept each time would be more.
    assert memory(tiny_bundle, tmp_path, 300)["growth_mb"] < 8


@pytest.mark.nightly
def test_ten_thousand_screenings_leave_no_memory_behind(tiny_bundle: Path, tmp_path: Path) -> None:
    assert memory(tiny_bundle, tmp_path, 10_000)["growth_mb"] <= 5
