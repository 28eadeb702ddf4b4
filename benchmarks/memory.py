"""Resident memory of a process that screens films: before, with a film, and after many.

``python -m benchmarks.memory BUNDLE FILM SCREENINGS`` prints MiB as JSON: `before_mb` with the
bundle loaded, `film_mb` with one film read, screened and still held, `peak_mb` up to there, and
`growth_mb`, which SCREENINGS more films add to what a tenth of them left.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil

from edge_runtime.bundle import load_bundle
from edge_runtime.radiograph import read_radiograph
from edge_runtime.reports.document import screening_json
from edge_runtime.screener import Screener


def main() -> None:
    """Screen, and report."""
    bundle, film, screenings = sys.argv[1], sys.argv[2], int(sys.argv[3])
    screener = Screener(load_bundle(bundle))
    before = _resident()
    radiograph = read_radiograph(film)
    screener.screen(radiograph)
    answer = {"before_mb": before, "film_mb": _resident(), "peak_mb": peak_mb()}
    del radiograph

    def screen(count: int) -> None:
        for _ in range(count):
            screening_json(screener.screen(read_radiograph(film)))

    # What allocators and interned strings settle at is no leak.
    screen(screenings // 10)
    settled = _resident()
    screen(screenings)
    print(json.dumps({**answer, "growth_mb": _resident() - settled}))


def _resident() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20


def peak_mb(process: int | str = "self") -> float | None:
    """Return the highest resident memory since a program started, None where nobody counts it.

    Not ru_maxrss: Linux hands that down through exec from the process that started this one.

    Parameters
    ----------
    process
        Its number.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
    return None if line is None else int(line.split()[1]) / 2**10


if __name__ == "__main__":
    main()
