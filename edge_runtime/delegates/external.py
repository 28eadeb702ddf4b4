"""Any TFLite external delegate, by path and options: how NXP, Qualcomm and Arm ship theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.bundle import MODEL, ModelSpec
from edge_runtime.delegates.base import Probe
from edge_runtime.delegates.runtime import InterpreterModel, load_native_delegate, probe_runtime


@dataclass(frozen=True)
class ExternalDelegate:
    """A shared library with `tflite_plugin_create_delegate`.

    Attributes
    ----------
    library
        Its path, or None where none was named.
    options
        What its maker's page says that it takes, as key and value.
    """

    library: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    name = "external"
    member = MODEL
    isolated = True

    def environment(self) -> Mapping[str, str]:
        """Return nothing: a library that wants variables gets those of the unit."""
        return {}

    def probe(self) -> Probe:
        """Say whether a library was named and is there. It is not loaded: that runs its code."""
        runtime = probe_runtime()
        if not runtime.available:
            return runtime
        if self.library is None:
            return Probe(False, reason="no library was named (--external-delegate FILE.so)")
        if not self.library.is_file():
            return Probe(False, reason=f"there is no file {self.library}")
        return Probe(True, version=f"{runtime.version}, {self.library.name}")

    def load(self, model: bytes, spec: ModelSpec, threads: int) -> InterpreterModel:
        """Load a model with the library's delegate.

        Raises
        ------
        DelegateError
            The library cannot be loaded, or refuses the model, or takes nothing of it.
        """
        native = load_native_delegate(
            str(self.library), self.options, "the library gives no reason"
        )
        return InterpreterModel(model, spec, threads, native)
