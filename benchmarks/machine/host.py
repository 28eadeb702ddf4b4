"""What the figures were measured on, and what makes them worth less."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.machine.condition import SINCE_BOOT
from benchmarks.machine.energy import Unavailable, find_meter
from benchmarks.machine.sysfs import CPUS, cpuinfo, read_text
from benchmarks.schema import Condition, Host
from edge_runtime.doctor import installed_version

_PACKAGES = ("osteoedge", "ai-edge-litert", "tflite-runtime", "openvino", "numpy",
             "opencv-python-headless", "pydicom")  # fmt: skip

# From where on there is a warning.
LOADED = 0.25  # of all cores
WARMER_C = 10.0
OTHER_FREQUENCY = 0.05
STOLEN = 0.01  # of all cores' time


def describe_host(
    before: Condition, after: Condition, harness_us: float, root: Path = Path("/")
) -> Host:
    """Return processor, board, versions, and warnings.

    Parameters
    ----------
    before, after
        From :func:`benchmarks.machine.condition.condition`, around all that was measured.
    harness_us
        :func:`benchmarks.harness.null_query_us`.
    root
        Where ``sys`` and ``proc`` are.
    """
    meter = find_meter(root)
    governors = map(read_text, root.glob(CPUS + "/cpufreq/scaling_governor"))
    governor = ", ".join(sorted(set(filter(None, governors)))) or None
    return Host(
        cpu=_cpu_model(root),
        cores=os.cpu_count(),
        architecture=platform.machine(),
        board=_board(root),
        governor=governor,
        energy_meter=None if isinstance(meter, Unavailable) else meter.name,
        memory_mb=psutil.virtual_memory().total // 2**20,
        system=platform.platform(),
        python=platform.python_version(),
        packages={name: found for name in _PACKAGES if (found := installed_version(name))},
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        before=before,
        after=after,
        warnings=tuple(_warnings(before, after, governor, virtual=_virtual(root))),
        harness_us=round(harness_us, 3),
    )


def _cpu_model(root: Path) -> str | None:
    named = cpuinfo(root, "model name") or cpuinfo(root, "Model")
    return named[0] if named else platform.processor() or None


def _board(root: Path) -> str | None:
    if told := read_text(root / "proc/device-tree/model"):
        return told
    firmware = root / "sys/class/dmi/id"
    named = map(read_text, (firmware / "sys_vendor", firmware / "product_name"))
    return " ".join(filter(None, named)) or None


def _virtual(root: Path) -> bool:
    flags = " ".join(cpuinfo(root, "flags")[:1]).split()
    return "hypervisor" in flags or read_text(root / "sys/hypervisor/type") is not None


def _warnings(
    before: Condition, after: Condition, governor: str | None, *, virtual: bool
) -> Iterator[str]:
    cores = os.cpu_count() or 1
    for when, found in (("before", before), ("after", after)):
        if found.busy:
            yield f"other processes were busy {when} measuring: {', '.join(found.busy)}"
    if before.load_1min is not None and before.load_1min >= LOADED * cores:
        yield f"the load was {before.load_1min:.2f} on {cores} cores before measuring"
    if governor not in (None, "performance"):
        yield f"the frequency governor is {governor}, not performance"
    slowed = [flag for flag in before.throttled if not flag.endswith(SINCE_BOOT)]
    slowed += [flag for flag in after.throttled if flag not in before.throttled]
    if slowed:
        yield f"the processor was slowed down: {', '.join(dict.fromkeys(slowed))}"
    if before.temperature_c is not None and after.temperature_c is not None:
        warmer = after.temperature_c - before.temperature_c
        if warmer >= WARMER_C:
            yield f"the processor became {warmer:.0f} degrees warmer, {after.temperature_c:.0f}"
    if before.frequency_mhz and after.frequency_mhz:
        change = after.frequency_mhz / before.frequency_mhz - 1.0
        if abs(change) >= OTHER_FREQUENCY:
            yield (
                f"the frequency changed from {before.frequency_mhz:.0f} "
                f"to {after.frequency_mhz:.0f} MHz"
            )
    if virtual:
        yield "this is a virtual machine: others may share its cores"
    if stolen := _stolen_share(before, after, cores):
        yield f"the hypervisor gave {stolen:.1%} of the cores' time to others"


def _stolen_share(before: Condition, after: Condition, cores: int) -> float | None:
    """Return the share of the cores' time, None where it is unknown or hardly any."""
    if before.stolen_s is None or after.stolen_s is None:
        return None
    if before.uptime_s is None or after.uptime_s is None or after.uptime_s <= before.uptime_s:
        return None
    share = (after.stolen_s - before.stolen_s) / (after.uptime_s - before.uptime_s) / cores
    return share if share >= STOLEN else None
