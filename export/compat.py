"""What of a TFLite file an Edge TPU would run, read off the flatbuffer without a compiler.

Rules are those of edgetpu_compiler 16 (2021, the last one): Coral's "TensorFlow models on the Edge
TPU", what its users' threads report (google-coral/edgetpu), and what is left outside the custom op
in the models that Coral compiled itself (google-coral/test_data). Reasons are worded as in the
compiler's own log.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edge_runtime.errors import ModelError
from export.flatbuffer import unpack

Target = Literal["edgetpu", "cpu"]

# Of some 8 MB the program takes its part: logs report 6.8 to 7.9 MiB for parameters.
ON_CHIP_BYTES = 7 * 2**20

_UNSUPPORTED = "Operation not supported"
_DATA_TYPE = "Operation is working on an unsupported data type"
_RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
_SUBGRAPHS = "More than one subgraph is not supported"
_DYNAMIC = "Operation is working on a tensor whose size is not known at compile time"
_LIMITED = "Operation is otherwise supported, but not mapped"

# Newest version of each operator that compiler 16 reads: beyond it, it refuses the whole model.
_NEWEST_VERSION = {
    "CONV_2D": 5,
    "DEPTHWISE_CONV_2D": 6,
    "FULLY_CONNECTED": 9,
    "SOFTMAX": 3,
    "ADD": 4,
    "MUL": 5,
    "MEAN": 3,
    "PAD": 4,
    "TRANSPOSE_CONV": 3,
    "QUANTIZE": 2,
    "EXP": 1,
}
# Enlarging by more loses precision, for which the compiler leaves it to the CPU: 2 was seen mapped,
# 15.5 and 33 were not.
_MAX_RESIZE = 8.0
_MAX_SOFTMAX = 16_000


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph.

    Attributes
    ----------
    data
        Its raw bytes where it is a constant, (n,) uint8.
    fixed
        Whether its size is known before the model runs.
    """

    shape: tuple[int, ...]
    dtype: str
    variable: bool
    fixed: bool
    data: npt.NDArray[np.uint8] | None

    def integers(self) -> list[int]:
        """Return the values of a constant of indices."""
        kind = {"INT32": np.int32, "INT64": np.int64}[self.dtype]
        return [] if self.data is None else self.data.view(kind).tolist()


@dataclass(frozen=True)
class Operator:
    """One operator of the graph; ``options`` is the schema's object of its builtin options."""

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any
    tensors: Sequence[Tensor]

    @cached_property
    def read(self) -> list[Tensor]:
        """The tensors that it reads, optional ones left out."""
        return [self.tensors[at] for at in self.inputs if at >= 0]

    @cached_property
    def written(self) -> list[Tensor]:
        """The tensors that it writes."""
        return [self.tensors[at] for at in self.outputs]

    @property
    def fuses_activation(self) -> bool:
        """Whether an activation function is part of it."""
        return bool(self.options is not None and self.options.fusedActivationFunction)


@dataclass(frozen=True)
class Placement:
    """Where an operator runs; ``reason`` says why not on the Edge TPU."""

    index: int
    op: str
    version: int
    target: Target
    reason: str | None


@dataclass(frozen=True)
class Compatibility:
    """Where every operator of a model runs.

    Attributes
    ----------
    parameter_bytes
        Constants of the operators on the Edge TPU.
    """

    ops: tuple[Placement, ...]
    parameter_bytes: int

    @property
    def mapped(self) -> int:
        """Operators on the Edge TPU."""
        return sum(op.target == "edgetpu" for op in self.ops)

    @property
    def total(self) -> int:
        """Operators in all."""
        return len(self.ops)

    @property
    def streams_parameters(self) -> bool:
        """Whether the parameters do not fit on chip, and cross the bus at every run."""
        return self.parameter_bytes > ON_CHIP_BYTES


def edge_tpu_compatibility(model: bytes, file: str | None = None) -> Compatibility:
    """Say of every operator of a TFLite file whether the Edge TPU would run it.

    Parameters
    ----------
    model
        The flatbuffer.
    file
        Its name, for errors.

    Raises
    ------
    ModelError
        It is no TFLite file, or damaged.
    """
    try:
        graphs = _read(model)
        refusal = _refusal(graphs)
        ops = [op for graph in graphs for op in graph]
        reasons = [refusal or _reason(op) for op in ops]
    except (struct.error, LookupError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"not a TFLite model, or damaged ({type(error).__name__})",
            "Give a .tflite file as a converter wrote it",
            file,
        ) from None
    if refusal is None:
        _keep_one_subgraph(ops, reasons)
    placements = tuple(
        Placement(at, op.name, op.version, "cpu" if reason else "edgetpu", reason)
        for at, (op, reason) in enumerate(zip(ops, reasons, strict=True))
    )
    constants = {
        at: len(tensor.data)
        for op, reason in zip(ops, reasons, strict=True)
        if not reason
        for at in op.inputs
        if at >= 0 and (tensor := op.tensors[at]).data is not None
    }
    return Compatibility(placements, sum(constants.values()))


