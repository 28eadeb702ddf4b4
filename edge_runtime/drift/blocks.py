"""A block of studies against a reference: what differs, and when that is an alarm."""

from __future__ import annotations

import numpy as np

from edge_runtime.drift.reference import (
    FIGURES,
    LEAST_FILMS,
    MEASURES,
    DriftReference,
    Figure,
)
from edge_runtime.drift.statistics import Difference, compare_counts, compare_values

# Of blocks where nothing has changed, the share with an alarm at most (Bonferroni over the
# figures): one alarm in 10,000 studies.
FALSE_ALARMS = 0.01
LEVEL = FALSE_ALARMS / len(FIGURES)
# An alarm is over with the first block that does not even differ at this level: a shift that just
# reaches the other one shall not come and go with every block.
OVER = 0.05


def compare(reference: DriftReference, block: DriftReference) -> dict[Figure, Difference]:
    """Compare a block with a reference, figure by figure.

    A figure that the reference does not have, or too few films of the block, is left out: where
    many could not be read, `unable` says so.
    """
    found: dict[Figure, Difference] = {}
    for measure in MEASURES:
        values = block.values.get(measure, ())
        if measure in reference.values and len(values) >= LEAST_FILMS:
            found[measure] = compare_values(np.array(reference.values[measure]), np.array(values))
    found["unable"] = compare_counts(
        (reference.unable, reference.films), (block.unable, block.films)
    )
    return found


def alarms(p: float, *, before: bool) -> bool:
    """Return whether there is an alarm after a block, of its p and whether there was one before."""
    return p <= LEVEL or (before and p <= OVER)
