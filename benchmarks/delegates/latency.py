"""The rows of bench.json: each model on each delegate with each number of threads, in one run."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import cv2

from benchmarks.delegates.accuracy import measure_accuracy
from benchmarks.delegates.models import BundledModel, Model, open_models
from benchmarks.delegates.systems import Place, Unit, What
from benchmarks.delegates.trial import BrokenTrialError, Trial
from benchmarks.harness import measure, null_query_us, ratio
from benchmarks.machine.energy import Meter, Unavailable, find_meter, measure_energy
from benchmarks.schema import Interval, Ratio, Row
from edge_runtime.errors import DelegateError

if TYPE_CHECKING:
    from train.dataset.schema import Dataset

COLD_STARTS = 3
# From 368 independent queries on, a p99 has an upper end. A film takes longer, and has no p99 here.
LEAST: Mapping[What, int] = {"invoke": 400, "screen": 100}
# A detector's columns and rows.
_FILM = (2500, 3052)
_IDLE_SECONDS = 2.0

Progress = Callable[[float], None]


def benchmark(
    models: Sequence[Path],
    delegates: Sequence[str],
    threads: Sequence[int],
    *,
    seconds: float,
    dataset: Path | None = None,
    where: str = "",
    library: Path | None = None,
    options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[Row, ...], tuple[Ratio, ...], float]:
    """Measure models.

    Two queries of each: `invoke`, the network alone, and of a bundle `screen`, display pixels to
    screening. All take turns in one run. What is loaded once is timed, answers the dataset, and is
    then held against the golden vectors: a fast wrong delegate has failed. Cold start is process
    start to first screening, in processes of its own.

    Parameters
    ----------
    models
        Bundles, and float networks as .tflite.
    seconds
        Least time for each query.
    dataset, where
        A dataset folder, and which of its films, for the accuracy; None: it is not measured.
    library, options
        Of the delegate `external`.
    progress
        Called with the share that is done, 0..1.

    Returns
    -------
    rows, ratios, harness_us
        Ratios are to the first row that counts. What a query that does nothing costs, microseconds
        (median).

    Raises
    ------
    BundleError, ModelError, ConfigError
        A model cannot be opened, or two would have the same rows.
    DatasetError
        The dataset cannot be opened.
    """
    films = None if dataset is None else _open_dataset(dataset, where)
    opened = open_models(models)
    trials = [
        Trial(model, Place(delegate, count, library, options or {}))
        for model in opened
        for delegate in delegates
        for count in threads
    ]
    meter = find_meter()
    harness_us = null_query_us()
    # Where loading, both kinds of queries, and what comes after them end.
    ends = (0.2, 0.6, 0.9, 1.0) if films is None else (0.1, 0.3, 0.45, 1.0)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as loaded:
        film = Path(folder) / "film.png"
        _write_film(film, opened)
        for number, trial in enumerate(trials):
            trial.load(film, loaded)
            _start_cold(trial, film)
            _part(progress, 0.0, ends[0])((number + 1) / len(trials))
        _time(trials, "invoke", seconds, _part(progress, ends[0], ends[1]))
        _time(trials, "screen", seconds, _part(progress, ends[1], ends[2]))
        last = _part(progress, ends[2], ends[3])
        for number, trial in enumerate(trials):
            answering = _part(last, number / len(trials), (number + 1) / len(trials))
            _look(trial, films, where, meter, seconds, answering)
            answering(1.0)
    rows = tuple(trial.row() for trial in trials)
    counted = [(row, trial) for row, trial in zip(rows, trials, strict=True) if row.ranked]
    return rows, _ratios(counted), harness_us


def _open_dataset(folder: Path, where: str) -> Dataset:
    # The workstation's; a unit that only measures latencies has none of it.
    from train.dataset.schema import load_dataset

    return load_dataset(folder).select(where or None)


def _write_film(path: Path, models: Sequence[Model]) -> None:
    """Write a golden vector as a film: bundles carry no other picture, and need none for this."""
    for model in models:
        if isinstance(model, BundledModel):
            cv2.imwrite(str(path), cv2.resize(model.bundle.golden.pixels[0], _FILM))
            return


def _start_cold(trial: Trial, film: Path) -> None:
    if not isinstance(trial.model, BundledModel) or trial.system is None:
        return
    place = trial.place
    try:
        found = cold_start(
            trial.model.path, place.delegate, place.threads, film, place.library, place.options
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines()
        why = said[-1] if said else f"exit code {error.returncode}"
        trial.without(dict.fromkeys(("cold_ms", "rss_mb", "peak_mb"), why))
        return
    trial.state(**found)
    if "peak_mb" not in found:
        trial.without({"peak_mb": "the system does not count it"})


def cold_start(
    bundle: Path,
    delegate: str,
    threads: int,
    film: Path,
    library: Path | None = None,
    options: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Return medians of first screenings in fresh processes.

    Parameters
    ----------
    library, options
        Of the delegate `external`.

    Returns
    -------
    dict
        `cold_ms`, from the start of the process to its first result; of this process and that of
        the delegate, MiB, `rss_mb` then and `peak_mb` until then, where the system counts it.

    Raises
    ------
    subprocess.CalledProcessError
        One of them did not get to its result.
    """
    named = [] if library is None else [str(library)]
    named += [f"{key}={value}" for key, value in (options or {}).items()]
    command = [sys.executable, "-m", "benchmarks.cold_start", str(bundle), delegate, str(threads),
               str(film), *named]  # fmt: skip
    found: list[dict[str, float]] = []
    for _ in range(COLD_STARTS):
        started = time.monotonic_ns()
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        answer = json.loads(result.stdout)
        answer["cold_ms"] = (answer.pop("finished_ns") - started) / 1e6
        found.append(answer)
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def _time(trials: Sequence[Trial], what: What, seconds: float, progress: Progress) -> None:
    """Ask all that can be asked, in turns; once more without one that fails on the way."""
    while True:
        asked = {
            str(number): trial
            for number, trial in enumerate(trials)
            if trial.system is not None and what in trial.system.queries
        }
        try:
            found = measure(
                {name: trial.query(what) for name, trial in asked.items()},
                min_seconds=seconds,
                min_count=LEAST[what],
                progress=progress,
            )
        except BrokenTrialError as error:
            error.trial.fail(f"while it was timed, {error.why}")
            continue
        for name, latencies in found.items():
            asked[name].times[what] = latencies
        return


