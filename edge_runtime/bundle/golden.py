"""Golden vectors: inputs and the reference's outputs, which every delegate must reproduce."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle.zipping import add_member
from edge_runtime.errors import BundleError


@dataclass(frozen=True)
class GoldenVectors:
    """Network pixels (n, height, width) uint8, and each head's int8 output (n, ...)."""

    pixels: npt.NDArray[np.uint8]
    outputs: Mapping[str, npt.NDArray[np.int8]]

    def to_npz(self) -> bytes:
        """Return the bytes of a golden.npz without a clock in them."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, array in sorted({"pixels": self.pixels, **self.outputs}.items()):
                member = io.BytesIO()
                np.lib.format.write_array(member, array, allow_pickle=False)
                add_member(archive, f"{name}.npy", member.getvalue())
        return buffer.getvalue()

    @classmethod
    def from_npz(cls, data: bytes, heads: Iterable[str], name: str) -> GoldenVectors:
        """Read a golden.npz; raise BundleError, naming the bundle ``name``, where that fails."""
        wanted = {"pixels", *heads}
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                loaded = {key: arrays[key] for key in wanted}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise BundleError(
                "the golden vectors cannot be read", "Export it again", name
            ) from None
        return cls(pixels=loaded.pop("pixels"), outputs=loaded)
