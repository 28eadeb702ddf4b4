"""What every delegate offers: a probe that says why not, and a loaded model that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle import ModelSpec

Outputs = dict[str, npt.NDArray[np.int8]]


@dataclass(frozen=True)
class Probe:
    """Whether a delegate can be used here.

    Attributes
    ----------
    reason
        Why it is not available, as one sentence; empty where it is.
    degraded
        What is slower or weaker than it should be, as one sentence; empty where nothing is.
    """

    available: bool
    version: str = ""
    reason: str = ""
    degraded: str = ""


@dataclass(frozen=True)
class Coverage:
    """How many operators a model has, and the names of those that no delegate took, in order."""

    total: int
    left: tuple[str, ...]

    def __str__(self) -> str:
        """Return it in words, like `75 of 78 operators, the CPU's plain kernels run CONV_2D`."""
        words = f"{self.total - len(self.left)} of {self.total} operators"
        names = ", ".join(sorted(set(self.left)))
        return f"{words}, the CPU's plain kernels run {names}" if names else words


class LoadedModel(Protocol):
    """A model on a delegate."""

    degraded: str
    """What is slower or weaker than it should be, as one sentence; empty where nothing is."""

    coverage: Coverage
    """Which operators of the model the delegate took."""

    def run(self, tensor: npt.NDArray[np.int8]) -> Outputs:
        """Run one film: int8 (1, height, width, channels) in, each head's int8 tensor out.

        Raises
        ------
        DelegateError
            It could not.
        """
        ...

    def close(self) -> None:
        """Give back what the model holds; it cannot run any more."""
        ...


class Delegate(Protocol):
    """A plug-in: one file of this folder."""

    @property
    def name(self) -> str:
        """What ``--delegate`` calls it."""
        ...

    @property
    def member(self) -> str:
        """Which member of a bundle it runs."""
        ...

    @property
    def isolated(self) -> bool:
        """Whether it runs native code of others, which may crash or hang: in a child process."""
        ...

    def environment(self) -> Mapping[str, str]:
        """Return what its child process needs in its environment."""
        ...

    def probe(self) -> Probe:
        """Say, without loading a model, whether this delegate can be used."""
        ...

    def load(self, model: bytes, spec: ModelSpec, threads: int) -> LoadedModel:
        """Prepare a model; raise DelegateError where the runtime refuses it."""
        ...
