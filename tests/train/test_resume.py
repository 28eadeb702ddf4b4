"""A run that is killed goes on; a finished one is left alone; another recipe is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, must, osteoedge

RECIPE = ROOT / "tests/data/resume.toml"


def history(run: Path) -> list[dict[str, Any]]:
    path = run / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def train_until(dataset: Path, run: Path, phase: str, epoch: int) -> None:
    """Train and kill -9 as soon as an epoch of a phase is in the history."""
    command = [sys.executable, "-m", "edge_runtime.cli", "train", str(dataset), "--out", str(run),
               "--recipe", str(RECIPE)]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not any(line["phase"] == phase and line["epoch"] >= epoch for line in history(run)):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_run_survives_kill_9_in_every_phase(phantoms: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_until(phantoms, run, "float", 2)
    train_until(phantoms, run, "qat", 1)
    result = must(osteoedge("train", phantoms, "--out", run, "--recipe", RECIPE))
    assert "Next: osteoedge export" in result.stdout
    assert json.loads((run / "run.json").read_text())["done"] == ["warmup", "float", "qat"]
    lines = history(run)
    epochs = [(line["phase"], line["epoch"]) for line in lines]
    assert set(epochs) == {
        *(("warmup", k) for k in range(2)),
        *(("float", k) for k in range(5)),
        *(("qat", k) for k in range(3)),
    }
    # Killed between the history's line and the checkpoint, a kill costs one epoch of training.
    trained = [(phase, epoch) for phase, epoch in epochs if epoch > 0]
    assert len(trained) - len(set(trained)) <= 2
    assert epochs.count(("warmup", 1)) == 1, "a finished phase is not repeated"

    before = (run / "weights" / "qat.weights.h5").read_bytes()
    must(osteoedge("train", phantoms, "--out", run, "--recipe", RECIPE))
    assert (run / "weights" / "qat.weights.h5").read_bytes() == before
    assert history(run) == lines, "a finished run is left alone"

    other = osteoedge("train", phantoms, "--out", run, "--recipe", RECIPE, "--set", "seed=1")
    assert other.returncode == 1
    assert "holds a run of another recipe or dataset" in other.stderr
    assert list((run / "tensorboard").glob("events*")), "TensorBoard logs are there"
