"""Whether runtimes say the same of the same films, before anybody asks which is faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.peers.process import Unusable

# Outputs of a network, in the order of the TFLite file; one list of them a film.
Answers = Sequence[Sequence[npt.NDArray[np.generic]]]
LEVELS = 255


@dataclass(frozen=True)
class Limits:
    """How far outputs may be from ours, in steps of them: at most, and on average."""

    largest: float
    mean: float


@dataclass(frozen=True)
class Difference:
    """How far outputs are from ours, in steps: the farthest value, the farthest mean of an output.

    Of the embedding's thousands of features only the mean over a film is ever used, in a sum over
    all of them: one that is far off says nothing, and is not in `largest`.
    """

    largest: float
    mean: float

    def beyond(self, limits: Limits) -> str | None:
        """Return in words that it is farther than it may be; None where it is not."""
        if self.largest <= limits.largest and self.mean <= limits.mean:
            return None
        return (
            f"it answers otherwise: off by up to {self.largest:.1f} steps, {self.mean:.2f} on "
            f"average, where {limits.largest:g} and {limits.mean:g} are allowed"
        )


def difference(answers: Answers, ours: Answers, only_mean: int | None) -> Difference:
    """Compare a runtime's outputs with ours, film by film.

    A step is one of an int8 output; of a float output, a 255th of the range of ours over the films.

    Parameters
    ----------
    only_mean
        Which output is the embedding, if there is one.

    Raises
    ------
    Unusable
        Outputs are not of the number or size that ours are, or are not numbers.
    """
    largest = mean = 0.0
    for at in range(len(ours[0])):
        reference = np.stack([film[at] for film in ours]).astype(np.float64)
        outputs = [film[at] for film in answers if len(film) == len(ours[0])]
        if len(outputs) < len(ours) or any(o.size != ours[0][at].size for o in outputs):
            raise Unusable("failed", "its outputs are not of the number or size of ours")
        found = np.stack([output.reshape(ours[0][at].shape) for output in outputs])
        step = np.ptp(reference) / LEVELS if np.issubdtype(found.dtype, np.floating) else 1.0
        off = np.abs(found.astype(np.float64) - reference) / max(step, np.finfo(np.float64).tiny)
        if not np.isfinite(off).all():
            raise Unusable("failed", "its outputs are not all numbers")
        mean = max(mean, float(off.mean()))
        if at != only_mean:
            largest = max(largest, float(off.max()))
    return Difference(largest, mean)
