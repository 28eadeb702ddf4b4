"""The device's installation: from nothing, without TensorFlow, on either TFLite runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.environment.install import copy_packaged, install_device, make_environment
from benchmarks.environment.installed import inventory
from benchmarks.peers.process import Process
from edge_runtime.bundle import load_bundle
from tests.conftest import ROOT, Trained, must, osteoedge

ABSENT = ("tensorflow", "tf_keras", "pandas", "sklearn", "scipy", "matplotlib", "jinja2", "psutil")
# The base dependencies of pyproject.toml but for LiteRT, which needs no newer numpy but stands in
# the way: the runtime that is meant is the only one there.
WITHOUT_LITERT = ("numpy", "opencv-python-headless", "pydicom", "pylibjpeg", "pylibjpeg-openjpeg",
                  "pyjpegls", "imagecodecs", "highdicom", "pydantic", "cryptography", "rich",
                  "typer", "tflite-runtime")  # fmt: skip


def run(command: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    # An empty PYTHONPATH and another folder: nothing of this checkout can be imported by accident.
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [str(command), *map(str, arguments)], capture_output=True, text=True, check=False,
        cwd="/", env=clean,
    )  # fmt: skip


def probabilities(folder: Path) -> np.ndarray:
    documents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return np.array([list(document["probabilities"].values()) for document in documents])


@pytest.fixture(scope="module")
def reference(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[list, Path]:
    """What this environment makes of a few films."""
    films = sorted((trained.dataset / "images").iterdir())[:6]
    out = tmp_path_factory.mktemp("reference")
    must(osteoedge("screen", *films, "--bundle", trained.bundle, "--out", out, "--write", "json"))
    return films, out


def test_a_clean_device_screens_without_tensorflow(
    reference: tuple[list, Path], trained: Trained, tmp_path: Path
) -> None:
    films, expected = reference
    install_device(tmp_path / "venv", wheel=None)
    command = tmp_path / "venv" / "bin" / "osteoedge"
    found = run(command.parent / "python", "-c", (
        "import importlib.util, edge_runtime, sys\n"
        f"print([name for name in {ABSENT!r} if importlib.util.find_spec(name)])\n"
    ))  # fmt: skip
    assert found.stdout.strip() == "[]", found.stdout + found.stderr
    result = run(command, "screen", *films, "--bundle", trained.bundle, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert np.array_equal(probabilities(tmp_path / "out"), probabilities(expected))
    for verb, extra in (("train", "train"), ("export", "train"), ("bench", "bench")):
        refused = run(command, verb, trained.dataset, "--out", tmp_path / "nothing")
        assert refused.returncode == 2, verb
        assert f"pip install 'osteoedge[{extra}]'" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert run(command, "--help").returncode == 0
    copyleft_is_what_is_documented(tmp_path / "venv")


def copyleft_is_what_is_documented(venv: Path) -> None:
    """Hold every copyleft licence in a device's environment against docs/environment.md."""
    documented = (ROOT / "docs" / "environment.md").read_text()
    table = [line for line in documented.splitlines() if line.startswith("|")]
    for found in inventory(venv).copyleft:
        told = [line for line in table if found.distribution in line and found.licence in line]
        assert told, f"docs/environment.md does not tell of {found}"
        # What would oblige a unit's maker to give away the unit's own software.
        strong = found.licence.startswith(("GPL", "AGPL")) and "exception" not in found.licence
        assert not strong or found.covers == "nothing found", found


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="tflite-runtime has no wheel past 3.11")
def test_tflite_runtime_gives_the_same_decisions_and_says_that_it_is_slow(
    reference: tuple[list, Path], trained: Trained, tmp_path: Path
) -> None:
    films, expected = reference
    constraints = str(ROOT / "constraints-tflite-runtime.txt")
    commands = make_environment(
        tmp_path / "venv",
        ["-c", constraints, *WITHOUT_LITERT],
        ["--no-deps", copy_packaged(ROOT, tmp_path / "source")],
    )
    command = commands / "osteoedge"
    out = tmp_path / "out"
    result = run(command, "screen", *films, "--bundle", trained.bundle, "--out", out)
    assert result.returncode == 0, result.stderr
    document = json.loads(next(iter(sorted(out.glob("*.json")))).read_text())
    assert document["delegate"]["version"] == "tflite-runtime 2.14.0"
    if os.uname().machine == "x86_64":
        assert "Degraded: tflite-runtime" in result.stderr
        assert document["degraded"]
    assert np.abs(probabilities(out) - probabilities(expected)).max() < 0.05
    # The same environment is where `benchmarks.peers` finds tflite-runtime.
    bundle, model = load_bundle(trained.bundle), tmp_path / "int8.tflite"
    model.write_bytes(bundle.model)
    loader = "benchmarks.peers.runtimes.interpreters:tflite_runtime"
    with Process(loader, model, 1, python=commands / "python") as peer:
        assert peer.version == "tflite-runtime 2.14.0"
        spec = bundle.manifest
        first = peer.ask(spec.model.quantize(bundle.golden.pixels[0], spec.input_spec))
        assert peer.time() > 0
    cam = spec.model.outputs["cam"].index
    golden = bundle.golden.outputs["cam"][0].astype(int)
    assert np.abs(first[cam][0].astype(int) - golden).max() <= 20
