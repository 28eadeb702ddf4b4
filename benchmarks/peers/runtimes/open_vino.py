"""OpenVINO on the CPU, which reads TFLite files as they are."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.runtimes import Loaded


def load(model: Path, threads: int) -> Loaded:
    """Compile a TFLite file for one film after the other."""
    import openvino

    compiled = openvino.Core().compile_model(
        str(model),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # 16 bits would be its choice on processors that have them: not the same network.
            "INFERENCE_PRECISION_HINT": "f32",
        },
    )
    request = compiled.create_infer_request()
    outputs = range(len(compiled.outputs))

    def run(tensor: npt.NDArray[Any]) -> list[npt.NDArray[np.generic]]:
        request.infer([tensor])
        return [request.get_output_tensor(at).data.copy() for at in outputs]

    return Loaded(f"openvino {version('openvino')}", run)
