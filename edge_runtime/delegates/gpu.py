"""GPUs, through LiteRT's WebGPU accelerator: Vulkan on Linux."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from edge_runtime.bundle import MODEL, ModelSpec
from edge_runtime.delegates.base import Probe
from edge_runtime.delegates.compiled import CompiledLiteRtModel
from edge_runtime.delegates.runtime import litert_version

_ACCELERATOR = "libLiteRtWebGpuAccelerator.so"
# Where Vulkan's loader looks for drivers; the first two replace the folders where they are set.
_DRIVER_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
_DRIVER_FOLDERS = ("/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/usr/share/vulkan/icd.d")
# Drivers that compute on the CPU: right, and many times slower than the delegate `cpu`.
_SOFTWARE_DRIVERS = ("swiftshader", "lvp_icd", "lavapipe")
SOFTWARE = "the Vulkan driver computes on the CPU; the delegate cpu is many times faster"


class GpuDelegate:
    """The int8 model on a GPU, which computes it with 32-bit real numbers."""

    name = "gpu"
    member = MODEL
    isolated = True

    def environment(self) -> Mapping[str, str]:
        """Return the folder for sockets that Vulkan drivers want, and units without users lack."""
        return {} if "XDG_RUNTIME_DIR" in os.environ else {"XDG_RUNTIME_DIR": "/tmp"}

    def probe(self) -> Probe:
        """Say whether LiteRT's accelerator, Vulkan's loader and a driver are there."""
        version = litert_version()
        if version is None:
            return Probe(False, reason="needs ai-edge-litert; tflite-runtime has no GPU delegate")
        package = importlib.util.find_spec("ai_edge_litert")
        folder = Path((package and package.origin) or "").parent
        if not (folder / _ACCELERATOR).is_file():
            return Probe(False, reason=f"ai-edge-litert {version} comes without {_ACCELERATOR}")
        try:
            ctypes.CDLL("libvulkan.so.1")
        except OSError:
            return Probe(False, reason="no Vulkan loader (on Debian: apt install libvulkan1)")
        drivers = _drivers()
        if not drivers:
            return Probe(False, reason="no Vulkan driver of a GPU is installed")
        software = all(any(s in driver.lower() for s in _SOFTWARE_DRIVERS) for driver in drivers)
        return Probe(
            available=True,
            version=f"ai-edge-litert {version}, WebGPU on Vulkan",
            degraded=SOFTWARE if software else "",
        )

    def load(self, model: bytes, spec: ModelSpec, threads: int) -> CompiledLiteRtModel:
        """Compile a model for the GPU; ``threads`` mean nothing to it.

        Raises
        ------
        DelegateError
            There is no GPU, or it refuses the model.
        """
        from ai_edge_litert.compiled_model import GpuOptions, HardwareAccelerator, Options

        # Without this some drivers compute with 16 bits, and thresholds were fitted on 8 of them.
        return CompiledLiteRtModel(
            model,
            spec,
            Options(
                hardware_accelerators=HardwareAccelerator.GPU,
                gpu_options=GpuOptions(enforce_f32=True),
            ),
        )


def _drivers() -> list[str]:
    """Return the files that describe Vulkan drivers, as its loader finds them."""
    for variable in _DRIVER_VARIABLES:
        if named := os.environ.get(variable):
            return [name for name in named.split(os.pathsep) if Path(name).is_file()]
    return sorted(str(file) for folder in _DRIVER_FOLDERS for file in Path(folder).glob("*.json"))
