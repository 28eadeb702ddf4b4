"""No damaged film or bundle takes the process with it: each is read, or refused by one error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge_runtime.fuzzing import MEMORY, SECONDS, Report, run


def check(report: Report, count: int, refused: float) -> None:
    print(report.outcomes, report.slowest, report.memory >> 20, "MiB")
    assert not report.failures, "\n".join(report.failures)
    assert report.outcomes.total() == count
    assert report.slowest[0] < SECONDS
    assert report.memory < MEMORY
    read = report.outcomes["read"]
    assert read > 0
    assert count - read > refused * count, "too few mutants are damaged enough to tell anything"


def test_damaged_films(tmp_path: Path) -> None:
    check(run("film", 400, tmp_path), 400, 0.3)


def test_damaged_bundles(tiny_bundle: Path, tmp_path: Path) -> None:
    check(run("bundle", 100, tmp_path, tiny_bundle), 100, 0.5)


@pytest.mark.nightly
def test_many_damaged_films(tmp_path: Path) -> None:
    check(run("film", 8000, tmp_path), 8000, 0.3)


@pytest.mark.nightly
def test_many_damaged_bundles(tiny_bundle: Path, tmp_path: Path) -> None:
    check(run("bundle", 2000, tmp_path, tiny_bundle), 2000, 0.5)
