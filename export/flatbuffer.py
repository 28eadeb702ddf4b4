"""Open and write the flatbuffer of a TFLite file."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

# Alignment that the runtime expects of constants.
_ALIGNMENT = 16


def unpack(model: bytes) -> schema.ModelT:
    """Return a file's content, as the schema's objects.

    Constants that lie behind the flatbuffer, as newer writers put them, are taken into it: older
    readers, the Edge TPU's compiler among them, do not look there.

    Raises
    ------
    ValueError, struct.error, LookupError, TypeError, AttributeError
        It is no TFLite file, or damaged.
    """
    if not schema.Model.ModelBufferHasIdentifier(model, 0):
        raise ValueError("no TFL3 in its place")
    root = schema.ModelT.InitFromPackedBuf(model, 0)
    for buffer in root.buffers:
        # 0 and 1 stand for none.
        if buffer.offset > 1:
            end = buffer.offset + buffer.size
            if end > len(model):
                raise ValueError("a constant lies beyond the end")
            buffer.data = np.frombuffer(model[buffer.offset : end], np.uint8)
            buffer.offset = buffer.size = 0
    return root


def pack(root: schema.ModelT) -> bytes:
    """Return the bytes of a file, its constants aligned as a converter aligns them."""
    builder = _Builder(1 << 20)
    builder.Finish(root.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes vectors of numbers as small and as aligned as can be.

    Equal vectors are written once and shared, which the format allows: a zero point for each
    channel of each weight and bias, 8 bytes of nothing, is a tenth of an int8 file otherwise. And
    bytes are aligned as the schema's `force_align: 16` asks, which generated Python code forgets.
    """

    __slots__ = ("_written",)

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:  # noqa: N802
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            if x.dtype == np.uint8:
                self.Prep(_ALIGNMENT, len(x))
            self._written[key] = int(super().CreateNumpyVector(x))
        return self._written[key]
