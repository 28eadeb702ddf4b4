"""One screening in a fresh process: what a unit that was just switched on does.

``python -m benchmarks.cold_start BUNDLE DELEGATE THREADS FILM`` prints the monotonic clock when the
result is there and the resident memory at that moment, as JSON. The caller knows when it started.
"""

from __future__ import annotations

import json
import resource
import sys
import time


def main() -> None:
    """Screen one film and report."""
    from edge_runtime.bundle import load_bundle
    from edge_runtime.radiograph import read_radiograph
    from edge_runtime.screener import Screener

    bundle, delegate, threads, film = sys.argv[1:]
    Screener(load_bundle(bundle), delegate, int(threads)).screen(read_radiograph(film))
    finished = time.monotonic_ns()
    # Linux counts in kibibytes, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(json.dumps({"finished_ns": finished, "rss_mb": peak}))


if __name__ == "__main__":
    main()
