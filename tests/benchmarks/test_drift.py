"""The stated rate of false alarms, and how soon a change is seen, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.drift import CHANGES, STUDIES, main, measure, studies_until_seen


def test_changes_are_seen_the_sooner_the_larger_they_are() -> None:
    rng = np.random.default_rng(3)
    named = {change.name: change for change in CHANGES}

    def median(name: str) -> float:
        return float(np.median([studies_until_seen(rng, named[name], 300) for _ in range(15)]))

    assert median("a measure shifts by 1.0 SD") <= 150
    assert median("a measure shifts by 1.0 SD") < median("a measure shifts by 0.25 SD")
    assert median("unable rises from 5% to 25%") <= 200 < median("unable rises from 2% to 4%")


def test_the_command_prints_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    monkeypatch.setattr("benchmarks.drift.STUDIES", 300)
    app = typer.Typer()
    app.command()(main)
    said = CliRunner().invoke(app, ["--units", "2", "--films", "40"], catch_exceptions=False)
    assert said.exit_code == 0
    assert said.output.startswith("| reference films | units |")
    assert said.output.count("\n| ") == len(CHANGES) + 2


@pytest.mark.nightly
@pytest.mark.parametrize("films", [25, 300])
def test_alarms_are_as_seldom_as_is_stated(films: int) -> None:
    found = measure(units=300, films=films, seed=17)
    low, high = found["interval"]
    assert low <= found["stated_per_10000_studies"], "the stated rate is not broken"
    assert high >= 0.3 * found["stated_per_10000_studies"], "nor so cautious that nothing is seen"
    assert STUDIES == 10_000
