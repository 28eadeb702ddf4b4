"""Shared fixtures: where the local data lies, phantoms, and the one model that is expensive."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chests import draw_chest

CHESTS = 40
ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("OSTEOEDGE_DATA", ROOT.parent / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests of the one expensive model last: all workers are busy before one trains it."""
    items.sort(key=lambda item: "trained" in getattr(item, "fixturenames", ()))


def once_for_all_workers(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """Return a folder that the first worker to ask fills, and the others wait for."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_suffix(".part")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def local_data() -> Path:
    """The radiographs that are never committed; the test skips where they are absent."""
    if not DATA.is_dir():
        pytest.skip(f"no local radiographs in {DATA} (set OSTEOEDGE_DATA)")
    return DATA


def need(found: object, what: str) -> None:
    """Skip a test whose tool is missing here; in CI, which installs the tools, fail it."""
    if not found:
        if os.environ.get("CI") == "true":
            pytest.fail(f"missing: {what}")
        pytest.skip(f"missing: {what}")


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

    def draw(folder: Path) -> None:
        must(osteoedge("data", "phantom", folder / "data", "--count", 400, "--seed", 5))

    return once_for_all_workers(tmp_path_factory, "phantoms", draw) / "data"


@pytest.fixture(scope="session")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn films that show no limb."""

    def draw(folder: Path) -> None:
        for number in range(CHESTS):
            draw_chest(folder / f"{number}.png", number)

    return once_for_all_workers(tmp_path_factory, "chests", draw)


@pytest.fixture(scope="session")
def trained(phantoms: Path, chests: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Made once a session: the only training that tests outside `tests/train` may lean on."""

    def train(folder: Path) -> None:
        run, recipe = folder / "run", ROOT / "tests/data/tiny.toml"
        must(osteoedge("train", phantoms, "--out", run, "--recipe", recipe))
        bundle = folder / "tiny.osteo"
        must(osteoedge("export", run, "--not-limbs", chests, "--out", bundle))

    folder = once_for_all_workers(tmp_path_factory, "trained", train)
    return Trained(phantoms, folder / "run", folder / "tiny.osteo")


@pytest.fixture(scope="session")
def tiny_bundle(trained: Trained) -> Path:
    """The exported bundle of the tiny model."""
    return trained.bundle


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An external delegate that enlarges maps, and can be told to misbehave."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    need(compiler, "a C compiler (Debian package gcc)")
    library = tmp_path_factory.mktemp("toy") / "libtoy_delegate.so"
    source = ROOT / "tests/edge_runtime/native/toy_delegate.c"
    command = [str(compiler), "-O1", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return library
