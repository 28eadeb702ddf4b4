"""Intel processors, through LiteRT's OpenVINO dispatch. Experimental, as LiteRT's own page says."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from edge_runtime.bundle import MODEL, ModelSpec
from edge_runtime.delegates.base import Probe
from edge_runtime.delegates.compiled import CompiledLiteRtModel
from edge_runtime.delegates.runtime import litert_version

_DISPATCH = "vendors/intel_openvino/dispatch/libLiteRtDispatch_IntelOpenvino.so"


class OpenVinoDelegate:
    """The int8 model on OpenVINO's CPU plug-in, which keeps real numbers between operators."""

    name = "openvino"
    member = MODEL
    isolated = True

    def environment(self) -> Mapping[str, str]:
        """Return where the dynamic linker finds OpenVINO, which the dispatch library wants."""
        folder = str(_folder("openvino") / "libs")
        rest = os.environ.get("LD_LIBRARY_PATH")
        return {"LD_LIBRARY_PATH": f"{folder}{os.pathsep}{rest}" if rest else folder}

    def probe(self) -> Probe:
        """Say whether LiteRT's dispatch and OpenVINO are there.

        Without the libraries LiteRT would run everything on its own CPU kernels and call that
        fully accelerated.
        """
        version = litert_version()
        if version is None or not (_folder("ai_edge_litert") / _DISPATCH).is_file():
            return Probe(False, reason="needs ai-edge-litert for x86-64 with its Intel dispatch")
        if importlib.util.find_spec("ai_edge_litert_sdk_intel") is None:
            return Probe(False, reason="not installed (pip install 'osteoedge[openvino]')")
        if not list((_folder("openvino") / "libs").glob("libopenvino.so*")):
            return Probe(False, reason="the package openvino comes without its library")
        from importlib.metadata import version as installed

        return Probe(
            available=True,
            version=f"ai-edge-litert {version}, OpenVINO {installed('openvino')}",
        )

    def load(self, model: bytes, spec: ModelSpec, threads: int) -> CompiledLiteRtModel:
        """Compile a model for the CPU plug-in.

        Raises
        ------
        DelegateError
            It refuses the model.
        """
        from ai_edge_litert.compiled_model import (
            HardwareAccelerator,
            IntelOpenVinoOptions,
            Options,
        )

        # 16 bits would be its choice on processors that have them.
        configuration = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(threads)}
        return CompiledLiteRtModel(
            model,
            spec,
            Options(
                hardware_accelerators=HardwareAccelerator.NPU,
                intel_openvino_options=IntelOpenVinoOptions(
                    graph_backend=IntelOpenVinoOptions.GRAPH_BACKEND.CPU,
                    configs_map=configuration,
                ),
            ),
        )


def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found and found.origin else Path("/nonexistent")
