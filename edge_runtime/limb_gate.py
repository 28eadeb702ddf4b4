"""Is this a limb at all? A logistic regression on the features of the head `embedding`.

Supervised, because distance does not tell: chest films lie hardly farther from the training films
than limbs of other hospitals do, and yet a plane parts them (docs/experiments.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle.zipping import pack_arrays, unpack_arrays

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LimbGate:
    """What tells films of limbs from others.

    Attributes
    ----------
    weights
        (d,) of the features.
    bias
        () log odds of "no limb" where all features are 0.
    """

    weights: Floats
    bias: Floats

    def score(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return the log odds, (...), that films with features (..., d) show no limb."""
        return np.asarray(features.astype(np.float64) @ self.weights + self.bias)

    def to_npz(self) -> bytes:
        """Return the bytes of limb_gate.npz."""
        return pack_arrays(vars(self))

    @classmethod
    def from_npz(cls, data: bytes, source: str) -> LimbGate:
        """Read limb_gate.npz; raise BundleError, naming the bundle, where that fails."""
        names = cls.__dataclass_fields__
        return cls(**unpack_arrays(data, names, "limb gate", source))
