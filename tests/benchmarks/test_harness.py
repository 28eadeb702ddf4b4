"""The harness recovers what it is given, whatever the distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.harness import Latencies, measure


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


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "bimodal": lambda g, n: np.where(g.random(n) < 0.8, 5.0, 20.0) + g.normal(0, 0.2, n),
    "heavy tail": lambda g, n: 3.0 + g.pareto(2.5, n),
    "uniform": lambda g, n: g.uniform(1.0, 2.0, n),
}


@pytest.mark.parametrize("percent", [50.0, 90.0])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_percentile_intervals_cover_the_truth(name: str, percent: float) -> None:
    generator = np.random.default_rng(4)
    truth = np.percentile(DISTRIBUTIONS[name](generator, 400_000), percent)
    covered = 0
    for _ in range(300):
        found = Latencies(DISTRIBUTIONS[name](generator, 300), 0.0).percentile(percent)
        assert found.low <= found.value <= found.high
        covered += found.low <= truth <= found.high
    assert covered / 300 >= 0.93


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
