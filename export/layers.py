"""Where a quantized file loses: its tensors against those of the same network in float."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.preprocess import InputSpec
from export.interpreter import keeping_interpreter
from export.parity import signal_to_noise


@dataclass(frozen=True)
class LayerLoss:
    """The output of one operator of the int8 file, against the same operator in float.

    Attributes
    ----------
    snr_db
        Power of the float output over that of the difference, decibels, over all films.
    """

    layer: str
    op: str
    snr_db: float


def layer_losses(
    int8: bytes, exact: bytes, spec: InputSpec, pixels: npt.NDArray[np.uint8]
) -> list[LayerLoss]:
    """Compare two conversions of one network, operator by operator, the worst first.

    TensorFlow's QuantizationDebugger refuses quantization-aware models; here the interpreter keeps
    every tensor, and operators are paired by their order, which both files share but for operators
    that only change the type of numbers.

    Parameters
    ----------
    int8, exact
        TFLite files, int8 and float32.
    pixels
        (n, height, width), network pixels.
    """
    one, two = _Kept(int8), _Kept(exact)
    if [op for op, _ in one.operators] != [op for op, _ in two.operators]:
        return []
    sums = np.zeros((len(one.operators), 2))
    for film in pixels:
        real = spec.normalise(film)[np.newaxis, :, :, np.newaxis]
        for row, (a, b) in enumerate(zip(one.run(real), two.run(real), strict=True)):
            sums[row] += [np.square(b).sum(), np.square(a - b).sum()]
    losses = [
        LayerLoss(two.names[row], op, signal_to_noise(*np.sqrt(sums[row])))
        for row, (op, _) in enumerate(one.operators)
    ]
    return sorted(losses, key=lambda loss: loss.snr_db)


class _Kept:
    """An interpreter that keeps the outputs of all operators."""

    def __init__(self, model: bytes) -> None:
        self._interpreter = keeping_interpreter(model)
        details = {t["index"]: t for t in self._interpreter.get_tensor_details()}
        self.operators = [
            (op["op_name"], int(op["outputs"][0]))
            for op in self._interpreter._get_ops_details()
            if op["op_name"] not in {"QUANTIZE", "DEQUANTIZE", "DELEGATE"}
        ]
        self._scales = {at: details[at]["quantization"] for _, at in self.operators}
        # A converter gives the outputs names that say nothing.
        answers = self._interpreter.get_signature_runner().get_output_details()
        heads = {answer["index"]: head for head, answer in answers.items()}
        self.names = [
            heads.get(at, str(details[at]["name"]).split(";")[0]) for _, at in self.operators
        ]

    def run(self, film: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float64]]:
        """Run a normalised film (1, height, width, 1); return each operator's real output."""
        (entry,) = self._interpreter.get_input_details()
        scale, zero = entry["quantization"]
        stored = np.clip(np.round(film / scale + zero), -128, 127) if scale else film
        self._interpreter.set_tensor(entry["index"], stored.astype(entry["dtype"]))
        self._interpreter.invoke()
        return [self._real(at) for _, at in self.operators]

    def _real(self, at: int) -> npt.NDArray[np.float64]:
        scale, zero = self._scales[at]
        values = self._interpreter.get_tensor(at).astype(np.float64)
        return np.asarray((values - zero) * scale if scale else values)
