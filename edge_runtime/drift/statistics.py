"""Two samples, one question: may they be of the same films? Exact, for any size of either.

The reference is a sample as well, and no bigger than the calibration part of a dataset: a test that
took it for the truth would raise an alarm at a bundle whose reference happened to lie a little off.
"""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_runtime.drift.reference import Direction

Doubles = npt.NDArray[np.float64]


class Difference(NamedTuple):
    """How a block differs from a reference.

    `p`: probability of as large a difference, or a larger one, if nothing had changed.
    `direction`: of the block. `then`, `now`: medians, or shares.
    """

    p: float
    direction: Direction
    then: float
    now: float


def compare_values(reference: Doubles, block: Doubles) -> Difference:
    """Compare two samples, (n,) and (m,), by the two-sample test of Kolmogorov and Smirnov.

    Ties make the test cautious: p is never too small.
    """
    reference, block = np.sort(reference), np.sort(block)
    n, m = len(reference), len(block)
    at = np.concatenate([reference, block])
    # In units of 1 / (n m): whole numbers, so that no rounding decides.
    below = np.searchsorted(block, at, "right") * n - np.searchsorted(reference, at, "right") * m
    to_lower, to_higher = int(max(below.max(), 0)), int(max(-below.min(), 0))
    direction: Direction = "lower" if to_lower >= to_higher else "higher"
    if 2 * min(to_lower, to_higher) > max(to_lower, to_higher):
        direction = "varied"
    return Difference(
        p=smirnov(n, m, max(to_lower, to_higher)),
        direction=direction,
        then=float(np.median(reference)),
        now=float(np.median(block)),
    )


def compare_counts(reference: tuple[int, int], block: tuple[int, int]) -> Difference:
    """Compare shares, each (how many, of how many), by Fisher's exact test, two-sided."""
    then, now = reference[0] / reference[1], block[0] / block[1]
    p = fisher(*reference, *block)
    return Difference(p, "higher" if now > then else "lower", then, now)


@lru_cache(maxsize=1 << 14)
def smirnov(n: int, m: int, distance: int) -> float:
    """Return the probability that two samples of one distribution lie at least so far apart.

    Counts the lattice paths that stay closer (Hodges, "The significance probability of the Smirnov
    two-sample test", Ark. Mat. 3:469, 1958), row by row, each row scaled by its share of all paths.

    Parameters
    ----------
    distance
        Largest difference of the two distribution functions, times n m.
    """
    if distance <= 0:
        return 1.0
    columns = np.arange(n + 1)
    # Of all paths to a point, the share that stayed closer; along the first row there is one path.
    inside = (columns * m < distance).astype(np.float64)
    for row in range(1, m + 1):
        (near,) = np.nonzero(np.abs(row * n - columns * m) < distance)
        share = np.zeros(n + 1)
        share[near] = np.cumsum(inside[near] * (row / (row + n)))
        inside = share
    return float(min(max(1.0 - inside[n], 0.0), 1.0))


def fisher(few: int, of: int, few_too: int, of_too: int) -> float:
    """Return the two-sided p of Fisher's exact test for ``few`` of ``of`` and the same again.

    All tables with the same margins that are no more likely than the one found (Fisher,
    "Statistical methods for research workers", 1934), in whole numbers.
    """
    together = few + few_too
    ways = {
        k: comb(of, together - k) * comb(of_too, k)
        for k in range(max(0, together - of), min(together, of_too) + 1)
    }
    found = ways[few_too]
    return sum(way for way in ways.values() if way <= found) / comb(of + of_too, together)
