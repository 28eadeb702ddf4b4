"""The golden vectors of a bundle: what a delegate must reproduce before it may serve."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edge_runtime import decision
from edge_runtime.bundle import ModelBundle
from edge_runtime.delegates import LoadedModel
from edge_runtime.errors import DelegateError


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

    def check(self, name: str, model: LoadedModel, only: int | None = None) -> None:
        """Ask a delegate.

        Parameters
        ----------
        name
            Of the delegate.
        only
            Ask one vector, this one of them in turn, in place of all.

        Raises
        ------
        DelegateError
            It fails, or answers differently than the exporter's reference did.
        """
        numbers = range(len(self._questions))
        for number in numbers if only is None else [only % len(numbers)]:
            answer = model.run(self._questions[number])
            if found := self._difference(answer, self._references[number]):
                raise DelegateError(
                    f"{name} does not reproduce golden vector {number}: {found}",
                    "Do not serve with it; choose another delegate or another version of it",
                )

    def _difference(
        self,
        answer: Mapping[str, npt.NDArray[np.int8]],
        reference: Mapping[str, npt.NDArray[np.int8]],
    ) -> str | None:
        """Return what is farther off than it may be, in words."""
        limits = self._manifest.golden
        for head, output in answer.items():
            steps = np.abs(output.astype(np.float32) - reference[head].astype(np.float32))
            # Of the embedding's thousands of features only the mean over a film is ever used, in a
            # sum over all of them: one that is far off says nothing.
            far = head != "embedding" and steps.max() > limits.max_steps
            if far or steps.mean() > limits.mean_steps:
                return (
                    f"head {head} is off by up to {steps.max():g} and on average "
                    f"{steps.mean():.2f} steps"
                )
        moved = np.abs(self._probabilities(answer) - self._probabilities(reference)).max()
        return f"a probability is off by {moved:.3f}" if moved > limits.probability else None

    def _probabilities(self, stored: Mapping[str, npt.NDArray[np.int8]]) -> npt.NDArray[np.float64]:
        """Return the bundle's own class probabilities of outputs, without mirror and context."""
        real = self._manifest.model.dequantize(stored)
        return decision.fuse(real, self._fusion)
