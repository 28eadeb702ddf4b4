"""Shared fixtures: where the local data lies, phantoms, and the one model that is expensive."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("OSTEOEDGE_DATA", ROOT.parent / "shared" / "data"))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep all tests of the one expensive model on one worker, which trains it once."""
    if isinstance(item, pytest.Function) and "trained" in item.fixturenames:
        item.add_marker(pytest.mark.xdist_group("trained"))


@pytest.fixture(scope="session")
def local_data() -> Path:
    """The radiographs that are never committed; the test skips where they are absent."""
    if not DATA.is_dir():
        pytest.skip(f"no local radiographs in {DATA} (set OSTEOEDGE_DATA)")
    return DATA


def osteoedge(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a user does."""
    command = [sys.executable, "-m", "edge_runtime.cli", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=1200, check=False
    )


def must(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Return a result whose exit code is 0, or fail with what the command said."""
    assert result.returncode == 0, result.stdout + result.stderr
    return result


@dataclass(frozen=True)
class Trained:
    """A tiny model, trained and exported by the command line on phantoms."""

    dataset: Path
    run: Path
    bundle: Path


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder of 400 drawn films."""
    folder = tmp_path_factory.mktemp("phantoms") / "data"
    must(osteoedge("data", "phantom", folder, "--count", 400, "--seed", 5))
    return folder


@pytest.fixture(scope="session")
def trained(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Made once a session: the only training that tests outside `tests/train` may lean on."""
    folder = tmp_path_factory.mktemp("trained")
    run, bundle = folder / "run", folder / "tiny.osteo"
    must(osteoedge("train", phantoms, "--out", run, "--recipe", ROOT / "tests/data/tiny.toml"))
    must(osteoedge("export", run, "--out", bundle))
    return Trained(phantoms, run, bundle)


@pytest.fixture(scope="session")
def tiny_bundle(trained: Trained) -> Path:
    """The exported bundle of the tiny model."""
    return trained.bundle
