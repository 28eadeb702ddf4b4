"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from edge_runtime.doctor import installed_version

_PACKAGES = ("osteoedge", "ai-edge-litert", "tflite-runtime", "numpy", "opencv-python-headless")


def describe_host() -> dict[str, Any]:
    """Return processor, clock, load and versions; null where the system does not tell."""
    frequency = psutil.cpu_freq()
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "frequency_mhz": round(frequency.current) if frequency else None,
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "board": _read(Path("/proc/device-tree/model")),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := installed_version(name))},
        "load_1min": round(os.getloadavg()[0], 2),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cpu_model() -> str | None:
    text = _read(Path("/proc/cpuinfo")) or ""
    for line in text.splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip("\0 \n")
    except OSError:
        return None
