"""TFLite files written operator by operator, for what a converter would not write on request."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema


class Graph:
    """A model of one subgraph, int8 unless said."""

    def __init__(self) -> None:
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.root = schema.ModelT()
        self.root.version = 3
        self.root.subgraphs = [self.graph]
        self.root.operatorCodes = []
        self.root.buffers = [schema.BufferT()]

    def tensor(
        self,
        *shape: int,
        dtype: str = "INT8",
        data: npt.NDArray[Any] | None = None,
        signature: tuple[int, ...] | None = None,
    ) -> int:
        """Add a tensor, a constant where ``data`` is given, and return its number."""
        tensor = schema.TensorT()
        tensor.name = f"t{len(self.graph.tensors)}"
        tensor.shape = list(shape)
        tensor.shapeSignature = None if signature is None else list(signature)
        tensor.type = getattr(schema.TensorType, dtype)
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            tensor.buffer = len(self.root.buffers)
            self.root.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def weights(self, *shape: int) -> int:
        """Add constant int8 weights."""
        return self.tensor(*shape, data=np.ones(shape, np.int8))

    def indices(self, *values: int) -> int:
        """Add constant int32 values."""
        return self.tensor(len(values), dtype="INT32", data=np.array(values, np.int32))

    def op(
        self, name: str, inputs: list[int], outputs: list[int], version: int = 1, **options: int
    ) -> None:
        """Add an operator; ``options`` are fields of its builtin options."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        self.root.operatorCodes.append(code)
        op = schema.OperatorT()
        op.opcodeIndex = len(self.root.operatorCodes) - 1
        op.inputs, op.outputs = inputs, outputs
        kind = _OPTIONS.get(name)
        if kind:
            op.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            op.builtinOptions = getattr(schema, f"{kind}T")()
            for field, value in options.items():
                setattr(op.builtinOptions, field, value)
        self.graph.operators.append(op)

    def file(self, inputs: list[int], outputs: list[int]) -> bytes:
        """Return the flatbuffer."""
        self.graph.inputs, self.graph.outputs = inputs, outputs
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.root.Pack(builder), b"TFL3")
        return bytes(builder.Output())


_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "PACK": "PackOptions",
    "SPLIT": "SplitOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
}
