"""Energy of a query, where the machine tells: RAPL, hwmon, or a battery that is being emptied.

A meter counts what a part of the machine takes, whoever makes it: that part at rest is subtracted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from benchmarks.harness import Query
from benchmarks.machine.sysfs import read_number, read_text

Seconds = Callable[[], float]
Sleep = Callable[[float], None]

# Chips that count what others than the processor take.
_OF_OTHERS = ("amdgpu", "radeon", "nouveau", "i915", "xe")
# What boards call the sensor before all others.
_OF_THE_BOARD = ("vdd_in", "pom_5v_in", "vin", "vbus", "total", "sys", "board", "input")
_HWMON_SETTLES_S = 1.0  # sensors average over conversions
_GAUGE_SETTLES_S = 30.0  # fuel gauges report every few seconds, some twice a minute

_READ_EVERY_S = 0.1
_LONGEST_STEP_S = 2.0
# What is left after idle was subtracted, over a meter's step and over the baseline's error.
_STEPS, _BASELINE_ERRORS = 20, 5


@dataclass(frozen=True)
class Unavailable:
    """No energy, and why not."""

    reason: str


class Meter(Protocol):
    """What counts energy.

    Attributes
    ----------
    name
        What it is, and what it counts.
    settles_s
        How long it may take until it tells a change of power, seconds.
    """

    name: str
    settles_s: float

    def joules(self) -> float:
        """Return the energy since the first call; at least ten calls a second are expected."""
        ...


class Counter:
    """A meter made of counters of microjoules, which may start anew from zero.

    Parameters
    ----------
    counters
        Files that count, each with the number at which it starts anew; None: it never does.
    """

    settles_s = 0.0

    def __init__(self, name: str, counters: Sequence[tuple[Path, float | None]]) -> None:
        self.name = name
        self._counters = counters
        self._last: list[float] = []
        self._joules = 0.0

    def joules(self) -> float:
        """Return the energy since the first call.

        Raises
        ------
        OSError, ValueError
            A counter does not answer.
        """
        now = [float(path.read_text()) for path, _ in self._counters]
        for after, before, (path, range_) in zip(now, self._last, self._counters, strict=False):
            if after < before and range_ is None:
                raise ValueError(f"{path} counts backwards")
            self._joules += (after - before + (range_ or 0.0) * (after < before)) / 1e6
        self._last = now
        return self._joules


class PowerSensor:
    """A meter made of a sensor of power: trapezia between readings, which wait for a query's end.

    Parameters
    ----------
    watts
        Reads the sensor.
    clock
        Monotonic, seconds.
    """

    def __init__(
        self, name: str, watts: Callable[[], float], settles_s: float, clock: Seconds
    ) -> None:
        self.name = name
        self.settles_s = settles_s
        self._watts = watts
        self._clock = clock
        self._last: tuple[float, float] | None = None
        self._joules = 0.0

    def joules(self) -> float:
        """Return the energy since the first call.

        Raises
        ------
        OSError, ValueError
            The sensor does not answer.
        """
        watts, now = self._watts(), self._clock()
        if self._last is not None:
            before, then = self._last
            self._joules += (watts + before) / 2 * (now - then)
        self._last = watts, now
        return self._joules


def find_meter(root: Path = Path("/"), clock: Seconds = time.monotonic) -> Meter | Unavailable:
    """Return the meter that is nearest to the processor, or why there is none.

    Parameters
    ----------
    root
        Where ``sys`` is.
    clock
        Monotonic, seconds.
    """
    reasons = []
    for find in (_rapl, _hwmon_energy, partial(_hwmon_power, clock=clock),
                 partial(_battery, clock=clock)):  # fmt: skip
        found = find(root)
        if isinstance(found, Unavailable):
            reasons.append(found.reason)
        elif found is not None:
            return found
    return Unavailable("; ".join(reasons) or "neither RAPL, hwmon nor a battery tells energy here")


def measure_energy(
    meter: Meter,
    query: Query,
    *,
    seconds: float,
    idle_seconds: float,
    clock: Seconds = time.monotonic,
    sleep: Sleep = time.sleep,
) -> float | Unavailable:
    """Return millijoules a query, what the machine takes at rest subtracted.

    Rest, queries, rest: the baseline is the mean of both, and their difference says how well it is
    known. What is left must be worth twenty of the meter's steps and five times the baseline's
    error, or there is no figure.

    Parameters
    ----------
    seconds, idle_seconds
        How long queries are asked, and how long each rest lasts; the meter settles before each.
    clock, sleep
        Monotonic, seconds.
    """
    rest = partial(sleep, _READ_EVERY_S / 2)
    try:
        step = _step(meter, clock, sleep)
        if step is None:
            return Unavailable(f"{meter.name}: it stood still for {_LONGEST_STEP_S:g} s")
        before = _spend(meter, rest, idle_seconds, clock)
        busy = _spend(meter, query, seconds, clock)
        after = _spend(meter, rest, idle_seconds, clock)
    except (OSError, ValueError) as error:
        return Unavailable(f"{meter.name} stopped answering: {error}")
    excess = busy.joules - (before.watts + after.watts) / 2 * busy.seconds
    baseline_error = abs(before.watts - after.watts) / 2 * busy.seconds
    if excess < _BASELINE_ERRORS * baseline_error or excess <= 0.0:
        return Unavailable(
            f"{meter.name}: {busy.watts:.3g} W with queries cannot be told from "
            f"{before.watts:.3g} W and {after.watts:.3g} W at rest before and after them"
        )
    if excess < _STEPS * step:
        return Unavailable(
            f"{meter.name}: {excess:.3g} J are too few for steps of {step:.3g} J; measure longer"
        )
    return 1e3 * excess / busy.count


@dataclass(frozen=True)
class _Spent:
    joules: float
    seconds: float
    count: int

    @property
    def watts(self) -> float:
        return self.joules / self.seconds


def _spend(meter: Meter, do: Query, seconds: float, clock: Seconds) -> _Spent:
    """Do something until the meter has settled, then for so long again, and count that."""
    settled = clock() + meter.settles_s
    while clock() < settled:
        do()
    joules = meter.joules()
    began = read = now = clock()
    count = 0
    while now - began < seconds:
        do()
        count += 1
        now = clock()
        if now - read >= _READ_EVERY_S:
            meter.joules()
            read = now
    return _Spent(meter.joules() - joules, clock() - began, count)


def _step(meter: Meter, clock: Seconds, sleep: Sleep) -> float | None:
    """Return how much the meter counts at a time, joules; None where it stands still."""
    # Of two changes: the first shows when a step begins.
    last, changes = meter.joules(), 0
    ends, wait = clock() + _LONGEST_STEP_S, 0.0005
    while clock() < ends:
        sleep(wait)
        now = meter.joules()
        if now != last:
            changes += 1
            if changes == 2:
                return now - last
            last = now
        wait = min(1.2 * wait, _READ_EVERY_S)
    return None


def _rapl(root: Path) -> Meter | Unavailable | None:
    """Find Intel's and AMD's counters, of packages and of the memory beside them.

    Not of ``core`` and ``uncore``, which are in the package's, nor of ``psys``, in which packages
    are. https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
    """
    counters, names = [], []
    # The same package may be there a second time, read over another bus.
    for kind in ("intel-rapl", "intel-rapl-mmio"):
        for zone in sorted(root.glob(f"sys/class/powercap/{kind}:*")):
            name = read_text(zone / "name") or ""
            if not name.startswith("package") and name != "dram":
                continue
            try:
                float((zone / "energy_uj").read_text())
            except PermissionError:
                return Unavailable(
                    "RAPL is for root alone: "
                    "sudo chmod a+r /sys/class/powercap/intel-rapl*:*/energy_uj"
                )
            except (OSError, ValueError):
                continue
            counters.append((zone / "energy_uj", read_number(zone / "max_energy_range_uj")))
            names.append(name)
        if counters:
            return Counter(f"RAPL {', '.join(dict.fromkeys(names))}", counters)
    return None


def _hwmon(root: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """Yield sensors, each with the chip and what the board calls it."""
    batteries = {path.name for path in root.glob("sys/class/power_supply/*")}
    for sensor in sorted(root.glob(f"sys/class/hwmon/hwmon*/{pattern}")):
        chip = read_text(sensor.with_name("name")) or sensor.parent.name
        if chip not in batteries and chip not in _OF_OTHERS and read_number(sensor) is not None:
            label = read_text(sensor.with_name(sensor.name.replace("_input", "_label")))
            yield f"{chip} {label or sensor.name.removesuffix('_input')}", sensor


def _hwmon_energy(root: Path) -> Meter | Unavailable | None:
    found = list(_hwmon(root, "energy*_input"))
    # The driver of AMD's servers counts cores, and sockets in which they are.
    chosen = [one for one in found if one[0].rpartition(" ")[2].startswith("Esocket")] or found
    if len(chosen) > 1 and chosen is found:
        return _ambiguous("count energy", found)
    if not chosen:
        return None
    names = ", ".join(name for name, _ in chosen)
    return Counter(f"hwmon {names}", [(sensor, None) for _, sensor in chosen])


def _hwmon_power(root: Path, clock: Seconds) -> Meter | Unavailable | None:
    found = list(_hwmon(root, "power*_input"))
    chosen = [one for one in found if one[0].rpartition(" ")[2].lower() in _OF_THE_BOARD] or found
    if len(chosen) > 1:
        return _ambiguous("tell power", chosen)
    if not chosen:
        return None
    ((name, sensor),) = chosen
    return PowerSensor(f"hwmon {name}", lambda: _number(sensor) / 1e6, _HWMON_SETTLES_S, clock)


def _ambiguous(what: str, found: Sequence[tuple[str, Path]]) -> Unavailable:
    names = ", ".join(name for name, _ in found)
    return Unavailable(f"several hwmon sensors {what}, and none is known to be the whole: {names}")


def _battery(root: Path, clock: Seconds) -> Meter | Unavailable | None:
    """Find the batteries that the machine runs on; a mouse's has the scope Device."""
    batteries = [
        supply
        for supply in sorted(root.glob("sys/class/power_supply/*"))
        if read_text(supply / "type") == "Battery" and read_text(supply / "scope") != "Device"
    ]
    if not batteries:
        return None
    emptied = [one for one in batteries if read_text(one / "status") == "Discharging"]
    if not emptied:
        said = ", ".join(f"{one.name} is {read_text(one / 'status')}" for one in batteries)
        return Unavailable(f"the mains feed this machine ({said}): unplug it")
    try:
        sum(map(_battery_watts, emptied))
    except (OSError, ValueError):
        return Unavailable(f"{', '.join(one.name for one in emptied)} tells no power")
    names = ", ".join(one.name for one in emptied)
    return PowerSensor(
        f"battery {names}, the whole machine",
        lambda: sum(map(_battery_watts, emptied)),
        _GAUGE_SETTLES_S,
        clock,
    )


def _battery_watts(supply: Path) -> float:
    """Return a battery's power; some drivers say of one that is emptied that it is negative."""
    if (supply / "power_now").exists():
        return abs(_number(supply / "power_now")) / 1e6
    return abs(_number(supply / "voltage_now") * _number(supply / "current_now")) / 1e12


def _number(path: Path) -> float:
    return float(path.read_text())
