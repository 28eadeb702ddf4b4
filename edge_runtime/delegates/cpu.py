"""The CPU: LiteRT with XNNPACK, or tflite-runtime on boards that have nothing newer."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle import ModelSpec
from edge_runtime.delegates.base import Outputs, Probe
from edge_runtime.errors import DelegateError

# Preferred first. Both have the same Interpreter class.
RUNTIMES = (("ai-edge-litert", "ai_edge_litert"), ("tflite-runtime", "tflite_runtime"))


class CpuDelegate:
    """The interpreter of whichever TFLite runtime is installed."""

    name = "cpu"

    def probe(self) -> Probe:
        """Say which runtime is installed, and whether it runs int8 graphs unaccelerated."""
        for distribution, module in RUNTIMES:
            if importlib.util.find_spec(module) is None:
                continue
            version = f"{distribution} {importlib.metadata.version(distribution)}"
            slow = module == "tflite_runtime" and platform.machine() in {"x86_64", "AMD64"}
            return Probe(
                available=True,
                version=version,
                degraded=(
                    "tflite-runtime runs int8 models without XNNPACK on this processor, 20 to 50 "
                    "times slower than ai-edge-litert"
                    if slow
                    else ""
                ),
            )
        return Probe(
            available=False,
            reason="no TFLite runtime is installed (pip install ai-edge-litert)",
        )

    def load(self, model: bytes, spec: ModelSpec, threads: int) -> CpuModel:
        """Load a model into the interpreter.

        Raises
        ------
        DelegateError
            No runtime, or it refuses the model.
        """
        return CpuModel(model, spec, threads)


class CpuModel:
    """An interpreter with its tensors allocated. Not thread-safe: one caller at a time."""

    def __init__(self, model: bytes, spec: ModelSpec, threads: int) -> None:
        try:
            # The interpreter reads the model in place: keep the bytes alive as long as it lives.
            self._model = model
            self._interpreter = _interpreter_class()(model_content=model, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise DelegateError(
                f"the TFLite runtime refuses the model ({str(error).splitlines()[0]})",
                "Install the ai-edge-litert version that the bundle names, or export it again",
            ) from None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        self._input = inputs[spec.input.index]["index"]
        self._outputs = {
            head: (outputs[t.index]["index"], t.shape) for head, t in spec.outputs.items()
        }
        for tensor, details in [
            (spec.input, inputs),
            *((t, outputs) for t in spec.outputs.values()),
        ]:
            found = details[tensor.index]
            # Plain logits have no rows and columns; the manifest gives them one of each.
            if _sides(found["shape"]) != _sides(tensor.shape) or found["dtype"] is not np.int8:
                raise DelegateError(
                    f"the model's tensor {found['name']} is not what the manifest says",
                    "Export the bundle again",
                )

    def run(self, tensor: npt.NDArray[np.int8]) -> Outputs:
        """Run one film: int8 (1, height, width, 1) in, each head's int8 tensor out."""
        self._interpreter.set_tensor(self._input, tensor)
        self._interpreter.invoke()
        return {
            head: self._interpreter.get_tensor(index).reshape(shape)
            for head, (index, shape) in self._outputs.items()
        }


def _sides(shape: Iterable[int]) -> list[int]:
    return [int(side) for side in shape if side > 1]


def _interpreter_class() -> Any:
    """Return the Interpreter class of the first runtime that is installed."""
    for _, module in RUNTIMES:
        if importlib.util.find_spec(module) is not None:
            return importlib.import_module(f"{module}.interpreter").Interpreter
    raise DelegateError("no TFLite runtime is installed", "Install one: pip install ai-edge-litert")
