"""Made-up machines: trees of /sys and /proc, and a clock that waits for nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def tell(root: Path, files: dict[str, object]) -> Path:
    """Write what the kernel would tell under ``root``."""
    for name, value in files.items():
        path = root / name
        text = f"{value}\n"
        # Writing is slow where the tree is on a disk.
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


class Time:
    """Seconds that pass only where somebody waits; ``passing`` hears how many."""

    def __init__(self, passing: Callable[[float], None] = lambda seconds: None) -> None:
        self.now = 0.0
        self.passing = passing

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.passing(seconds)
