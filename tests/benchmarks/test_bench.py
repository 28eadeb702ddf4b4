"""`osteoedge bench` on a real bundle."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import latency
from edge_runtime.bundle import GOLDEN, load_bundle, write_bundle
from tests.conftest import must, osteoedge

KEYS = {"bundle", "variant", "delegate", "threads", "status", "reason", "n", "p50_ms", "p90_ms",
        "p99_ms", "cold_ms", "rss_mb", "energy_mj"}  # fmt: skip


def test_every_row_is_whole_and_what_is_not_there_says_why(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bench.json"
    result = must(
        osteoedge("bench", tiny_bundle, "--out", out, "--delegates", "cpu,edgetpu",
                  "--threads", "1,2", "--seconds", "0.2")
    )  # fmt: skip
    assert "Next: osteoedge evaluate" in result.stdout
    assert "SYNTHETIC" in result.stdout
    document = json.loads(out.read_text())
    rows = document["rows"]
    assert [(row["delegate"], row["threads"]) for row in rows] == [
        ("cpu", 1), ("cpu", 2), ("edgetpu", 1), ("edgetpu", 2),
    ]  # fmt: skip
    assert document["host"]["harness_us"] < 1000
    assert document["host"]["cores"] >= 1
    for row in rows:
        assert set(row) >= KEYS
        assert row["energy_mj"] is None
        assert row["synthetic"]
        assert set(row["unmeasured"]) == {
            key for key, value in row.items() if value is None and key != "reason"
        }
    for row in rows[:2]:
        assert row["status"] == "ok"
        assert row["n"] >= 100
        assert 0 < row["p50_low_ms"] <= row["p50_ms"] <= row["p50_high_ms"] <= row["max_ms"]
        assert row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["max_ms"]
        assert row["cold_ms"] > row["p50_ms"], "a process start is in it"
        assert 20 < row["rss_mb"] < 1000
    for row in rows[2:]:
        assert row["status"] == "unavailable"
        assert row["reason"].startswith("no Edge TPU")
        assert row["p50_ms"] is None


def test_a_delegate_that_computes_something_else_has_failed(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    sound = load_bundle(tiny_bundle)
    outputs = {head: np.invert(stored) for head, stored in sound.golden.outputs.items()}
    golden = dataclasses.replace(sound.golden, outputs=outputs)
    limits = sound.manifest.golden
    strict = limits.tolerance["cpu"].model_copy(update={"max_steps": 0.5})
    limits = limits.model_copy(update={"tolerance": {"cpu": strict}})
    wrong, out = tmp_path / "wrong.osteo", tmp_path / "bench.json"
    manifest = sound.manifest.model_copy(update={"golden": limits})
    write_bundle(wrong, manifest, {**sound.content, GOLDEN: golden.to_npz()})
    result = osteoedge("bench", wrong, "--out", out, "--threads", "1", "--seconds", "0.1")
    assert result.returncode == 1
    (row,) = json.loads(out.read_text())["rows"]
    assert row["status"] == "failed"
    assert "does not reproduce golden vector" in row["reason"]


def test_a_cold_start_that_dies_leaves_the_other_figures(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a unit short of memory does to a process; this one exits before it has screened.
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    (row,), _ = latency.benchmark(tiny_bundle, ["cpu"], [1], seconds=0.01)
    assert row["status"] == "ok"
    assert row["p50_ms"] > 0
    assert row["cold_ms"] is None and row["rss_mb"] is None
    assert row["unmeasured"]["cold_ms"] == row["unmeasured"]["rss_mb"] == "exit code 1"


def test_memory_is_that_of_the_fresh_process_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    cv2.imwrite(str(film), np.zeros((400, 300), np.uint8))
    command = [sys.executable, "-m", "benchmarks.cold_start", str(tiny_bundle), "cpu", "1",
               str(film)]  # fmt: skip
    held = np.ones(2**29, np.uint8)  # 512 MiB that the process which starts it holds
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert held.all()
    assert 20 < json.loads(answer)["rss_mb"] < 512


@pytest.mark.parametrize(
    ("option", "value"),
    [("--threads", "many"), ("--threads", "0"), ("--threads", "999"), ("--threads", ","),
     ("--delegates", "cpuu"), ("--delegates", ",")],
)  # fmt: skip
def test_options_that_name_nothing(tiny_bundle: Path, option: str, value: str) -> None:
    result = osteoedge("bench", tiny_bundle, option, value)
    assert result.returncode == 2
    assert option in result.stderr
