"""Golden vectors: inputs and the reference's outputs, which every delegate must reproduce."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle.zipping import pack_arrays, unpack_arrays
from edge_runtime.errors import BundleError


@dataclass(frozen=True)
class GoldenVectors:
    """Network pixels (n, height, width) uint8, and each head's int8 output (n, ...)."""

    pixels: npt.NDArray[np.uint8]
    outputs: Mapping[str, npt.NDArray[np.int8]]

    def to_npz(self) -> bytes:
        """Return the bytes of golden.npz."""
        return pack_arrays({"pixels": self.pixels, **self.outputs})

    @classmethod
    def from_npz(cls, data: bytes, heads: Iterable[str], source: str) -> GoldenVectors:
        """Read golden.npz; raise BundleError, naming the bundle, where that fails."""
        outputs = unpack_arrays(data, {"pixels", *heads}, "golden vectors", source)
        pixels = outputs.pop("pixels")
        vectors = pixels.shape[0] if pixels.ndim == 3 and pixels.dtype == np.uint8 else None
        if any(o.dtype != np.int8 or o.shape[:1] != (vectors,) for o in outputs.values()):
            raise BundleError(
                "the golden vectors are not of the types or number that they must be",
                "Export it again",
                source,
            )
        return cls(pixels=pixels, outputs=outputs)
