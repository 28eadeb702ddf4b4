"""A float32 TFLite file, made smaller without training: to int8, or to half precision."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from contextlib import redirect_stderr

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import qtyping, quantizer, recipe
from ai_edge_quantizer.algorithm_manager import AlgorithmName

from edge_runtime.errors import GateError
from edge_runtime.preprocess import InputSpec
from export.interpreter import keeping_interpreter

FloatArray = npt.NDArray[np.float32]


def to_int8(model: bytes, films: Iterable[FloatArray], spec: InputSpec, clip: float) -> bytes:
    """Quantize weights by channel and activations by tensor, inputs and outputs included.

    Jacob et al., CVPR 2018, arXiv:1712.05877, section 3.1.

    Parameters
    ----------
    model
        A float32 TFLite file with one signature.
    films
        Normalised inputs (1, height, width, channels), whose activations set the ranges.
    clip
        Share of the films, 0..0.5, whose extremes may lie outside the range of a tensor: see
        :func:`activation_ranges`.

    Raises
    ------
    GateError
        A tensor has no range.
    """
    ranges = activation_ranges(model, films, clip)
    if constant := [name for name, (low, high) in ranges.items() if not low < high]:
        raise GateError(
            f"{constant[0].split(';')[0]} is the same on all films, or no number",
            "Check how films become the model's input (input.mean, input.divisor, input.fit)",
        )
    (film,) = Interpreter(model_content=model).get_input_details()
    # Every grey level has its own step: quantizing the input loses nothing.
    black, white = map(float, spec.normalise(np.array([0, 255], np.uint8)))
    shaped = {
        name: {"min": np.full((1, 1, 1, 1), low), "max": np.full((1, 1, 1, 1), high)}
        for name, (low, high) in {**ranges, film["name"]: (black, white)}.items()
    }
    return _apply(quantizer.Quantizer(model, recipe.static_wi8_ai8()), shaped)


def to_half(model: bytes) -> bytes:
    """Store the weights of a float32 TFLite file in float16; a GPU computes in them directly."""
    half = quantizer.Quantizer(model)
    half.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key=AlgorithmName.FLOAT_CASTING,
    )
    return _apply(half)


def activation_ranges(
    model: bytes, films: Iterable[FloatArray], clip: float
) -> dict[str, tuple[float, float]]:
    """Return the range of every computed tensor of a float32 TFLite file, by its name.

    One absurd film would make the steps of all others coarse. So a range is that of the films, less
    the share ``clip`` with the lowest minima, and that with the highest maxima. Outputs keep all
    of theirs: a lesion is what few films have.
    """
    interpreter = keeping_interpreter(model)
    (entry,) = interpreter.get_input_details()
    outputs = {tensor["name"] for tensor in interpreter.get_output_details()}
    names = {t["index"]: t["name"] for t in interpreter.get_tensor_details()}
    computed = [
        int(at)
        for op in interpreter._get_ops_details()
        if op["op_name"] != "DELEGATE"
        for at in op["outputs"]
    ]
    lows: list[list[float]] = []
    highs: list[list[float]] = []
    for film in films:
        interpreter.set_tensor(entry["index"], film)
        interpreter.invoke()
        values = [interpreter.get_tensor(at) for at in computed]
        lows.append([float(value.min()) for value in values])
        highs.append([float(value.max()) for value in values])
    ascending, descending = np.sort(lows, axis=0), np.sort(highs, axis=0)[::-1]
    outside = int(clip * len(lows))
    ranges = {}
    for row, at in enumerate(computed):
        left_out = 0 if names[at] in outputs else outside
        ranges[names[at]] = (float(ascending[left_out, row]), float(descending[left_out, row]))
    return ranges


def _apply(
    asked: quantizer.Quantizer, ranges: dict[str, dict[str, npt.NDArray[np.float64]]] | None = None
) -> bytes:
    # It warns of its own way to use an interpreter, and part of its progress bar, a tenth of a
    # second long, cannot be turned off.
    with redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = asked.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(made.quantized_model)
