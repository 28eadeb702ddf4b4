"""The golden vectors of a bundle: what a delegate must reproduce before it may serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime import decision
from edge_runtime.bundle import ModelBundle, Tolerance
from edge_runtime.delegates import LoadedModel
from edge_runtime.errors import DelegateError


@dataclass(frozen=True)
class Steps:
    """How far an output is off, in steps of its int8 values."""

    largest: float
    mean: float


@dataclass(frozen=True)
class Distance:
    """How far answers are from the exporter's reference, at most.

    Attributes
    ----------
    heads
        By head.
    probability
        Of a class probability, 0..1.
    """

    heads: Mapping[str, Steps]
    probability: float

    @classmethod
    def farthest(cls, found: Sequence[Distance]) -> Distance:
        """Return the largest of each figure."""
        return cls(
            heads={
                head: Steps(
                    max(distance.heads[head].largest for distance in found),
                    max(distance.heads[head].mean for distance in found),
                )
                for head in found[0].heads
            },
            probability=max(distance.probability for distance in found),
        )

    @property
    def max_steps(self) -> float:
        """The largest difference of a single value, in steps.

        Of the embedding's thousands of features only the mean over a film is ever used, in a sum
        over all of them: one that is far off says nothing, and is left out.
        """
        return max(steps.largest for head, steps in self.heads.items() if head != "embedding")

    @property
    def mean_steps(self) -> float:
        """The largest mean difference of a head, in steps."""
        return max(steps.mean for steps in self.heads.values())

    def beyond(self, tolerance: Tolerance) -> str | None:
        """Return what is farther off than it may be, in words."""
        for head, steps in self.heads.items():
            far = head != "embedding" and steps.largest > tolerance.max_steps
            if far or steps.mean > tolerance.mean_steps:
                return (
                    f"head {head} is off by up to {steps.largest:g} and on average "
                    f"{steps.mean:.2f} steps"
                )
        if self.probability > tolerance.probability:
            return f"a probability is off by {self.probability:.3f}"
        return None


class Proof:
    """The golden vectors of a bundle, ready to be asked."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._manifest = bundle.manifest
        # Whether a delegate reproduces the exporter's answers is no question of the site.
        self._fusion = bundle.exported.calibration.fusion
        model, spec = bundle.manifest.model, bundle.manifest.input_spec
        self._questions = [model.quantize(pixels, spec) for pixels in bundle.golden.pixels]
        self._references = [
            {head: outputs[number : number + 1] for head, outputs in bundle.golden.outputs.items()}
            for number in range(len(self._questions))
        ]

    def check(self, name: str, model: LoadedModel, only: int | None = None) -> Distance:
        """Ask a delegate; return how far its answers are off, the farthest of those asked for.

        Parameters
        ----------
        name
            Of the delegate.
        only
            Ask one vector, this one of them in turn, in place of all.

        Raises
        ------
        DelegateError
            It fails, or answers differently than the exporter's reference did, or the bundle does
            not say how closely it must answer.
        """
        tolerance = self._manifest.golden.tolerance.get(name)
        if tolerance is None:
            raise DelegateError(
                f"the bundle does not say how closely {name} must reproduce its golden vectors",
                "Export it with this version, or choose another delegate",
            )
        numbers = range(len(self._questions))
        found = []
        for number in numbers if only is None else [only % len(numbers)]:
            distance = self._ask(model, number)
            if beyond := distance.beyond(tolerance):
                raise DelegateError(
                    f"{name} does not reproduce golden vector {number}: {beyond}",
                    "Do not serve with it; choose another delegate or another version of it",
                )
            found.append(distance)
        return Distance.farthest(found)

    def measure(self, model: LoadedModel) -> Distance:
        """Return how far a delegate's answers are off, the farthest of all golden vectors.

        Raises
        ------
        DelegateError
            It fails.
        """
        return Distance.farthest(
            [self._ask(model, number) for number in range(len(self._questions))]
        )

    def _ask(self, model: LoadedModel, number: int) -> Distance:
        answer, reference = model.run(self._questions[number]), self._references[number]
        heads = {}
        for head, output in answer.items():
            steps = np.abs(output.astype(np.float32) - reference[head].astype(np.float32))
            heads[head] = Steps(float(steps.max()), float(steps.mean()))
        moved = np.abs(self._probabilities(answer) - self._probabilities(reference)).max()
        return Distance(heads, float(moved))

    def _probabilities(self, stored: Mapping[str, npt.NDArray[np.int8]]) -> npt.NDArray[np.float64]:
        """Return the bundle's own class probabilities of outputs, without mirror and context."""
        real = self._manifest.model.dequantize(stored)
        return decision.fuse(real, self._fusion)
