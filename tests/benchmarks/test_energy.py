"""Meters on made-up machines, and the energy of a query that is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.machine.energy import Meter, Unavailable, find_meter, measure_energy
from tests.benchmarks.machines import Time, tell

RAPL = "sys/class/powercap/intel-rapl:0"
IDLE_W, BUSY_W, QUERY_S = 5.0, 17.0, 0.04
QUERY_MJ = (BUSY_W - IDLE_W) * QUERY_S * 1e3


class Machine:
    """One whose power depends on whether it rests, told by files that ``write`` updates."""

    def __init__(self, root: Path, write: Callable[[Machine], None]) -> None:
        self.root = root
        self.microjoules = 0.0
        self.watts = IDLE_W
        self.time = Time(self._passes)
        self._write = write
        write(self)

    def _passes(self, seconds: float) -> None:
        self.microjoules += self.watts * seconds * 1e6
        self._write(self)

    def query(self) -> None:
        self.watts = BUSY_W
        self.time.sleep(QUERY_S)
        self.watts = IDLE_W

    def measure(self) -> float | Unavailable:
        meter = find_meter(self.root, self.time.clock)
        assert not isinstance(meter, Unavailable), meter.reason
        return measure_energy(meter, self.query, seconds=2.0, idle_seconds=1.0,
                              clock=self.time.clock, sleep=self.time.sleep)  # fmt: skip


def found(root: Path) -> Meter:
    meter = find_meter(root)
    assert not isinstance(meter, Unavailable), meter.reason
    return meter


def refused(root: Path) -> str:
    meter = find_meter(root)
    assert isinstance(meter, Unavailable)
    return meter.reason


def rapl(root: Path, name: str, microjoules: float, zone: str = "intel-rapl:0") -> None:
    folder = f"sys/class/powercap/{zone}"
    tell(root, {f"{folder}/name": name, f"{folder}/energy_uj": int(microjoules),
                f"{folder}/max_energy_range_uj": 262143328850})  # fmt: skip


def test_a_counter_tells_the_energy_of_a_query_without_that_of_rest(tmp_path: Path) -> None:
    machine = Machine(tmp_path, lambda m: rapl(m.root, "package-0", m.microjoules))
    assert machine.measure() == pytest.approx(QUERY_MJ, rel=0.01)


def test_a_counter_that_starts_anew_meanwhile(tmp_path: Path) -> None:
    range_ = 30e6  # so many microjoules that it happens with queries, and not at rest

    def write(machine: Machine) -> None:
        rapl(machine.root, "package-0", (machine.microjoules + 5e6) % range_)
        tell(machine.root, {f"{RAPL}/max_energy_range_uj": int(range_)})

    machine = Machine(tmp_path, write)
    assert machine.measure() == pytest.approx(QUERY_MJ, rel=0.01)
    assert machine.microjoules > range_


def test_packages_and_their_memory_are_added_up_and_parts_of_them_are_not(tmp_path: Path) -> None:
    zones = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram",
             "intel-rapl:1": "package-1", "intel-rapl:2": "psys",
             "intel-rapl-mmio:0": "package-0"}  # fmt: skip
    for zone, name in zones.items():
        rapl(tmp_path, name, 1e6, zone)
    meter = found(tmp_path)
    assert meter.name == "RAPL package-0, dram, package-1"
    assert meter.joules() == 0.0
    for zone, name in zones.items():
        rapl(tmp_path, name, 3e6, zone)
    assert meter.joules() == pytest.approx(3 * 2.0)


def test_counters_for_root_alone_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rapl(tmp_path, "package-0", 1)
    read = Path.read_text

    def refuse(path: Path, *args: object, **kwargs: object) -> str:
        if path.name == "energy_uj":
            raise PermissionError(path)
        return read(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refuse)
    assert refused(tmp_path).startswith("RAPL is for root alone: sudo chmod a+r ")
    tell(tmp_path, {"sys/class/hwmon/hwmon0/name": "ina226",
                    "sys/class/hwmon/hwmon0/power1_input": 4_000_000})  # fmt: skip
    assert found(tmp_path).name == "hwmon ina226 power1", "another meter is as good"


def test_a_power_sensor_on_the_board(tmp_path: Path) -> None:
    def write(machine: Machine) -> None:
        tell(machine.root, {
            "sys/class/hwmon/hwmon1/name": "ina3221",
            "sys/class/hwmon/hwmon1/power1_label": "VDD_CPU",
            "sys/class/hwmon/hwmon1/power1_input": 1,
            "sys/class/hwmon/hwmon1/power2_label": "VDD_IN",
            "sys/class/hwmon/hwmon1/power2_input": int(machine.watts * 1e6),
        })  # fmt: skip

    machine = Machine(tmp_path, write)
    assert found(tmp_path).name == "hwmon ina3221 VDD_IN"
    assert machine.measure() == pytest.approx(QUERY_MJ, rel=0.05)


def test_sockets_are_counted_and_not_also_their_cores(tmp_path: Path) -> None:
    chip = "sys/class/hwmon/hwmon0"
    tell(tmp_path, {f"{chip}/name": "amd_energy", f"{chip}/energy1_label": "Ecore000",
                    f"{chip}/energy1_input": 5, f"{chip}/energy2_label": "Esocket0",
                    f"{chip}/energy2_input": 7})  # fmt: skip
    meter = found(tmp_path)
    assert meter.name == "hwmon amd_energy Esocket0"
    meter.joules()
    tell(tmp_path, {f"{chip}/energy1_input": 9_000_000, f"{chip}/energy2_input": 1_000_007})
    assert meter.joules() == pytest.approx(1.0)


def test_sensors_that_overlap_or_belong_to_others_are_not_guessed_at(tmp_path: Path) -> None:
    tell(tmp_path, {"sys/class/hwmon/hwmon0/name": "amdgpu",
                    "sys/class/hwmon/hwmon0/power1_input": 1,
                    "sys/class/hwmon/hwmon1/name": "BAT0",
                    "sys/class/hwmon/hwmon1/power1_input": 1,
                    "sys/class/power_supply/BAT0/type": "Mains"})  # fmt: skip
    assert refused(tmp_path) == "neither RAPL, hwmon nor a battery tells energy here"
    tell(tmp_path, {"sys/class/hwmon/hwmon2/name": "ina3221",
                    "sys/class/hwmon/hwmon2/power1_label": "rail A",
                    "sys/class/hwmon/hwmon2/power1_input": 1,
                    "sys/class/hwmon/hwmon2/power2_input": 1})  # fmt: skip
    assert refused(tmp_path) == (
        "several hwmon sensors tell power, and none is known to be the whole: "
        "ina3221 rail A, ina3221 power2"
    )


@pytest.mark.parametrize("told", ["power_now", "current_now"])
def test_a_battery_that_is_emptied(tmp_path: Path, told: str) -> None:
    battery = "sys/class/power_supply/BAT0"

    def write(machine: Machine) -> None:
        watts = {"power_now": {"power_now": int(machine.watts * 1e6)},
                 "current_now": {"voltage_now": 12_000_000,
                                 "current_now": int(-machine.watts / 12 * 1e6)}}  # fmt: skip
        files = {"type": "Battery", "status": "Discharging", **watts[told]}
        tell(machine.root, {f"{battery}/{name}": value for name, value in files.items()})

    machine = Machine(tmp_path, write)
    assert found(tmp_path).name == "battery BAT0, the whole machine"
    assert machine.measure() == pytest.approx(QUERY_MJ, rel=0.05)
    assert machine.time.now > 90, "three times until the gauge has settled"


def test_a_battery_that_is_charged_tells_nothing(tmp_path: Path) -> None:
    battery = "sys/class/power_supply/BAT0"
    tell(tmp_path, {f"{battery}/type": "Battery", f"{battery}/status": "Charging",
                    f"{battery}/power_now": 9,
                    "sys/class/power_supply/mouse/type": "Battery",
                    "sys/class/power_supply/mouse/scope": "Device",
                    "sys/class/power_supply/mouse/status": "Discharging"})  # fmt: skip
    assert refused(tmp_path) == "the mains feed this machine (BAT0 is Charging): unplug it"
    tell(tmp_path, {f"{battery}/status": "Discharging", f"{battery}/power_now": ""})
    assert refused(tmp_path) == "BAT0 tells no power"


def test_what_cannot_be_told_from_rest_is_no_figure(tmp_path: Path) -> None:
    machine = Machine(tmp_path, lambda m: rapl(m.root, "package-0", m.microjoules))
    passes = machine.time.passing

    def restless(seconds: float) -> None:
        machine.watts += 20.0 * (machine.time.now > 3.5)  # something else begins to compute
        passes(seconds)

    machine.time.passing = restless
    answer = machine.measure()
    assert isinstance(answer, Unavailable)
    assert "cannot be told from" in answer.reason


def test_a_query_that_takes_less_than_a_rest_is_no_figure(tmp_path: Path) -> None:
    machine = Machine(tmp_path, lambda m: rapl(m.root, "package-0", m.microjoules))
    machine.query = lambda: machine.time.sleep(QUERY_S)  # type: ignore[method-assign]
    answer = machine.measure()
    assert isinstance(answer, Unavailable)
    assert "RAPL package-0: 5 W with queries cannot be told from 5 W" in answer.reason


def test_a_counter_with_steps_too_coarse(tmp_path: Path) -> None:
    machine = Machine(tmp_path, lambda m: rapl(m.root, "package-0", m.microjoules // 4e6 * 4e6))
    answer = machine.measure()
    assert isinstance(answer, Unavailable)
    assert "steps of 4 J" in answer.reason


def test_a_counter_that_stands_still_as_in_virtual_machines(tmp_path: Path) -> None:
    machine = Machine(tmp_path, lambda m: rapl(m.root, "package-0", 0))
    answer = machine.measure()
    assert answer == Unavailable("RAPL package-0: it stood still for 2 s")


def test_a_meter_that_is_taken_away(tmp_path: Path) -> None:
    machine = Machine(tmp_path, lambda m: rapl(m.root, "package-0", m.microjoules))
    passes = machine.time.passing

    def unplugged(seconds: float) -> None:
        passes(seconds)
        if machine.time.now > 2:
            (tmp_path / RAPL / "energy_uj").unlink()

    machine.time.passing = unplugged
    answer = machine.measure()
    assert isinstance(answer, Unavailable)
    assert answer.reason.startswith("RAPL package-0 stopped answering: ")
