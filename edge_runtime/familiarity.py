"""How far a film lies from those that the model knows.

The Mahalanobis distance of the network's features (Lee et al., "A simple unified framework for
detecting out-of-distribution samples and adversarial attacks", NeurIPS 2018), under the covariance
of probabilistic principal components (Tipping and Bishop, J. R. Stat. Soc. B 61:611, 1999): the
directions in which training films differ most have variances of their own, all others share one.

A distance marks a film as unfamiliar. It refuses none: films of another hospital are unfamiliar,
too, and a person looks at them anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle.zipping import pack_arrays, unpack_arrays

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FamiliarFilms:
    """Features of training films, in short.

    Attributes
    ----------
    centre
        (d,) mean.
    directions
        (d, k) orthonormal.
    variances
        (k + 1,) along each direction, and along any other.
    films
        () how many they are.
    """

    centre: Floats
    directions: Floats
    variances: Floats
    films: npt.NDArray[np.int64]

    @cached_property
    def _directions(self) -> Doubles:
        """They are multiplied with doubles for each film, and NumPy is slow with unlike types."""
        return self.directions.astype(np.float64)

    def distance(self, features: Floats) -> Doubles:
        """Return the distance of films, (...), of features (..., d); about 1 for training films."""
        away = features.astype(np.float64) - self.centre
        along = away @ self._directions
        rest = np.square(away).sum(axis=-1) - np.square(along).sum(axis=-1)
        squared = (np.square(along) / self.variances[:-1]).sum(axis=-1)
        squared = squared + np.maximum(rest, 0.0) / self.variances[-1]
        return np.asarray(np.sqrt(squared / self.centre.size))

    def to_npz(self) -> bytes:
        """Return the bytes of familiar.npz."""
        return pack_arrays({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_npz(cls, data: bytes, source: str) -> FamiliarFilms:
        """Read familiar.npz; raise BundleError, naming the bundle, where that fails."""
        names = cls.__dataclass_fields__
        return cls(**unpack_arrays(data, names, "summary of familiar films", source))


def film_features(embedding: Floats) -> Floats:
    """Return features (..., d) of the head `embedding`, (..., rows, columns, d): their mean."""
    return np.asarray(embedding.mean(axis=(-3, -2), dtype=np.float32))
