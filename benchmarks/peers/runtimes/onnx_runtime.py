"""onnxruntime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.runtimes import Loaded


def load(model: Path, threads: int) -> Loaded:
    """Load an ONNX file with all of onnxruntime's graph optimizations, which are its default."""
    import onnxruntime

    session = cpu_session(model, threads)
    (entry,) = session.get_inputs()

    def run(tensor: npt.NDArray[Any]) -> list[npt.NDArray[np.generic]]:
        outputs: list[npt.NDArray[np.generic]] = session.run(None, {entry.name: tensor})
        return outputs

    return Loaded(f"onnxruntime {onnxruntime.__version__}", run)


def cpu_session(model: Path, threads: int) -> Any:
    """Return a session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
