"""OpenVINO on the CPU, which reads TFLite files as they are."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.runtimes import Loaded


def load(model: Path, threads: int) -> Loaded:
    """Compile a TFLite file; what is not int8 is computed in float32, as everybody else does."""
    return _loaded(model, threads, {"INFERENCE_PRECISION_HINT": "f32"})


def own_precision(model: Path, threads: int) -> Loaded:
    """Compile a TFLite file as OpenVINO itself would: in 16 bits on processors that have them."""
    return _loaded(model, threads, {})


def _loaded(model: Path, threads: int, chosen: dict[str, str]) -> Loaded:
    import openvino

    compiled = openvino.Core().compile_model(
        str(model),
        "CPU",
        {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, **chosen},
    )
    request = compiled.create_infer_request()
    outputs = range(len(compiled.outputs))

    def run(tensor: npt.NDArray[Any]) -> list[npt.NDArray[np.generic]]:
        request.infer([tensor])
        return [request.get_output_tensor(at).data.copy() for at in outputs]

    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return Loaded(f"openvino {version('openvino')}, {precision}", run)
