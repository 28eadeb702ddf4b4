"""The load generator: it knows nothing of models, only of a query to repeat.

After MLPerf's SingleStream scenario: the next query starts when the last one is answered, a
minimum time and a minimum count both hold, warm-up is left out and reported, and no outlier is
removed (a clinician waits for the slow film, too).

What a figure is of: the queries of one run. A system that becomes slower while it is measured has
no other percentile than that of all its queries together, and this is what is recovered. Latencies
of a real machine are not independent: it heats up, and has moods that last for seconds. Intervals
therefore look at whether the rounds of a run agree, see :meth:`Latencies.percentile`. What no run
can know is what would have been different in another one, such as where memory came to lie
(Mytkowicz et al., "Producing Wrong Data Without Doing Anything Obviously Wrong!", ASPLOS 2009).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, norm, t

Doubles = npt.NDArray[np.float64]
Query = Callable[[], object]
Clock = Callable[[], int]

# Every system gets its share in each of so many rounds, however fast it is: a machine that slows
# down slows all of them.
ROUNDS = 20
# A query that does nothing takes nanoseconds: by time it would be asked millions of times.
NULL_QUERIES = 10_000

_TAIL = 0.025
_RESAMPLES = 2000


@dataclass(frozen=True)
class Percentile:
    """A latency percentile and its 95 % interval, milliseconds.

    `high` is infinite where there were too few queries to bound it: :func:`least_queries`.
    """

    value: float
    low: float
    high: float

    @property
    def known_high(self) -> float | None:
        """`high`, or None where it is infinite, which JSON cannot write."""
        return self.high if math.isfinite(self.high) else None


@dataclass(frozen=True)
class Latencies:
    """What was measured of one system.

    Attributes
    ----------
    rounds
        Every query in order, milliseconds; an array a round.
    warmup_ms
        What the queries before them took together.
    """

    rounds: tuple[Doubles, ...]
    warmup_ms: float

    @cached_property
    def milliseconds(self) -> Doubles:
        """Every query in order, float64 (n,)."""
        return np.concatenate(self.rounds)

    @property
    def per_second(self) -> float:
        """How many queries a second are answered, one after the other."""
        return 1e3 * len(self.milliseconds) / float(self.milliseconds.sum())

    def percentile(self, percent: float) -> Percentile:
        """Return a percentile by nearest rank, with its order-statistic interval.

        The number of independent queries below the true percentile is binomial, so two order
        statistics enclose it with known probability whatever the distribution is (David and
        Nagaraja, "Order Statistics", 2003, section 7.1). A steady drift changes nothing in that:
        queries from several distributions scatter less about their mixture, never more (Hoeffding,
        "On the Distribution of the Number of Successes in Independent Trials", 1956).

        A mood that lasts makes neighbours alike, and n queries worth fewer than n. Where rounds
        differ by more than chance, the ranks are those of so many independent queries as would
        scatter like the rounds (Woodruff, "Confidence Intervals for Medians and Other Position
        Measures", 1952, with the effective sample size of Korn and Graubard, "Confidence Intervals
        for Proportions with Small Expected Number of Positive Counts Estimated from Survey Data",
        1998). Resampled rounds would do the same for a median, but know nothing beyond the slowest
        query that they hold, where a p99 needs it. A drift makes rounds differ, too, and intervals
        wider than they need be. Moods that outlast the run stay unseen.
        """
        ordered = np.sort(self.milliseconds)
        count, share = len(ordered), percent / 100.0
        value = float(ordered[max(math.ceil(share * count) - 1, 0)])
        worth = self._independent(value)
        below = int(binom.ppf(_TAIL, worth, share))
        above = int(binom.ppf(1.0 - _TAIL, worth, share)) + 1
        low = float(ordered[below * count // worth - 1]) if below else 0.0
        high = float(ordered[-(-above * count // worth) - 1]) if above <= worth else math.inf
        return Percentile(value, low, high)

    def _independent(self, value: float) -> int:
        """Return how many independent queries tell as much of the share up to ``value``."""
        sizes = np.array([len(one) for one in self.rounds if len(one)])
        up_to = np.array([np.count_nonzero(one <= value) for one in self.rounds if len(one)])
        rounds, count = len(sizes), int(sizes.sum())
        share = up_to.sum() / count
        if rounds < 2 or share == 1.0:
            return count
        # The variance of a ratio estimator: rounds are of unequal size where time decides.
        between = rounds / (rounds - 1) * float(((up_to - share * sizes) ** 2).sum()) / count**2
        design_effect = between / (share * (1.0 - share) / count)
        freedom = (norm.isf(_TAIL) / t.isf(_TAIL, rounds - 1)) ** 2
        if design_effect <= freedom:
            return count
        return max(int(count * freedom / design_effect), 1)


def least_queries(percent: float) -> int:
    """Return from how many independent queries on a percentile's interval has an upper end."""
    return math.ceil(math.log(_TAIL) / math.log(percent / 100.0))


