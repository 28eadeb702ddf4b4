"""The harness recovers what it is given, whatever the distribution."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.harness import (
    ROUNDS,
    Latencies,
    Percentile,
    least_queries,
    measure,
    null_query_us,
    ratio,
)


class Machine:
    """A clock that queries move: no test waits, and every run is the same."""

    def __init__(self) -> None:
        self.now = 0

    def clock(self) -> int:
        return self.now

    def query(self, draw: Callable[[], float]) -> Callable[[], None]:
        def run() -> None:
            self.now += int(draw() * 1e6)

        return run


def latencies(milliseconds: np.ndarray) -> Latencies:
    return Latencies(tuple(np.array_split(milliseconds, ROUNDS)), 0.0)


QUERIES, RUNS = 1000, 400
Draw = Callable[[np.random.Generator, int], np.ndarray]
# Milliseconds of n queries, in order.
INDEPENDENT: dict[str, Draw] = {
    "constant": lambda g, n: np.full(n, 2.0),
    "bimodal": lambda g, n: np.where(g.random(n) < 0.8, 5.0, 20.0) + g.normal(0, 0.2, n),
    "heavy tail": lambda g, n: 3.0 + g.pareto(2.5, n),
}
SYSTEMS: dict[str, Draw] = INDEPENDENT | {
    "drifting": lambda g, n: np.linspace(2.0, 4.0, n) + g.exponential(0.5, n),
    "warming up": lambda g, n: 2.0 - np.exp(-6 * np.arange(n) / n) + g.exponential(0.2, n),
    # Each round of a run has a mood of its own.
    "moody": lambda g, n: (
        np.repeat(g.lognormal(0.0, 0.1, n * ROUNDS // QUERIES), QUERIES // ROUNDS)
        * g.lognormal(0.0, 0.3, n)
    ),
}  # fmt: skip


def run(draw: Draw, seed: int) -> Latencies:
    """Measure a system of that distribution with a clock of its own."""
    machine = Machine()
    draws = iter(draw(np.random.default_rng(seed), QUERIES).tolist())
    systems = {"system": machine.query(draws.__next__)}
    return measure(
        systems, min_seconds=0, min_count=QUERIES, warmup=0, clock=machine.clock
    )["system"]  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
def test_percentile_intervals_cover_the_truth(name: str) -> None:
    percents = (50.0, 90.0, 99.0)
    truth = np.percentile(SYSTEMS[name](np.random.default_rng(99), 500 * QUERIES), percents)
    covered = np.zeros(3)
    for seed in range(RUNS):
        measured = run(SYSTEMS[name], seed)
        for number, percent in enumerate(percents):
            found = measured.percentile(percent)
            assert found.low <= found.value <= found.high
            # The clock counts whole nanoseconds.
            covered[number] += found.low - 1e-6 <= truth[number] <= found.high + 1e-6
    assert (covered / RUNS >= 0.93).all()


@pytest.mark.parametrize("name", ["bimodal", "heavy tail"])
def test_intervals_of_independent_queries_are_hardly_wider_than_binomial_ones(name: str) -> None:
    wider, bounded = [], 0
    for seed in range(RUNS):
        measured = run(INDEPENDENT[name], seed)
        found = measured.percentile(50)
        # Ranks 469 and 532 of 1000.
        low, high = np.sort(measured.milliseconds)[[468, 531]]
        wider.append((found.high - found.low) / (high - low))
        bounded += np.isfinite(measured.percentile(99).high)
    assert 1.0 <= np.mean(wider) < 1.2
    assert bounded / RUNS > 0.95


def test_too_few_queries_leave_an_interval_open() -> None:
    assert [least_queries(percent) for percent in (50.0, 90.0, 99.0)] == [6, 36, 368]
    for percent in (90.0, 99.0):
        enough = least_queries(percent)
        several, one_less = (
            Latencies((np.linspace(1.0, 2.0, count),), 0.0).percentile(percent)
            for count in (enough, enough - 1)
        )
        assert several.high == 2.0
        assert one_less.high == np.inf
        assert 1.0 < one_less.low < one_less.value <= 2.0


def test_rounds_that_differ_are_worth_fewer_queries() -> None:
    shuffled = np.random.default_rng(0).permutation(np.repeat(np.arange(1.0, 21.0), 50))
    alike, apart = latencies(shuffled), latencies(np.sort(shuffled))
    assert alike.percentile(50).value == apart.percentile(50).value
    widths = [found.high - found.low for found in (alike.percentile(50), apart.percentile(50))]
    assert widths[1] >= 4 * widths[0]


def test_throughput_is_of_all_queries() -> None:
    assert latencies(np.array([1.0] * 90 + [11.0] * 10)).per_second == pytest.approx(500.0)


def test_a_ratio_covers_the_truth() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        # Each round has a mood of its own, which both ways share.
        mood = np.repeat(generator.uniform(1.0, 3.0, 20), 5)
        floor = latencies(40.0 * mood * generator.lognormal(0.0, 0.05, 100))
        ours = latencies(52.0 * mood * generator.lognormal(0.0, 0.05, 100))
        found = ratio(ours, floor)
        assert found.low <= found.value <= found.high
        covered += found.low <= 1.3 <= found.high
    assert covered >= 90


def test_the_same_times_have_the_ratio_one() -> None:
    same = latencies(np.random.default_rng(0).uniform(1.0, 2.0, 100))
    assert ratio(same, same) == Percentile(1.0, 1.0, 1.0)


def test_a_ratio_of_rounds_of_unequal_size() -> None:
    """Where time decides, the faster of two systems has more queries, and slow rounds fewer."""
    generator, covered = np.random.default_rng(5), 0
    for _ in range(50):
        sizes = generator.integers(20, 60, (2, ROUNDS))
        ours, reference = (
            Latencies(tuple(middle * generator.lognormal(0.0, 0.2, n) for n in counts), 0.0)
            for middle, counts in zip((3.0, 2.0), sizes, strict=True)
        )
        found = ratio(ours, reference)
        assert found.high - found.low < 0.3
        covered += found.low <= 1.5 <= found.high
    assert covered >= 45


def test_a_constant_system() -> None:
    machine = Machine()
    (found,) = measure(
        {"constant": machine.query(lambda: 2.0)}, min_seconds=1, min_count=10, clock=machine.clock
    ).values()
    assert found.percentile(50).value == found.percentile(99).value == 2.0
    assert found.warmup_ms == 10.0
    assert len(found.milliseconds) >= 500, "a second of it"


def test_a_minimum_count_holds_for_slow_systems() -> None:
    machine = Machine()
    (found,) = measure(
        {"slow": machine.query(lambda: 900.0)}, min_seconds=1, min_count=45, clock=machine.clock
    ).values()
    assert len(found.milliseconds) >= 45


def test_the_slow_first_query_is_warm_up_and_no_outlier_is_removed() -> None:
    machine = Machine()
    times = iter([500.0, *[1.0] * 4, *([1.0] * 19 + [80.0]) * 10])
    (found,) = measure(
        {"cold": machine.query(lambda: next(times))}, min_seconds=0.1, min_count=200,
        clock=machine.clock,
    ).values()  # fmt: skip
    assert found.warmup_ms == 504.0
    assert found.milliseconds.max() == 80.0
    assert found.percentile(99).value == 80.0


def test_drift_hits_all_systems_alike() -> None:
    machine = Machine()
    start = machine.now

    def drifting() -> float:
        return 1.0 + (machine.now - start) / 2e9

    systems = {"a": machine.query(drifting), "b": machine.query(drifting)}
    found = measure(systems, min_seconds=2, min_count=10, clock=machine.clock)
    medians = [found[name].percentile(50).value for name in "ab"]
    assert medians[0] / medians[1] == pytest.approx(1.0, abs=0.05)


def test_a_fast_system_is_spread_over_the_same_time_as_a_slow_one() -> None:
    machine = Machine()
    asked: dict[str, list[int]] = {"fast": [], "slow": []}

    def query(name: str, milliseconds: float) -> Callable[[], None]:
        run = machine.query(lambda: milliseconds)

        def asking() -> None:
            asked[name].append(machine.now)
            run()

        return asking

    systems = {"fast": query("fast", 0.05), "slow": query("slow", 50.0)}
    measure(systems, min_seconds=2, min_count=100, clock=machine.clock)
    # Of the fast one's queries, half before the middle of the run and half after it.
    early = np.mean(np.array(asked["fast"]) < machine.now / 2)
    assert early == pytest.approx(0.5, abs=0.1)


def test_rounds_keep_the_order_of_the_queries() -> None:
    machine = Machine()
    times = iter(range(1, 1000))
    (found,) = measure(
        {"slower and slower": machine.query(lambda: float(next(times)))}, min_seconds=0,
        min_count=60, warmup=3, clock=machine.clock,
    ).values()  # fmt: skip
    assert [one.tolist() for one in found.rounds[:2]] == [[4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]
    assert found.milliseconds.tolist() == list(range(4, 64))
    assert len(found.rounds) == ROUNDS


def test_the_harness_adds_little_to_a_query() -> None:
    """The one duration in these tests: what is measured may not be the harness itself."""
    queries, per_query = 10_000, []
    for _ in range(5):
        started = time.perf_counter()
        measure({"null": lambda: None}, min_seconds=0, min_count=queries)
        per_query.append((time.perf_counter() - started) / queries * 1e6)
    assert min(per_query) <= 20.0, "microseconds, with all that goes on between two queries"
    assert 0.0 < min(null_query_us() for _ in range(3)) <= 20.0
