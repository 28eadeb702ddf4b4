"""Slower beyond noise: how often it is said where nothing changed, and that it is where it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks.compare import Comparison, compare, details, table
from benchmarks.harness import ROUNDS, Latencies
from benchmarks.schema import Bench, Row
from tests.benchmarks.benches import host, not_there, ran, whole_bench

# So many rows with two medians each are the 18 comparisons, and more, that one run may be.
ROWS = 12
Draw = Callable[[np.random.Generator, int], np.ndarray]


def spread(generator: np.random.Generator, count: int) -> np.ndarray:
    return 8.0 * generator.lognormal(0.0, 0.2, count)


def moody(generator: np.random.Generator, count: int) -> np.ndarray:
    """Every round has a mood of its own: intervals of queries alone would be far too narrow."""
    moods = np.repeat(generator.lognormal(0.0, 0.1, ROUNDS), count // ROUNDS)
    return moods * spread(generator, count)


def medians(generator: np.random.Generator, draw: Draw, slower: float = 1.0) -> dict[str, float]:
    figures = {}
    for name in ("p50", "screen_p50"):
        rounds = tuple(np.split(slower * draw(generator, 20 * ROUNDS), ROUNDS))
        found = Latencies(rounds, 0.0).percentile(50)
        figures |= {f"{name}_ms": found.value, f"{name}_low_ms": found.low,
                    f"{name}_high_ms": found.high}  # fmt: skip
    return figures


def bench(*rows: Row, **changed: Any) -> Bench:
    return Bench(host=host().model_copy(update=changed), rows=rows)


def run(seed: int, draw: Draw, slower: float = 1.0) -> Bench:
    """A run of some rows, the last of which takes so many times as long as it should."""
    generator = np.random.default_rng(seed)
    return bench(*(
        ran("qat-int8", "cpu", 1 + number, 8.0,
            **medians(generator, draw, slower if number == ROWS - 1 else 1.0))
        for number in range(ROWS)
    ))  # fmt: skip


def said(comparison: Comparison) -> str:
    console = Console(width=200, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(table(comparison))
        for line in details(comparison):
            console.print(line, soft_wrap=True)
    return captured.get()


def test_a_run_against_itself_raises_no_alarm() -> None:
    comparison = compare(whole_bench(), [whole_bench()])
    assert not comparison.worse
    assert {change.verdict for change in comparison.changes} == {"same"}
    assert not comparison.other_host and not comparison.other_software
    assert not comparison.lost and not comparison.gained


@pytest.mark.parametrize("draw", [spread, moody])
def test_equal_systems_raise_an_alarm_in_one_comparison_of_twenty_at_most(draw: Draw) -> None:
    pairs = 60
    alarms = sum(
        compare(run(2 * pair, draw), [run(2 * pair + 1, draw)]).worse for pair in range(pairs)
    )
    # Of 60 at 5 %: more than 6 have a probability of 3 %.
    assert alarms <= 6


@pytest.mark.parametrize(("slower", "verdict"), [(1.1, "slower"), (0.9, "faster")])
def test_a_tenth_is_found_and_nothing_else(slower: float, verdict: str) -> None:
    found = 0
    for pair in range(20):
        comparison = compare(run(1000 + pair, spread, slower), [run(2000 + pair, spread)])
        verdicts = [change.verdict for change in comparison.changes]
        found += verdicts[-2:] == [verdict, verdict]
        assert comparison.worse == ("slower" in verdicts)
    assert found >= 19


def between_runs(generator: np.random.Generator, by: float) -> Bench:
    """A run of equal systems; every run has a mood of its own, for each row."""
    return bench(*(
        ran("qat-int8", "cpu", 1 + number, float(8.0 * generator.lognormal(0.0, by)))
        for number in range(ROWS)
    ))  # fmt: skip


def test_several_references_tell_how_far_runs_differ() -> None:
    generator = np.random.default_rng(7)
    alone, together, pairs = 0, 0, 100
    for _ in range(pairs):
        references = [between_runs(generator, 0.05) for _ in range(5)]
        new = between_runs(generator, 0.05)
        alone += compare(new, references[:1]).worse
        together += compare(new, references).worse
    # Of 100 at 5 %: more than 9 have a probability of 3 %.
    assert together <= 9
    assert alone >= 50, "what one reference cannot know"


def test_several_references_find_what_is_slower_than_runs_differ() -> None:
    generator = np.random.default_rng(8)
    references = [between_runs(generator, 0.01) for _ in range(5)]
    slower = bench(*(ran("qat-int8", "cpu", 1 + number, 8.0 * 1.25) for number in range(ROWS)))
    comparison = compare(slower, references)
    assert comparison.references == 5
    assert [one.verdict for one in comparison.changes if one.what == "invoke"] == ["slower"] * ROWS


def test_many_comparisons_are_held_to_wider_intervals() -> None:
    few = compare(bench(ran("fp32", "cpu", 1, 8.0)), [bench(ran("fp32", "cpu", 1, 8.0))])
    assert few.widened == 1.0
    rows = [ran("fp32", "cpu", 1 + number, 8.0) for number in range(40)]
    many = compare(bench(*rows), [bench(*rows)])
    assert 1.1 < many.widened < 1.3
    assert "for 80 comparisons" in said(many)


def test_just_apart_is_slower_and_touching_is_not() -> None:
    def one(value: float, low: float, high: float) -> Bench:
        ends = {"p50_ms": value, "p50_low_ms": low, "p50_high_ms": high}
        return bench(ran("fp32", "cpu", 1, 8.0, **ends))

    reference = one(8.0, 7.5, 8.5)
    for low, verdict in ((8.5, "same"), (8.51, "slower")):
        change = compare(one(9.0, low, 9.5), [reference]).changes[0]
        assert change.verdict == verdict
        assert change.times == pytest.approx(1.125)


def test_what_is_gone_is_worse_and_what_is_new_is_not() -> None:
    kept, other = ran("qat-int8", "cpu", 1, 8.0), ran("qat-int8", "gpu", 1, 9.0)
    fails = not_there("qat-int8", "gpu", "failed", "does not reproduce golden vector 0")
    lacks = not_there("qat-int8", "gpu", "unavailable", "no GPU")
    for rows, why in (
        ((kept,), "not measured"),
        ((kept, fails), "failed: does not reproduce golden vector 0"),
        ((kept, lacks), "unavailable: no GPU"),
    ):
        comparison = compare(bench(*rows), [bench(kept, other)])
        assert comparison.worse
        assert comparison.lost == {"knee qat-int8 gpu/1": why}
        assert f"gone: knee qat-int8 gpu/1, {why}" in said(comparison)
        back = compare(bench(kept, other), [bench(*rows)])
        assert not back.worse
        assert back.gained == ("knee qat-int8 gpu/1",)


def test_a_row_without_an_interval_is_not_judged() -> None:
    few = ran("fp32", "cpu", 1, 8.0, p50_high_ms=None, screen_p50_ms=None,
              screen_p50_low_ms=None, screen_p50_high_ms=None)  # fmt: skip
    assert compare(bench(few), [bench(few)]).changes == ()


def test_another_machine_is_said_loudly_and_other_versions_are_said() -> None:
    row = ran("fp32", "cpu", 1, 8.0)
    comparison = compare(
        bench(row, cpu="Cortex-A76", packages={"numpy": "2.1.0", "pydicom": "3.0"}), [bench(row)]
    )
    assert comparison.other_host == {"processor": ("A <fast> processor", "Cortex-A76")}
    assert comparison.other_software == {
        "osteoedge": ("0.1.0", "none"), "numpy": ("2.0.0", "2.1.0"), "pydicom": ("none", "3.0"),
    }  # fmt: skip
    text = said(comparison)
    assert "ANOTHER MACHINE: processor was A <fast> processor and is Cortex-A76" in text
    assert "numpy was 2.0.0 and is 2.1.0" in text


def test_a_comparison_is_a_table_for_people_and_json_for_programs() -> None:
    slow, fast = bench(ran("fp32", "cpu", 1, 10.0)), bench(ran("fp32", "cpu", 1, 8.0))
    comparison = compare(slow, [fast])
    assert Comparison.model_validate_json(comparison.to_json()) == comparison
    text = said(comparison)
    assert "knee fp32 cpu/1" in text and "1.250" in text and "slower" in text
    assert "one reference does not tell how far runs differ" in text