def _look(
    trial: Trial,
    dataset: Dataset | None,
    where: str,
    meter: Meter | Unavailable,
    seconds: float,
    progress: Progress,
) -> None:
    """Take from a system that was timed what it answers, and what that is worth."""
    system = trial.system
    if system is None:
        return
    try:
        if isinstance(system, Unit):
            if dataset is None:
                trial.without({"accuracy": "no dataset was given"})
            else:
                trial.state(accuracy=measure_accuracy(system.screener, dataset, where, progress))
            _take_energy(trial, system, meter, seconds)
        verdict = system.judge(trial.times["invoke"].percentile(50).value)
    except DelegateError as error:
        trial.fail(f"after it was timed, {error.what}")
        return
    trial.state(**system.facts(), error=verdict.error, suspicious=verdict.suspicious)
    if verdict.failed:
        trial.fail(verdict.failed)
        trial.state(error=verdict.error)


def _take_energy(trial: Trial, system: Unit, meter: Meter | Unavailable, seconds: float) -> None:
    found: float | Unavailable
    if isinstance(meter, Unavailable):
        found = meter
    else:
        found = measure_energy(
            meter, system.queries["screen"], seconds=seconds, idle_seconds=_IDLE_SECONDS
        )
    if isinstance(found, Unavailable):
        trial.without({"energy_mj": found.reason})
    else:
        trial.state(energy_mj=found)


def _ratios(counted: Sequence[tuple[Row, Trial]]) -> tuple[Ratio, ...]:
    """Hold every row that counts against the first."""
    ratios = []
    for what in get_args(What):
        timed = [(row.key, trial.times[what]) for row, trial in counted if what in trial.times]
        for key, times in timed[1:]:
            reference, first = timed[0]
            interval = Interval(**vars(ratio(times, first)))
            ratios.append(Ratio(row=key, reference=reference, what=what, times=interval))
    return tuple(ratios)


def _part(progress: Progress | None, start: float, end: float) -> Progress:
    """Return the progress of what goes on between two shares of the whole."""

    def report(share: float) -> None:
        if progress is not None:
            progress(start + (end - start) * share)

    return report
