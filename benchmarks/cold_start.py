"""One screening in a fresh process: what a unit that was just switched on does.

``python -m benchmarks.cold_start BUNDLE DELEGATE THREADS FILM [LIBRARY [KEY=VALUE ...]]`` prints as
JSON the monotonic clock when the result is there, and of this process and a delegate's child the
resident memory at that moment and the highest until then. The caller knows when it started.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main() -> None:
    """Screen one film and report."""
    from edge_runtime.bundle import load_bundle
    from edge_runtime.radiograph import read_radiograph
    from edge_runtime.screener import Screener

    bundle, delegate, threads, film, *external = sys.argv[1:]
    screener = Screener(
        load_bundle(bundle),
        delegate,
        int(threads),
        fallback="forbid",
        external_delegate=Path(external[0]) if external else None,
        external_options=dict(option.split("=", 1) for option in external[1:]),
    )
    screener.screen(read_radiograph(film))
    finished = time.monotonic_ns()
    # Imported when the clock has stopped.
    import psutil

    from benchmarks.memory import peak_mb

    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    rss = sum(process.memory_info().rss for process in processes) / 2**20
    answer = {"finished_ns": finished, "rss_mb": rss}
    # Each has its highest at a moment of its own: together they never held more than this.
    peaks = [peak for process in processes if (peak := peak_mb(process.pid)) is not None]
    if len(peaks) == len(processes):
        answer["peak_mb"] = sum(peaks)
    screener.close()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
