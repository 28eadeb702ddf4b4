"""Trained network -> int8 TFLite file, and what the file says of itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import numpy as np
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter

from edge_runtime.bundle import Head, ModelSpec, Representative, TensorSpec, Variant
from edge_runtime.errors import GateError
from edge_runtime.preprocess import InputSpec

# What an int8 graph may hold: int8 values, int32 biases and shapes, int64 indices of some ops.
_INTEGER = (np.int8, np.int32, np.int64)
_HEADS = ", ".join(get_args(Head))


def to_int8(model: tf_keras.Model, spec: InputSpec) -> bytes:
    """Convert a quantization-aware network, which brings its ranges along, to an int8 TFLite file.

    Batch 1 and static shapes: `from_keras_model` would leave the batch open, and no accelerator
    takes that.
    """
    with _converter(model, spec) as convert:
        convert.optimizations = [tf.lite.Optimize.DEFAULT]
        convert.inference_input_type = tf.int8
        convert.inference_output_type = tf.int8
        return bytes(convert.convert())


def to_float32(model: tf_keras.Model, spec: InputSpec) -> bytes:
    """Convert a float network to a float32 TFLite file."""
    with _converter(model, spec) as convert:
        return bytes(convert.convert())


@contextmanager
def _converter(model: tf_keras.Model, spec: InputSpec) -> Iterator[tf.lite.TFLiteConverter]:
    """Hand out a converter of the network at batch 1."""
    signature = tf.TensorSpec((1, spec.height, spec.width, 1), tf.float32, name="film")

    @tf.function(input_signature=[signature])  # type: ignore[untyped-decorator]
    def serve(film: tf.Tensor) -> dict[str, tf.Tensor]:
        return model(film, training=False)  # type: ignore[no-any-return]

    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(model, folder, signatures={"serving_default": serve})
        yield tf.lite.TFLiteConverter.from_saved_model(folder)


def describe(
    model: bytes, backbone: str, variant: Variant, representative: Representative | None = None
) -> ModelSpec:
    """Read a TFLite file's tensors.

    Raises
    ------
    GateError
        A tensor that is not an integer, a dynamic shape, or not exactly the heads that are known:
        such a file would run in float somewhere, or not at all on an accelerator.
    """
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    for tensor in interpreter.get_tensor_details():
        if tensor["dtype"] not in _INTEGER:
            raise GateError(
                f"tensor {tensor['name']} of the converted model is {tensor['dtype'].__name__}",
                "Make every layer quantizable: a float island runs on no accelerator",
            )
        if -1 in tensor["shape_signature"]:
            raise GateError(
                f"tensor {tensor['name']} of the converted model has a dynamic shape",
                "Convert from a batch-1 function",
            )
    runner = interpreter.get_signature_runner()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    heads = {
        head: _tensor(details, outputs) for head, details in runner.get_output_details().items()
    }
    if not {"cam"} <= set(heads) <= set(get_args(Head)) or len(outputs) != len(heads):
        raise GateError(
            f"the converted model has the outputs {', '.join(sorted(heads))}",
            f"One output tensor per head is needed: cam, and no others than {_HEADS}",
        )
    return ModelSpec(
        backbone=backbone,
        variant=variant,
        representative=representative,
        input=_tensor(inputs[0], inputs),
        outputs=heads,
    )


def zero_share(model: bytes) -> float:
    """Return the share of zeros, 0..1, in the int8 kernels of a TFLite file.

    Kernels are the tensors with a scale for each channel; what has one channel is left out.
    """
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    kernels = [
        interpreter.get_tensor(tensor["index"])
        for tensor in interpreter.get_tensor_details()
        if tensor["dtype"] is np.int8 and len(tensor["quantization_parameters"]["scales"]) > 1
    ]
    zeros = sum(kernel.size - np.count_nonzero(kernel) for kernel in kernels)
    return float(zeros / sum(kernel.size for kernel in kernels))


def _tensor(details: dict[str, object], among: list[dict[str, object]]) -> TensorSpec:
    index = next(i for i, found in enumerate(among) if found["index"] == details["index"])
    found = among[index]
    scale, zero_point = found["quantization"]  # type: ignore[misc]
    shape = tuple(int(side) for side in found["shape"])  # type: ignore[attr-defined]
    return TensorSpec(
        index=index,
        # Plain logits are a map of one cell.
        shape=(shape[0], 1, 1, shape[1]) if len(shape) == 2 else shape,
        scale=float(scale),  # type: ignore[has-type]
        zero_point=int(zero_point),  # type: ignore[has-type]
    )
