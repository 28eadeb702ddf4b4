"""The bundle's model on the best delegate that proves itself, and on the next one when it fails.

A delegate may serve once it has reproduced the bundle's golden vectors. One that runs in a child
process is asked one of them again after every film, so that a device that has begun to compute
something else is found by the first film it answers, whose answer is then thrown away. One that
crashes or hangs is started again a few times an hour, proves itself anew, and gets the same film.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from edge_runtime import decision
from edge_runtime.bundle import ModelBundle
from edge_runtime.delegates import Delegate, LoadedModel, Outputs, Probe, ranked
from edge_runtime.delegates.isolation import IsolatedModel, Limits
from edge_runtime.errors import DelegateError
from edge_runtime.preprocess import quantize_input

Fallback = Literal["allow", "forbid"]

# A delegate that fails more often than this is not worth waiting for.
RESTARTS, PER_SECONDS = 3, 3600.0


class DelegateUse(BaseModel):
    """What ran the model, and why the others did not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    threads: int
    rejected: dict[str, str]


class Engine:
    """Runs a bundle's model.

    Parameters
    ----------
    delegate
        ``auto`` or the name of one.
    threads
        For the CPU.
    fallback
        Whether another delegate may take over where the one asked for, or with ``auto`` the first
        one that could serve, is not there or fails.
    library, options
        Of the delegate `external`.

    Raises
    ------
    DelegateError
        No delegate that may be used runs the bundle and reproduces its golden vectors.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        delegate: str = "auto",
        threads: int = 1,
        *,
        fallback: Fallback = "allow",
        library: Path | None = None,
        options: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._bundle = bundle
        self._threads = threads
        self._asked_for = delegate
        self._fallback = fallback
        self._limits = limits or Limits()
        self._golden = [self._quantize(pixels) for pixels in bundle.golden.pixels]
        self._turn = 0
        self._candidates = deque(ranked(delegate, library, options))
        if delegate != "auto" and fallback == "forbid":
            self._candidates = deque([self._candidates[0]])
        self._rejected: dict[str, str] = {}
        self._incidents: list[str] = []
        self._restarts: deque[float] = deque(maxlen=RESTARTS)
        self._delegate: Delegate
        self._probe: Probe
        self._model: LoadedModel
        self._next()

    @property
    def use(self) -> DelegateUse:
        """What runs the model now."""
        return DelegateUse(
            name=self._delegate.name,
            version=self._probe.version,
            threads=self._threads,
            rejected=dict(self._rejected),
        )

    @property
    def degraded(self) -> tuple[str, ...]:
        """What is slower or weaker than it should be, and what went wrong so far, as sentences."""
        standing = [self._probe.degraded, self._model.degraded, *self._incidents]
        return tuple(sentence for sentence in standing if sentence)

    def run(self, tensors: Sequence[npt.NDArray[np.int8]]) -> list[Outputs]:
        """Run a film, and what else belongs to it, all on the same delegate.

        Parameters
        ----------
        tensors
            int8 (1, height, width, channels) each.

        Raises
        ------
        DelegateError
            No delegate is left that may run it.
        """
        while True:
            try:
                outputs = [self._model.run(tensor) for tensor in tensors]
                if self._delegate.isolated:
                    self._turn = (self._turn + 1) % len(self._golden)
                    self._prove(self._delegate, self._model, [self._turn])
                return outputs
            except DelegateError as error:
                self._recover(error)

    def invoke(self, tensor: npt.NDArray[np.int8]) -> Outputs:
        """Run the model once, without proof and without fallback: to measure and to compare.

        Raises
        ------
        DelegateError
            The delegate failed.
        """
        return self._model.run(tensor)

    def close(self) -> None:
        """End the delegate; a child process does not outlive this."""
        self._model.close()

    def _quantize(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        manifest = self._bundle.manifest
        tensor = manifest.model.input
        return quantize_input(
            pixels, manifest.input_spec, tensor.scale, tensor.zero_point, tensor.shape[-1]
        )

    def _recover(self, error: DelegateError) -> None:
        """Start the delegate again, or take the next one; raise where neither may be."""
        self._model.close()
        now = time.monotonic()
        exhausted = len(self._restarts) == RESTARTS and now - self._restarts[0] < PER_SECONDS
        if self._delegate.isolated and not exhausted:
            self._restarts.append(now)
            try:
                self._model = self._open(self._delegate)
            except DelegateError as second:
                error = second
            else:
                self._incident(f"{self._delegate.name} was started again: {error.what}")
                return
        self._rejected[self._delegate.name] = error.what
        if self._fallback == "forbid":
            raise DelegateError(
                f"{self._delegate.name} failed ({error.what}), and no other may take over",
                "Mend it, choose another delegate, or allow the fallback",
                self._bundle.file,
            )
        self._incident(f"{self._delegate.name} failed: {error.what}")
        self._next()

    def _incident(self, what: str) -> None:
        # The same thing every day for weeks is one sentence, not a growing list.
        if what not in self._incidents:
            self._incidents = [*self._incidents[-4:], what]

    def _next(self) -> None:
        """Take the first candidate that is there, runs the model and proves itself."""
        while self._candidates:
            delegate = self._candidates.popleft()
            probe = delegate.probe()
            if not probe.available:
                self._reject(delegate, probe.reason, present=False)
                continue
            try:
                model = self._open(delegate)
            except DelegateError as error:
                self._reject(delegate, error.what, present=True)
                continue
            self._delegate, self._probe, self._model = delegate, probe, model
            return
        reasons = "; ".join(f"{delegate}: {why}" for delegate, why in self._rejected.items())
        raise DelegateError(
            f"no delegate can run this bundle here ({reasons})",
            "Mend what is missing, or choose another delegate",
            self._bundle.file,
        )

    def _reject(self, delegate: Delegate, why: str, *, present: bool) -> None:
        """Keep why a candidate is not used; it is an incident where it should have been."""
        self._rejected[delegate.name] = why
        if delegate.name == self._asked_for:
            self._incident(f"{delegate.name} was asked for: {why}")
        elif present:
            self._incident(f"{delegate.name} is there and not used: {why}")
        if present and self._fallback == "forbid":
            self._candidates.clear()

    def _open(self, delegate: Delegate) -> LoadedModel:
        """Load the model on a delegate and replay all golden vectors.

        Raises
        ------
        DelegateError
            It has no model, refuses it, or computes something else.
        """
        model = self._bundle.members.get(delegate.member)
        if model is None:
            raise DelegateError(
                f"the bundle holds no {delegate.member}",
                "Export it where its compiler is installed, or choose another delegate",
            )
        spec = self._bundle.manifest.model
        loaded: LoadedModel
        if delegate.isolated:
            loaded = IsolatedModel(delegate, model, spec, self._threads, self._limits)
        else:
            loaded = delegate.load(model, spec, self._threads)
        try:
            self._prove(delegate, loaded, range(len(self._golden)))
        except DelegateError:
            loaded.close()
            raise
        return loaded

    def _prove(self, delegate: Delegate, model: LoadedModel, which: Sequence[int]) -> None:
        """Raise DelegateError where golden vectors are answered differently than at export."""
        limits = self._bundle.manifest.golden
        for number in which:
            answer = model.run(self._golden[number])
            reference = {
                head: outputs[number : number + 1]
                for head, outputs in self._bundle.golden.outputs.items()
            }
            for head, output in answer.items():
                steps = np.abs(output.astype(np.float32) - reference[head].astype(np.float32))
                # Of the embedding's thousands of features only the mean over a film is ever used,
                # in a sum over all of them: one that is far off says nothing.
                far = head != "embedding" and steps.max() > limits.max_steps
                if far or steps.mean() > limits.mean_steps:
                    raise DelegateError(
                        f"{delegate.name} does not reproduce golden vector {number}: head {head} "
                        f"is off by up to {steps.max():g} and on average {steps.mean():.2f} steps",
                        "Do not serve with it; choose another delegate or another version of it",
                    )
            moved = float(np.abs(self._answer(answer) - self._answer(reference)).max())
            if moved > limits.probability:
                raise DelegateError(
                    f"{delegate.name} does not reproduce golden vector {number}: a probability "
                    f"is off by {moved:.3f}",
                    "Do not serve with it; choose another delegate or another version of it",
                )

    def _answer(self, stored: Mapping[str, npt.NDArray[np.int8]]) -> npt.NDArray[np.float64]:
        """Return the class probabilities that a film's outputs stand for, without context."""
        manifest = self._bundle.manifest
        return decision.fuse(manifest.model.dequantize(stored), manifest.calibration.fusion)
