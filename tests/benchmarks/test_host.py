"""What made-up machines say of themselves, and what there is to warn of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.machine.condition import condition
from benchmarks.machine.host import describe_host
from benchmarks.schema import Condition, Host
from tests.benchmarks.machines import Time, tell

CPU = "sys/devices/system/cpu"
QUIET = Condition(
    frequency_mhz=2400, temperature_c=50, throttled=(), load_1min=0, uptime_s=100, stolen_s=0,
    busy=(),
)  # fmt: skip


def now(root: Path) -> Condition:
    return condition(root, Time().sleep)


def stat(pid: int, name: str, parent: int, user: int, system: int = 0) -> dict[str, object]:
    fields = ["R", parent, *[0] * 9, user, system, *[0] * 30]
    return {f"proc/{pid}/stat": f"{pid} ({name}) {' '.join(map(str, fields))}"}


def warned(root: Path, before: dict[str, object], after: dict[str, object]) -> tuple[str, ...]:
    first = QUIET.model_copy(update=before)
    return describe_host(first, first.model_copy(update=after), 0.2, root).warnings


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = now(tmp_path)
    assert found == Condition(
        frequency_mhz=None, temperature_c=None, throttled=(), load_1min=None, busy=()
    )
    host = describe_host(found, found, 0.2, tmp_path)
    assert host.board is host.governor is host.energy_meter is None
    assert host.warnings == ()
    assert Host.model_validate_json(host.model_dump_json()) == host


def test_an_intel_server(tmp_path: Path) -> None:
    tell(tmp_path, {
        "proc/cpuinfo": "model name\t: Intel(R) N100\ncpu MHz\t\t: 800.000\nflags\t\t: fpu sse",
        "proc/loadavg": "0.52 0.40 0.30 1/200 4242",
        "proc/uptime": "3600.50 7000.00",
        "proc/stat": f"cpu  1 2 3 4 5 6 7 {os.sysconf('SC_CLK_TCK') * 9} 0 0\ncpu0 1 2",
        f"{CPU}/cpu0/cpufreq/scaling_cur_freq": 3399812,
        f"{CPU}/cpu1/cpufreq/scaling_cur_freq": 1200000,
        f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave",
        f"{CPU}/cpu1/cpufreq/scaling_governor": "performance",
        f"{CPU}/cpu0/thermal_throttle/core_throttle_count": 2,
        f"{CPU}/cpu1/thermal_throttle/core_throttle_count": 7,
        f"{CPU}/cpu0/thermal_throttle/package_throttle_count": 0,
        "sys/class/hwmon/hwmon0/name": "coretemp",
        "sys/class/hwmon/hwmon0/temp1_input": 61000,
        "sys/class/hwmon/hwmon0/temp2_input": 64500,
        "sys/class/hwmon/hwmon1/name": "nvme",
        "sys/class/hwmon/hwmon1/temp1_input": 90000,
        "sys/class/dmi/id/sys_vendor": "Some Vendor",
        "sys/class/dmi/id/product_name": "Mini PC",
        "sys/class/powercap/intel-rapl:0/name": "package-0",
        "sys/class/powercap/intel-rapl:0/energy_uj": 5,
    })  # fmt: skip
    found = now(tmp_path)
    assert found == Condition(
        frequency_mhz=3399.8, temperature_c=64.5, throttled=("core_throttle_count 7 since boot",),
        load_1min=0.52, uptime_s=3600.5, stolen_s=9.0, busy=(),
    )  # fmt: skip
    host = describe_host(found, found, 0.2, tmp_path)
    assert host.cpu == "Intel(R) N100"
    assert host.board == "Some Vendor Mini PC"
    assert host.governor == "performance, powersave"
    assert host.energy_meter == "RAPL package-0"
    assert host.warnings[-1] == (
        "the frequency governor is performance, powersave, not performance"
    )


RASPBERRY_PI = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0",
    "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108.00\n\nModel\t\t: Raspberry Pi 4 Model B",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": 81790,
    "sys/class/thermal/cooling_device0/type": "pwm-fan",
    "sys/class/thermal/cooling_device0/cur_state": 4,
    "sys/class/thermal/cooling_device1/type": "cpufreq-cpu0",
    "sys/class/thermal/cooling_device1/cur_state": 2,
    "sys/class/thermal/cooling_device1/max_state": 5,
}
FLAGS = ("under-voltage", "under-voltage since boot", "throttled", "throttled since boot",
         "cpufreq-cpu0 slows down by 2 of 5 steps")  # fmt: skip


@pytest.mark.parametrize("platform", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_a_raspberry_pi(tmp_path: Path, platform: str) -> None:
    flags = {f"sys/devices/platform/{platform}/get_throttled": "50005"}
    found = now(tell(tmp_path, RASPBERRY_PI | flags))
    assert found.temperature_c == 81.79
    assert found.throttled == FLAGS
    host = describe_host(found, found, 0.2, tmp_path)
    assert host.board == "Raspberry Pi 4 Model B Rev 1.5"
    assert host.warnings == (
        "the processor was slowed down: under-voltage, throttled, "
        "cpufreq-cpu0 slows down by 2 of 5 steps",
    )


def test_a_raspberry_pi_where_only_its_command_tells(tmp_path: Path) -> None:
    command = tmp_path / "usr/bin/vcgencmd"
    tell(tmp_path, RASPBERRY_PI | {"usr/bin/vcgencmd": "#!/bin/sh\necho throttled=0x50005"})
    command.chmod(0o755)
    assert now(tmp_path).throttled == FLAGS
    command.write_text("#!/bin/sh\nexit 255\n")
    assert now(tmp_path).throttled == FLAGS[-1:]


def test_busy_processes_are_others_alone(tmp_path: Path) -> None:
    second, own = os.sysconf("SC_CLK_TCK"), os.getpid()
    old = {"proc/20/cmdline": "secret", **stat(own, "python", 1, 0), **stat(20, "a b) c", 1, 900),
           **stat(21, "child", own, 0), **stat(22, "grandchild", 21, 0),
           **stat(23, "asleep", 1, 500)}  # fmt: skip
    tell(tmp_path, old)

    def passing(seconds: float) -> None:
        tell(tmp_path, {
            **stat(own, "python", 1, second),
            **stat(20, "a b) c", 1, 900 + second // 2, second // 4),
            **stat(21, "child", own, second), **stat(22, "grandchild", 21, second),
            **stat(23, "asleep", 1, 501), **stat(24, "new", 1, second // 5),
        })  # fmt: skip

    assert condition(tmp_path, Time(passing).sleep).busy == ("a b) c 0.75", "new 0.20")


CORES = os.cpu_count() or 1


@pytest.mark.parametrize(
    ("before", "after", "warning"),
    [
        ({"busy": ("make 0.98",)}, {}, "other processes were busy before measuring: make 0.98"),
        ({}, {"busy": ("make 0.98",)}, "other processes were busy after measuring: make 0.98"),
        ({"load_1min": CORES}, {}, f"the load was {CORES:.2f} on {CORES} cores before measuring"),
        ({}, {"temperature_c": 63}, "the processor became 13 degrees warmer, 63"),
        ({}, {"frequency_mhz": 1800}, "the frequency changed from 2400 to 1800 MHz"),
        ({}, {"throttled": ("core_throttle_count 3 since boot",)},
         "the processor was slowed down: core_throttle_count 3 since boot"),
        ({}, {"uptime_s": 200, "stolen_s": 20 * CORES},
         "the hypervisor gave 20.0% of the cores' time to others"),
    ],
)  # fmt: skip
def test_warnings(
    tmp_path: Path, before: dict[str, object], after: dict[str, object], warning: str
) -> None:
    harmless = {"load_1min": CORES, "temperature_c": 55, "frequency_mhz": 2450, "uptime_s": 200,
                "stolen_s": 0.1}  # fmt: skip
    assert warned(tmp_path, {}, harmless) == ()
    assert warning in warned(tmp_path, before, {**{"busy": (), **harmless}, **after})


def test_a_virtual_machine_is_said(tmp_path: Path) -> None:
    tell(tmp_path, {"proc/cpuinfo": "flags\t\t: fpu hypervisor sse"})
    (warning,) = warned(tmp_path, {}, {})
    assert warning.startswith("this is a virtual machine")


def test_this_machine() -> None:
    found = condition(sleep=Time().sleep)
    assert found.load_1min is not None and found.uptime_s is not None
    host = describe_host(found, found, 0.2)
    assert host.cpu and host.memory_mb > 100
    assert host.packages["osteoedge"]
