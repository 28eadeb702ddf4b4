"""Several devices take the step that one would; several workers write one run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.errors import ConfigError
from tests.conftest import must, osteoedge
from train.distribute import choose_strategy

RECIPE = """
[data]
validation = 0.2
calibration = 0.25

[input]
height = 64
width = 64

[model]
backbone = "mobilenet_v2"
alpha = 0.35
weights = "none"
mask_channels = 8

[float]
batch = 8
warmup_epochs = 0
epochs = 1

[qat]
batch = 8
calibration_batches = 1
"""


def test_two_devices_take_the_steps_of_one() -> None:
    command = [sys.executable, "-m", "tests.train.two_devices"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def environment(workers: list[int], index: int) -> dict[str, str]:
    cluster = {"worker": [f"localhost:{port}" for port in workers]}
    task = {"type": "worker", "index": index}
    return {**os.environ, "TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


# Minutes each: a cluster traces every step and every prediction anew, whatever the network's size.
@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("qat_epochs", [0, 1])
def test_two_workers_train_one_run(tmp_path: Path, qat_epochs: int) -> None:
    films, run = tmp_path / "films", tmp_path / "run"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    must(osteoedge("data", "phantom", films, "--count", 40, "--seed", 5))
    ports = free_ports(2)
    command = [sys.executable, "-m", "edge_runtime.cli", "train", str(films), "--out", str(run),
               "--recipe", str(recipe), "--set", f"qat.epochs={qat_epochs}"]  # fmt: skip
    logs = [tmp_path / f"worker{index}.log" for index in (0, 1)]
    workers = []
    try:
        for index, log in enumerate(logs):
            with log.open("w") as stream:
                workers.append(
                    subprocess.Popen(
                        command, env=environment(ports, index), stdout=stream, stderr=stream
                    )
                )
        codes = [worker.wait(timeout=1500) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert codes == [0, 0], "\n".join(log.read_text()[-3000:] for log in logs)

    assert json.loads((run / "run.json").read_text())["done"] == ["float", "qat"]
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    epochs = [(line["phase"], line["epoch"]) for line in lines]
    assert epochs == [("float", 0), ("float", 1), *(("qat", e) for e in range(qat_epochs + 1))]

    from train.networks import float_model, qat_model
    from train.run import load_run

    for model in (float_model(load_run(run)), qat_model(load_run(run))):
        assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.parametrize(
    "config",
    [
        "localhost:1234",
        "[]",
        {"cluster": {"worker": ["a:1", "b:1"]}},
        {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}},
        {"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}},
    ],
)
def test_a_malformed_tf_config_is_named(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = config if isinstance(config, str) else json.dumps(config)
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match="TF_CONFIG") as caught:
        choose_strategy()
    assert "another index on each machine" in caught.value.remedy
    assert "\n" not in str(caught.value)
