"""GPUs, through LiteRT's WebGPU accelerator: Vulkan on Linux."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from edge_runtime.bundle import MODEL, ModelSpec
from edge_runtime.delegates.base import Probe
from edge_runtime.delegates.compiled import CompiledLiteRtModel
from edge_runtime.delegates.runtime import litert_version

_ACCELERATOR = "libLiteRtWebGpuAccelerator.so"
CPUINFO = Path("/proc/cpuinfo")
# Where Vulkan's loader looks for drivers; the first two replace the folders where they are set.
_DRIVER_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
_DRIVER_FOLDERS = ("/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/usr/share/vulkan/icd.d")
# Drivers that compute on the CPU: right, and many times slower than the delegate `cpu`.
_SOFTWARE_DRIVERS = ("swiftshader", "lvp_icd", "lavapipe")
SOFTWARE = "the Vulkan driver computes on the CPU; the delegate cpu is many times faster"

# Of vulkan_core.h. VkPhysicalDeviceProperties takes 824 bytes, and begins with versions, vendor and
# device, four bytes each, and the kind of the device.
_INSTANCE_CREATE_INFO, _PROPERTIES_WORDS, _DEVICE_TYPE, _PROCESSOR = 1, 256, 4, 4


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
        if platform.machine() == "aarch64" and not _has_lse():
            return Probe(
                False,
                reason=f"{_ACCELERATOR} needs a processor with LSE atomics (Armv8.1: Cortex-A55, "
                "A75 and later); this one has none",
            )
        try:
            ctypes.CDLL("libvulkan.so.1")
        except OSError:
            return Probe(False, reason="no Vulkan loader (on Debian: apt install libvulkan1)")
        if not _drivers():
            return Probe(False, reason="no Vulkan driver of a GPU is installed")
        return Probe(
            available=True,
            version=f"ai-edge-litert {version}, WebGPU on Vulkan",
            degraded=SOFTWARE if _named_software() else "",
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
        loaded = CompiledLiteRtModel(
            model,
            spec,
            Options(
                hardware_accelerators=HardwareAccelerator.GPU,
                gpu_options=GpuOptions(enforce_f32=True),
            ),
        )
        # Drivers of cards that are not there say nothing; the names of devices do. Not in the
        # probe: this runs the drivers' code, and may end the process.
        if not _named_software() and _only_processors():
            loaded.degraded = SOFTWARE
        return loaded


def _has_lse() -> bool:
    """Say whether an Arm processor has the atomics without which the accelerator kills its process.

    Also where the system does not tell: the delegate runs in a child process.
    """
    try:
        words = CPUINFO.read_text(errors="replace").split()
    except OSError:
        return True
    return "Features" not in words or "atomics" in words


def _drivers() -> list[str]:
    """Return the files that describe Vulkan drivers, as its loader finds them."""
    for variable in _DRIVER_VARIABLES:
        if named := os.environ.get(variable):
            return [name for name in named.split(os.pathsep) if Path(name).is_file()]
    return sorted(str(file) for folder in _DRIVER_FOLDERS for file in Path(folder).glob("*.json"))


def _named_software() -> bool:
    """Say whether all drivers are ones that are known to compute on the CPU."""
    return all(any(name in driver.lower() for name in _SOFTWARE_DRIVERS) for driver in _drivers())


class _InstanceCreateInfo(ctypes.Structure):
    """VkInstanceCreateInfo: of Vulkan 1.0, with neither layers nor extensions."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.c_void_p),
        ("layers", ctypes.c_uint32),
        ("layer_names", ctypes.c_void_p),
        ("extensions", ctypes.c_uint32),
        ("extension_names", ctypes.c_void_p),
    )


def _only_processors() -> bool:
    """Ask Vulkan whether every device that it has is a processor: a driver that computes on it."""
    vulkan = ctypes.CDLL("libvulkan.so.1")
    asked = _InstanceCreateInfo(type=_INSTANCE_CREATE_INFO)
    instance, count = ctypes.c_void_p(), ctypes.c_uint32()
    if vulkan.vkCreateInstance(ctypes.byref(asked), None, ctypes.byref(instance)):
        return False
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    devices = (ctypes.c_void_p * count.value)()
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), devices)
    kinds = []
    for device in devices[: count.value]:
        properties = (ctypes.c_uint32 * _PROPERTIES_WORDS)()
        vulkan.vkGetPhysicalDeviceProperties(ctypes.c_void_p(device), properties)
        kinds.append(properties[_DEVICE_TYPE])
    vulkan.vkDestroyInstance(instance, None)
    return bool(kinds) and set(kinds) == {_PROCESSOR}