def ratio(ours: Latencies, reference: Latencies) -> Percentile:
    """Return the ratio of two medians that were measured in the same rounds of one run.

    The 95 % interval resamples rounds, with what both took in each of them: the machine's mood of
    a minute is in both. With so few rounds the plain percentile interval is too narrow; its ends
    are moved out to where those of Student's t lie (Hesterberg, "What Teachers Should Know About
    the Bootstrap", 2015, section 3.4: the expanded percentile interval).
    """
    rounds = len(ours.rounds)
    drawn = np.random.default_rng(0).multinomial(rounds, np.full(rounds, 1 / rounds), _RESAMPLES)
    resampled = _medians(ours, drawn) / _medians(reference, drawn)
    tail = norm.sf(math.sqrt(rounds / (rounds - 1)) * t.isf(_TAIL, rounds - 1))
    low, high = np.percentile(resampled, (100.0 * tail, 100.0 * (1.0 - tail)))
    value = ours.percentile(50).value / reference.percentile(50).value
    return Percentile(value, float(low), float(high))


def _medians(found: Latencies, drawn: npt.NDArray[np.int64]) -> Doubles:
    """Return the median of each resample; ``drawn`` (resamples, rounds) is how often each round."""
    order = np.argsort(found.milliseconds)
    ordered = found.milliseconds[order]
    round_of = np.repeat(np.arange(len(found.rounds)), [len(one) for one in found.rounds])[order]
    medians = np.empty(len(drawn))
    for number, times in enumerate(drawn):
        up_to = np.cumsum(times[round_of])
        medians[number] = ordered[np.searchsorted(up_to, up_to[-1] / 2)]
    return medians


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
    ends: dict[str, list[int]] = {name: [] for name in systems}
    spent = dict.fromkeys(systems, 0.0)
    order = list(systems.items())
    for round_ in range(1, ROUNDS + 1):
        share = round_ / ROUNDS
        for name, query in order:
            while len(samples[name]) < min_count * share or spent[name] < min_seconds * 1e3 * share:
                taken = _timed(query, clock)
                samples[name].append(taken)
                spent[name] += taken
            ends[name].append(len(samples[name]))
        # There and back, or a steady drift would favour whoever goes first.
        order.reverse()
        if progress:
            progress(share)
    return {
        name: Latencies(tuple(np.split(np.array(samples[name]), ends[name][:-1])), warm[name])
        for name in systems
    }


def null_query_us(clock: Clock = time.perf_counter_ns) -> float:
    """Return what the harness itself adds to a query: the median of one that does nothing, us."""
    systems: Mapping[str, Query] = {"null": lambda: None}
    found = measure(systems, min_seconds=0.0, min_count=NULL_QUERIES, clock=clock)["null"]
    return 1e3 * found.percentile(50).value


def _timed(query: Query, clock: Clock) -> float:
    start = clock()
    query()
    return (clock() - start) / 1e6
