"""In which condition the machine is: what may change while one measures."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine.sysfs import CPUS, cpuinfo, read_number, read_text
from benchmarks.schema import Condition

BUSY = 0.1  # of a core
SINCE_BOOT = " since boot"

# Thermal zones and hwmon chips that measure the processor, by parts of their names.
_OF_PROCESSORS = ("cpu", "soc", "pkg", "coretemp", "k10temp", "zenpower")
# Cooling devices that cool by slowing down. A fan is none.
_SLOWING = ("processor", "cpufreq", "thermal-cpufreq", "thermal-idle", "intel_powerclamp")
# Bits of the firmware's answer, and 16 higher whether it was ever so:
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_RASPBERRY_PI = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
_TICKS = os.sysconf("SC_CLK_TCK")


def condition(root: Path = Path("/"), sleep: Callable[[float], None] = time.sleep) -> Condition:
    """Return what the machine is like at this moment; takes a second.

    Parameters
    ----------
    root
        Where ``sys``, ``proc`` and ``usr`` are.
    sleep
        Waits so many seconds, while other processes are watched. Not seen are those that live
        shorter than that, other than by the load.
    """
    # First: a moment ago this process was computing, and a governor that saves power slows down
    # a core at rest.
    frequency = _frequency(root)
    before = {process.pid: process.ticks for process in _processes(root)}
    sleep(1.0)
    processes = list(_processes(root))
    own = _with_children(os.getpid(), processes)
    shares = {
        process: (process.ticks - before.get(process.pid, 0)) / _TICKS
        for process in processes
        if process.pid not in own
    }
    return Condition(
        frequency_mhz=frequency,
        temperature_c=max(_temperatures(root), default=None),
        throttled=tuple(_throttled(root)),
        load_1min=_first_of(root / "proc/loadavg"),
        uptime_s=_first_of(root / "proc/uptime"),
        stolen_s=_stolen(root),
        busy=tuple(
            f"{process.name} {share:.2f}"
            for process, share in sorted(shares.items(), key=lambda one: -one[1])
            if share >= BUSY
        ),
    )


@dataclass(frozen=True)
class _Process:
    pid: int
    name: str
    parent: int
    ticks: int


def _processes(root: Path) -> Iterator[_Process]:
    for path in root.glob("proc/[0-9]*/stat"):
        # A process may end meanwhile. Its name is in brackets, and may hold some.
        pid, _, rest = (read_text(path) or "").partition(" (")
        name, found, fields = rest.rpartition(") ")
        if found:
            columns = fields.split()
            ticks = int(columns[11]) + int(columns[12])
            yield _Process(int(pid), name, int(columns[1]), ticks)


def _with_children(pid: int, processes: Sequence[_Process]) -> set[int]:
    family, grown = {pid}, True
    while grown:
        children = {one.pid for one in processes if one.parent in family} - family
        family |= children
        grown = bool(children)
    return family


def _frequency(root: Path) -> float | None:
    """Return the fastest core's, MHz."""
    told = map(read_number, root.glob(CPUS + "/cpufreq/scaling_cur_freq"))
    found = [kilohertz / 1e3 for kilohertz in told if kilohertz]
    found = found or [float(value) for value in cpuinfo(root, "cpu MHz")]
    return round(max(found), 1) if found else None


def _temperatures(root: Path) -> Iterator[float]:
    """Yield what the processor's sensors tell, degrees Celsius."""
    for kind, names, values in (
        ("hwmon/hwmon*", "name", "temp*_input"),
        ("thermal/thermal_zone*", "type", "temp"),
    ):
        for sensor in root.glob(f"sys/class/{kind}"):
            name = (read_text(sensor / names) or "").lower()
            if any(part in name for part in _OF_PROCESSORS):
                for path in sensor.glob(values):
                    if (millidegrees := read_number(path)) is not None:
                        yield millidegrees / 1e3


def _throttled(root: Path) -> Iterator[str]:
    """Yield what says that the processor is, or was, slowed down."""
    for counter in ("core_throttle_count", "package_throttle_count"):
        counts = map(read_number, root.glob(f"{CPUS}/thermal_throttle/{counter}"))
        if most := max((count or 0 for count in counts), default=0):
            yield f"{counter} {most:.0f}{SINCE_BOOT}"
    flags = _raspberry_pi(root)
    for bit, name in enumerate(_RASPBERRY_PI):
        if flags >> bit & 1:
            yield name
        if flags >> (bit + 16) & 1:
            yield name + SINCE_BOOT
    for device in sorted(root.glob("sys/class/thermal/cooling_device*")):
        kind, state = read_text(device / "type") or "", read_number(device / "cur_state")
        if kind.lower().startswith(_SLOWING) and state and state > 0:
            yield f"{kind} slows down by {state:.0f} of {read_text(device / 'max_state')} steps"


def _raspberry_pi(root: Path) -> int:
    """Return the flags of the Raspberry Pi's firmware; 0 on other boards."""
    for path in root.glob("sys/devices/platform/soc*/soc*:firmware/get_throttled"):
        if said := read_text(path):
            return int(said, 16)
    command = root / "usr/bin/vcgencmd"
    try:
        answer = subprocess.run(
            [command, "get_throttled"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
        return int(answer.strip().partition("=")[2], 16)
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def _stolen(root: Path) -> float | None:
    """Return the seconds of all cores together that the hypervisor gave to others."""
    columns = (read_text(root / "proc/stat") or "").partition("\n")[0].split()
    return int(columns[8]) / _TICKS if len(columns) > 8 else None


def _first_of(path: Path) -> float | None:
    columns = (read_text(path) or "").split()
    return float(columns[0]) if columns else None
