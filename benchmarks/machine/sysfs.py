"""What the kernel tells under /sys and /proc: a file, a value."""

from __future__ import annotations

from pathlib import Path

CPUS = "sys/devices/system/cpu/cpu[0-9]*"


def read_text(path: Path) -> str | None:
    """Return what the file says, None where it is not there or does not answer."""
    try:
        return path.read_text(errors="replace").strip("\0 \n") or None
    except OSError:
        return None


def read_number(path: Path) -> float | None:
    """Return the number in the file, None where there is none."""
    try:
        return float(read_text(path) or "")
    except ValueError:
        return None


def cpuinfo(root: Path, key: str) -> list[str]:
    """Return what the cores say of a key, in their order."""
    lines = (read_text(root / "proc/cpuinfo") or "").splitlines()
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for name, _, value in pairs if name.strip() == key]
