"""The CPU: LiteRT with XNNPACK, or tflite-runtime on boards that have nothing newer."""

from __future__ import annotations

from collections.abc import Mapping

from edge_runtime.bundle import MODEL, ModelSpec
from edge_runtime.delegates.base import Probe
from edge_runtime.delegates.runtime import InterpreterModel, probe_runtime


class CpuDelegate:
    """The interpreter of whichever TFLite runtime is installed, in this process."""

    name = "cpu"
    member = MODEL
    isolated = False

    def environment(self) -> Mapping[str, str]:
        """Return nothing: it needs no child process."""
        return {}

    def probe(self) -> Probe:
        """Say which runtime is installed, and whether it runs int8 graphs unaccelerated."""
        return probe_runtime()

    def load(self, model: bytes, spec: ModelSpec, threads: int) -> InterpreterModel:
        """Load a model into the interpreter.

        Raises
        ------
        DelegateError
            No runtime, or it refuses the model.
        """
        return InterpreterModel(model, spec, threads)
