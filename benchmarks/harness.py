"""The load generator: it knows nothing of models, only of a query to repeat.

After MLPerf's SingleStream scenario: the next query starts when the last one is answered, a
minimum time and a minimum count both hold, warm-up is left out and reported, and no outlier is
removed (a clinician waits for the slow film, too).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

Query = Callable[[], object]
Clock = Callable[[], int]

# Every system gets its share in each of so many rounds, however fast it is: a machine that slows
# down slows all of them.
ROUNDS = 20


@dataclass(frozen=True)
class Percentile:
    """A latency percentile and its 95 % interval, milliseconds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Latencies:
    """What was measured of one system: every query, in order, milliseconds, and the warm-up."""

    milliseconds: npt.NDArray[np.float64]
    warmup_ms: float

    def percentile(self, percent: float) -> Percentile:
        """Return a percentile by nearest rank, with its order-statistic interval.

        The number of queries below the true percentile is binomial, so two order statistics
        enclose it with known probability whatever the distribution is (David and Nagaraja,
        "Order Statistics", 2003, section 7.1). With too few queries for that, the interval ends at
        the slowest one.
        """
        ordered = np.sort(self.milliseconds)
        count, share = len(ordered), percent / 100.0
        rank = max(int(np.ceil(share * count)) - 1, 0)
        low = max(int(binom.ppf(0.025, count, share)) - 1, 0)
        high = min(int(binom.ppf(0.975, count, share)), count - 1)
        return Percentile(float(ordered[rank]), float(ordered[low]), float(ordered[high]))


def measure(
    systems: Mapping[str, Query],
    *,
    min_seconds: float,
    min_count: int,
    warmup: int = 5,
    clock: Clock = time.perf_counter_ns,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Latencies]:
    """Measure systems in turns.

    Parameters
    ----------
    min_seconds, min_count
        Each system runs for at least so long and so often.
    warmup
        Queries of each system before the first one counts.
    clock
        Monotonic, nanoseconds.
    progress
        Called with the share that is done, 0..1.
    """
    warm = {
        name: sum(_timed(query, clock) for _ in range(warmup)) for name, query in systems.items()
    }
    samples: dict[str, list[float]] = {name: [] for name in systems}
    spent = dict.fromkeys(systems, 0.0)
    order = list(systems.items())
    for round_ in range(1, ROUNDS + 1):
        share = round_ / ROUNDS
        for name, query in order:
            while len(samples[name]) < min_count * share or spent[name] < min_seconds * 1e3 * share:
                taken = _timed(query, clock)
                samples[name].append(taken)
                spent[name] += taken
        # There and back, or a steady drift would favour whoever goes first.
        order.reverse()
        if progress:
            progress(share)
    return {name: Latencies(np.array(samples[name]), float(warm[name])) for name in systems}


def _timed(query: Query, clock: Clock) -> float:
    start = clock()
    query()
    return (clock() - start) / 1e6
