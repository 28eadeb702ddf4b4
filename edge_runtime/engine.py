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

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from edge_runtime.bundle import ModelBundle
from edge_runtime.delegates import Coverage, Delegate, LoadedModel, Outputs, Probe, ranked
from edge_runtime.delegates.isolation import IsolatedModel, Limits
from edge_runtime.errors import DelegateError
from edge_runtime.policy import Fallback
from edge_runtime.proof import Distance, Proof

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
        self._proof = Proof(bundle)
        self._films = 0
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

    @property
    def coverage(self) -> Coverage:
        """Which operators of the model the delegate took that runs it now."""
        return self._model.coverage

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
                    self._films += 1
                    self._proof.check(self._delegate.name, self._model, only=self._films)
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

    def distance(self) -> Distance:
        """Ask the delegate that runs the model now all golden vectors, and return how far it is.

        Raises
        ------
        DelegateError
            It failed.
        """
        return self._proof.measure(self._model)

    def close(self) -> None:
        """End the delegate; a child process does not outlive this."""
        self._model.close()

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
        return open_delegate(self._bundle, self._proof, delegate, self._threads, self._limits)


def open_delegate(
    bundle: ModelBundle, proof: Proof, delegate: Delegate, threads: int, limits: Limits
) -> LoadedModel:
    """Load a bundle's model on a delegate and replay all golden vectors.

    Raises
    ------
    DelegateError
        As of :func:`load_unproven`; or it computes something else.
    """
    loaded = load_unproven(bundle, delegate, threads, limits)
    try:
        proof.check(delegate.name, loaded)
    except DelegateError:
        loaded.close()
        raise
    return loaded


def load_unproven(
    bundle: ModelBundle, delegate: Delegate, threads: int, limits: Limits
) -> LoadedModel:
    """Load a bundle's model on a delegate that nobody has asked yet: to measure how wrong it is.

    Raises
    ------
    DelegateError
        The bundle has no model for it, or it refuses the model.
    """
    model = bundle.members.get(delegate.member)
    if model is None:
        raise DelegateError(
            f"the bundle holds no {delegate.member}",
            "Export it where its compiler is installed, or choose another delegate",
        )
    spec = bundle.manifest.model
    if delegate.isolated:
        return IsolatedModel(delegate, model, spec, threads, limits)
    return delegate.load(model, spec, threads)
