"""Latency, cold start and memory of a bundle on each delegate and thread count."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from benchmarks.harness import Latencies, measure, null_query_us
from edge_runtime.bundle import ModelBundle, load_bundle
from edge_runtime.delegates import find_delegate
from edge_runtime.errors import DelegateError
from edge_runtime.radiograph import read_radiograph
from edge_runtime.screener import Screener

COLD_STARTS = 3
MIN_QUERIES = 100

Row = dict[str, Any]

_FIGURES = (
    "n", "p50_ms", "p50_low_ms", "p50_high_ms", "p90_ms", "p99_ms", "max_ms", "screen_p50_ms",
    "screen_p90_ms", "warmup_ms", "cold_ms", "rss_mb", "energy_mj",
)  # fmt: skip


def benchmark(
    path: Path,
    delegates: Sequence[str],
    threads: Sequence[int],
    *,
    seconds: float,
    progress: Callable[[float], None] | None = None,
) -> tuple[list[Row], float]:
    """Measure a bundle.

    Two queries a combination: `invoke` (the model alone, on network pixels) and `screen` (display
    pixels to screening). Cold start is process start to first screening, in fresh processes.

    Parameters
    ----------
    seconds
        Least time for each query.

    Returns
    -------
    rows, harness_us
        The rows of bench.json, and what a query that does nothing costs, microseconds (median).
    """
    bundle = load_bundle(path)
    rows: list[Row] = []
    queries: dict[str, Callable[[], object]] = {}
    pixels = bundle.golden.pixels[0]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as screeners:
        # A golden vector as a film: bundles carry no other picture, and need none for this.
        film = Path(folder) / "film.png"
        cv2.imwrite(str(film), cv2.resize(pixels, (2500, 3052)))
        radiograph = read_radiograph(film)
        for delegate in delegates:
            for count in threads:
                row = _row(bundle, delegate, count)
                rows.append(row)
                found = find_delegate(delegate)
                probe, why = found.probe(), ""
                if not probe.available:
                    status, why = "unavailable", probe.reason
                elif found.member not in bundle.members:
                    status, why = "unavailable", f"the bundle holds no {found.member}"
                else:
                    # From here on it is there, and must work.
                    try:
                        screener = screeners.enter_context(
                            Screener(bundle, delegate, count, fallback="forbid")
                        )
                    except DelegateError as error:
                        status, why = "failed", error.what
                if why:
                    unmeasured = dict.fromkeys(_FIGURES, why) | row["unmeasured"]
                    row.update(status=status, reason=why, unmeasured=unmeasured)
                    continue
                key = f"{delegate}/{count}"
                queries[f"{key}/invoke"] = partial(screener.infer, pixels)
                queries[f"{key}/screen"] = partial(screener.screen, radiograph)
                row.update(status="ok", degraded=list(screener.degraded))
                try:
                    row.update(cold_start(path, delegate, count, film))
                except subprocess.CalledProcessError as error:
                    said = error.stderr.strip().splitlines()
                    why = said[-1] if said else f"exit code {error.returncode}"
                    row["unmeasured"] |= dict.fromkeys(("cold_ms", "rss_mb"), why)
        measured = measure(queries, min_seconds=seconds, min_count=MIN_QUERIES, progress=progress)
    for row in rows:
        key = f"{row['delegate']}/{row['threads']}"
        if f"{key}/invoke" in measured:
            row.update(_figures(measured[f"{key}/invoke"], measured[f"{key}/screen"]))
    return rows, null_query_us()


def _row(bundle: ModelBundle, delegate: str, threads: int) -> Row:
    """Return a row in which nothing has been measured yet: null, never left out."""
    manifest = bundle.manifest
    return {
        "bundle": f"{manifest.name} {manifest.version}",
        "synthetic": manifest.purpose == "demo",
        "variant": manifest.model.variant,
        "delegate": delegate,
        "threads": threads,
        "status": "failed",
        "reason": None,
        **dict.fromkeys(_FIGURES),
        "degraded": [],
        "unmeasured": {"energy_mj": "no energy meter is read in this version"},
    }


def _figures(invoke: Latencies, screen: Latencies) -> Row:
    median = invoke.percentile(50)
    return {
        "n": len(invoke.milliseconds),
        "p50_ms": median.value,
        "p50_low_ms": median.low,
        "p50_high_ms": median.high,
        "p90_ms": invoke.percentile(90).value,
        "p99_ms": invoke.percentile(99).value,
        "max_ms": float(invoke.milliseconds.max()),
        "screen_p50_ms": screen.percentile(50).value,
        "screen_p90_ms": screen.percentile(90).value,
        "warmup_ms": invoke.warmup_ms,
    }


def cold_start(path: Path, delegate: str, threads: int, film: Path) -> Row:
    """Return the median time and memory of first screenings in fresh processes.

    Raises
    ------
    subprocess.CalledProcessError
        One of them did not get to its result.
    """
    times, memory = [], []
    command = [sys.executable, "-m", "benchmarks.cold_start", str(path), delegate, str(threads),
               str(film)]  # fmt: skip
    for _ in range(COLD_STARTS):
        started = time.monotonic_ns()
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        answer = json.loads(result.stdout)
        times.append((answer["finished_ns"] - started) / 1e6)
        memory.append(answer["rss_mb"])
    return {"cold_ms": statistics.median(times), "rss_mb": statistics.median(memory)}
