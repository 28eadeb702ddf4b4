"""The three that have TFLite's `Interpreter`: LiteRT, TensorFlow, tflite-runtime."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.runtimes import Loaded


def litert(model: Path, threads: int) -> Loaded:
    """Load a TFLite file into LiteRT, as any user of it does."""
    from ai_edge_litert.interpreter import Interpreter

    return _loaded(Interpreter, "ai-edge-litert", model, threads)


def tensorflow(model: Path, threads: int) -> Loaded:
    """Load a TFLite file into TensorFlow's own interpreter."""
    import tensorflow as tf

    return _loaded(tf.lite.Interpreter, "tensorflow", model, threads)


def tflite_runtime(model: Path, threads: int) -> Loaded:
    """Load a TFLite file into LiteRT's predecessor."""
    from tflite_runtime.interpreter import Interpreter

    return _loaded(Interpreter, "tflite-runtime", model, threads)


def _loaded(interpreter_class: Any, distribution: str, model: Path, threads: int) -> Loaded:
    interpreter = interpreter_class(model_path=str(model), num_threads=threads)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    outputs = [details["index"] for details in interpreter.get_output_details()]

    def run(tensor: npt.NDArray[Any]) -> list[npt.NDArray[np.generic]]:
        interpreter.set_tensor(entry["index"], tensor)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return Loaded(f"{distribution} {version(distribution)}", run)
