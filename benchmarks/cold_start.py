"""One screening in a fresh process: what a unit that was just switched on does.

``python -m benchmarks.cold_start BUNDLE DELEGATE THREADS FILM`` prints the monotonic clock when the
result is there and the resident memory at that moment, that of a delegate's child process with it,
as JSON. The caller knows when it started.
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Screen one film and report."""
    from edge_runtime.bundle import load_bundle
    from edge_runtime.radiograph import read_radiograph
    from edge_runtime.screener import Screener

    bundle, delegate, threads, film = sys.argv[1:]
    screener = Screener(load_bundle(bundle), delegate, int(threads), fallback="forbid")
    screener.screen(read_radiograph(film))
    finished = time.monotonic_ns()
    # Imported when the clock has stopped. Not ru_maxrss: Linux hands it down through exec, so it is
    # never below the memory of the process that started this one.
    import psutil

    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    rss = sum(process.memory_info().rss for process in processes) / 2**20
    screener.close()
    print(json.dumps({"finished_ns": finished, "rss_mb": rss}))


if __name__ == "__main__":
    main()
