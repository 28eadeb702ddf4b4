"""What the machine tells of itself, where it does: temperature and battery, from Linux's sysfs."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Battery(BaseModel):
    """The battery, or of several the emptiest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    percent: int = Field(ge=0, le=100)
    status: str = Field(description="as the kernel says it: Charging, Discharging, Full, ...")


def temperature_c(system: Path = Path("/")) -> float | None:
    """Return the highest temperature that is measured, in degrees Celsius; None: none is.

    Parameters
    ----------
    system
        Where `sys` lies.
    """
    found = [
        int(text) / 1000
        for zone in sorted((system / "sys/class/thermal").glob("thermal_zone*"))
        if (text := _read(zone / "temp")) is not None and text.lstrip("-").isdigit()
    ]
    return max(found, default=None)


def battery(system: Path = Path("/")) -> Battery | None:
    """Return the state of the battery, None where the system tells of none."""
    found = []
    for supply in sorted((system / "sys/class/power_supply").glob("*")):
        capacity = _read(supply / "capacity")
        # Scope: a mouse has a battery, too.
        if _read(supply / "type") != "Battery" or _read(supply / "scope") == "Device":
            continue
        if capacity is not None and capacity.isdigit() and int(capacity) <= 100:
            found.append(
                Battery(percent=int(capacity), status=_read(supply / "status") or "Unknown")
            )
    return min(found, key=lambda one: one.percent, default=None)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return None  # A sensor that is off answers with an error.