def read_model(path: Path) -> bytes:
    """Return the bytes of a model file.

    Raises
    ------
    ModelError
        There is none.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"cannot be read ({error.strerror})", "Give the path of a .tflite file", path.name
        ) from None


def _read(model: bytes) -> list[list[Operator]]:
    """Return the operators of each subgraph, in the order in which they run."""
    root = unpack(model)
    return [_graph(root, graph) for graph in root.subgraphs]


def _graph(root: Any, graph: Any) -> list[Operator]:
    tensors = [_tensor(root, tensor) for tensor in graph.tensors]
    return [
        _operator(root.operatorCodes[op.opcodeIndex], op, number, tensors)
        for number, op in enumerate(graph.operators)
    ]


def _tensor(root: Any, tensor: Any) -> Tensor:
    data = root.buffers[tensor.buffer].data
    constant = data is not None and len(data) > 0
    signature = tensor.shapeSignature
    return Tensor(
        shape=_numbers(tensor.shape),
        dtype=_TYPES[tensor.type],
        variable=bool(tensor.isVariable),
        fixed=signature is None or all(side >= 0 for side in _numbers(signature)),
        data=np.asarray(data, np.uint8) if constant else None,
    )


def _operator(code: Any, op: Any, number: int, tensors: Sequence[Tensor]) -> Operator:
    # Old writers know only the first 127 operators, and put them in a field of one byte.
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
    return Operator(
        index=number,
        name=_OPERATORS[builtin],
        version=code.version,
        inputs=_numbers(op.inputs),
        outputs=_numbers(op.outputs),
        options=op.builtinOptions,
        tensors=tensors,
    )


def _numbers(vector: Any) -> tuple[int, ...]:
    return () if vector is None else tuple(int(value) for value in vector)


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


_OPERATORS = _names(schema.BuiltinOperator)
_TYPES = _names(schema.TensorType)


def _refusal(graphs: Sequence[Sequence[Operator]]) -> str | None:
    """Return why the compiler would not take the model at all."""
    if len(graphs) > 1:
        return "The compiler refuses the model: it has control flow, or several signatures"
    for op in graphs[0]:
        if op.version > _NEWEST_VERSION.get(op.name, op.version):
            return (
                "The compiler refuses the model: Didn't find op for builtin opcode "
                f"'{op.name}' version '{op.version}'"
            )
    return None


def _reason(op: Operator) -> str | None:
    """Return why an operator by itself cannot be mapped."""
    rule = _RULES.get(op.name)
    if rule is None:
        return _UNSUPPORTED
    computed = [t for t in (*op.read, *op.written) if t.data is None]
    # The state of an LSTM's cells has 16 bits.
    if any(t.dtype not in {"INT8", "UINT8"} and not t.variable for t in computed):
        return _DATA_TYPE
    if not all(t.fixed for t in computed):
        return _DYNAMIC
    if any(side > 1 for t in computed for side in t.shape[:-3]):
        return _RANK
    return rule(op)


def _keep_one_subgraph(ops: Sequence[Operator], reasons: list[str | None]) -> None:
    """Leave to the CPU what depends on an operator there that depends on the Edge TPU.

    The compiler makes one custom operator of everything that it maps. Operators of the CPU may run
    before it or after it, and nothing may pass from it through them back into it.
    """
    # 0: nothing of it was on the Edge TPU; 1: on the Edge TPU; 2: behind the Edge TPU.
    stage: dict[int, int] = {}
    for op, reason in zip(ops, reasons, strict=True):
        before = max((stage.get(at, 0) for at in op.inputs), default=0)
        if reason is None and before == 2:
            reasons[op.index] = _SUBGRAPHS
        after = 1 if reasons[op.index] is None else (2 if before else 0)
        stage.update(dict.fromkeys(op.outputs, after))


Rule = Callable[[Operator], str | None]


def _always(_: Operator) -> None:
    return None


def _no_activation(op: Operator) -> str | None:
    return f"{_LIMITED}: it has a fused activation function" if op.fuses_activation else None


def _concatenation(op: Operator) -> str | None:
    constants = [t.data for t in op.read if t.data is not None]
    if constants and (len(op.read) != 2 or any(data.any() for data in constants)):
        return f"{_LIMITED}: of two inputs one may be constant, and all zeros"
    return _no_activation(op)


def _constant_weights(op: Operator) -> str | None:
    # TRANSPOSE_CONV: size of the output, weights, input; the others: input, weights, bias.
    parameters = op.read[:2] if op.name == "TRANSPOSE_CONV" else op.read[1:]
    constant = all(t.data is not None for t in parameters)
    return None if constant else f"{_LIMITED}: its parameters are not constant"


def _convolution(op: Operator) -> str | None:
    if op.options.dilationWFactor != op.options.dilationHFactor:
        return f"{_LIMITED}: its dilation differs between x and y"
    return _constant_weights(op)


def _fully_connected(op: Operator) -> str | None:
    if op.options.weightsFormat:
        return f"{_LIMITED}: its weights are shuffled"
    if not _one_dimensional(op.written[0]):
        return f"{_LIMITED}: its output has more than one dimension"
    return _constant_weights(op)


def _one_dimensional(tensor: Tensor) -> bool:
    return sum(side > 1 for side in tensor.shape) <= 1


def _axes(op: Operator) -> set[int]:
    rank = len(op.read[0].shape)
    return {axis % rank for axis in op.read[1].integers()}


def _reduction(op: Operator) -> str | None:
    rank = len(op.read[0].shape)
    axes = _axes(op)
    if rank == 4 and 0 in axes:
        return f"{_LIMITED}: it reduces the batch dimension"
    if op.name == "MEAN" and rank == 4 and 3 in axes and op.read[0].shape[3] % 4:
        return f"{_LIMITED}: it reduces channels whose number is no multiple of 4"
    return None


def _pad(op: Operator) -> str | None:
    before_and_after = op.read[1].integers()
    if len(op.read[0].shape) == 4 and any(before_and_after[:2]):
        return f"{_LIMITED}: it pads the batch dimension"
    return None


def _pack(op: Operator) -> str | None:
    batch = op.options.axis % len(op.written[0].shape) == 0
    return f"{_LIMITED}: it packs the batch dimension" if batch else None


def _split(op: Operator) -> str | None:
    axis = op.read[0].integers()[0] % len(op.read[1].shape)
    return f"{_LIMITED}: it splits the batch dimension" if axis == 0 else None


def _prelu(op: Operator) -> str | None:
    alpha = op.read[1]
    if alpha.data is None or not _one_dimensional(alpha):
        return f"{_LIMITED}: its slopes differ within a channel"
    return None


def _resize(op: Operator) -> str | None:
    small, large = op.read[0].shape[1:3], op.written[0].shape[1:3]
    if any(after / before > _MAX_RESIZE for before, after in zip(small, large, strict=True)):
        return f"{_LIMITED}: it enlarges more than {_MAX_RESIZE:.0f} times and would lose precision"
    return None


def _softmax(op: Operator) -> str | None:
    if not _one_dimensional(op.read[0]):
        return f"{_LIMITED}: its input has more than one dimension"
    if prod(op.read[0].shape) > _MAX_SOFTMAX:
        return f"{_LIMITED}: its input has more than {_MAX_SOFTMAX} elements"
    return None


def _strided_slice(op: Operator) -> str | None:
    if any(step != 1 for step in op.read[3].integers()):
        return f"{_LIMITED}: it has a stride other than 1"
    if op.options.ellipsisMask or op.options.newAxisMask:
        return f"{_LIMITED}: it has an ellipsis or a new axis"
    return None


_RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "EXPAND_DIMS", "L2_NORMALIZATION",
            "LOGISTIC", "QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RSQRT", "SLICE",
            "SPACE_TO_DEPTH", "SQUARED_DIFFERENCE", "SQUEEZE", "TANH", "TILE", "TRANSPOSE",
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
        ),
        _always,
    ),
    "AVERAGE_POOL_2D": _no_activation,
    "MAX_POOL_2D": _no_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "TRANSPOSE_CONV": _constant_weights,
    "FULLY_CONNECTED": _fully_connected,
    "MEAN": _reduction,
    "SUM": _reduction,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "PAD": _pad,
    "PACK": _pack,
    "SPLIT": _split,
    "PRELU": _prelu,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "STRIDED_SLICE": _strided_slice,
}  # fmt: skip
