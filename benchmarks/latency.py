"""The rows of bench.json: each model on each delegate with each number of threads, in one run."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import cv2

from benchmarks.accuracy import measure_accuracy
from benchmarks.harness import (
    Latencies,
    Percentile,
    least_queries,
    measure,
    null_query_us,
    ratio,
)
from benchmarks.machine.energy import Meter, Unavailable, find_meter, measure_energy
from benchmarks.models import BundledModel, Model, open_models
from benchmarks.schema import FIGURES, Interval, Ratio, Row, Status, absent
from benchmarks.systems import Place, System, UnavailableError, Unit, What, how_wrong, load
from edge_runtime.errors import DelegateError

if TYPE_CHECKING:
    from train.dataset.schema import Dataset

COLD_STARTS = 3
# The network alone is asked so often that its p99 has an upper end; a film takes longer, and none
# is stated of it.
LEAST: Mapping[What, int] = {"invoke": least_queries(99) + 32, "screen": 100}
# A detector's columns and rows.
_FILM = (2500, 3052)
_IDLE_SECONDS = 2.0
_UNBOUND = "too few independent queries to bound it"

Progress = Callable[[float], None]


class _BrokeError(Exception):
    """A system failed while it was measured."""

    def __init__(self, trial: _Trial, why: str) -> None:
        self.trial, self.why = trial, why
        super().__init__(why)


class _Trial:
    """What becomes a row."""

    def __init__(self, model: Model, place: Place) -> None:
        self.model, self.place = model, place
        self.system: System | None = None
        self.times: dict[What, Latencies] = {}
        self._status: Status = "ok"
        self._reason: str | None = None
        self._facts: dict[str, Any] = {}
        self._unmeasured: dict[str, str] = {}

    def load(self, film: Path, loaded: ExitStack) -> None:
        """Load the model, or keep why that cannot be."""
        try:
            self.system = load(self.model, self.place, film)
        except UnavailableError as error:
            self._status, self._reason = "unavailable", str(error)
        except DelegateError as error:
            # It is there, and must work.
            self.fail(error.what)
            self._facts["error"] = how_wrong(self.model, self.place)
        else:
            loaded.callback(self.system.close)
            self.without(self.system.lacks)

    def fail(self, why: str) -> None:
        """Take back every figure but the error, and say why."""
        self._status, self._reason, self.system, self.times = "failed", why, None, {}
        self._facts = {name: self._facts[name] for name in self._facts if name not in FIGURES}

    def state(self, **facts: Any) -> None:
        """Set fields of the row."""
        self._facts |= facts

    def without(self, reasons: Mapping[str, str]) -> None:
        """Keep why figures stay null."""
        self._unmeasured |= reasons

    def query(self, what: What) -> Callable[[], None]:
        """Return a query that says whose failure it was."""
        assert self.system is not None
        ask = self.system.queries[what]

        def asked() -> None:
            try:
                ask()
            except DelegateError as error:
                raise _BrokeError(self, error.what) from None

        return asked

    def row(self) -> Row:
        """Return the row, each null with its reason."""
        figures = dict(self._facts)
        if self.times:
            figures |= _invoke(self.times["invoke"])
        if "screen" in self.times:
            figures |= _screen(self.times["screen"])
        known = {name: figure for name, figure in figures.items() if figure is not None}
        if self._reason is None:
            unbound = {name: _UNBOUND for name in figures if name.endswith("_high_ms")}
            why = unbound | self._unmeasured
            reasons = {name: why[name] for name in FIGURES if name not in known}
        else:
            reasons = absent(self._reason, known)
        return Row(
            bundle=self.model.name,
            synthetic=self.model.synthetic,
            variant=self.model.variant,
            delegate=self.place.delegate,
            threads=self.place.threads,
            status=self._status,
            reason=self._reason,
            unmeasured=reasons,
            **known,
        )


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
        _Trial(model, Place(delegate, count, library, options or {}))
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
    counted = [
        (row, trial)
        for row, trial in zip(rows, trials, strict=True)
        if row.status == "ok" and not row.software_gpu and row.suspicious is None
    ]
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


def _start_cold(trial: _Trial, film: Path) -> None:
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


def _time(trials: Sequence[_Trial], what: What, seconds: float, progress: Progress) -> None:
    """Ask all that can be asked, in turns; once more without one that fails on the way."""
    while True:
        asked = {
            trial: trial.query(what)
            for trial in trials
            if trial.system is not None and what in trial.system.queries
        }
        names = {str(number): trial for number, trial in enumerate(asked)}
        try:
            found = measure(
                {name: asked[trial] for name, trial in names.items()},
                min_seconds=seconds,
                min_count=LEAST[what],
                progress=progress,
            )
        except _BrokeError as error:
            error.trial.fail(f"while it was timed, {error.why}")
            continue
        for name, latencies in found.items():
            names[name].times[what] = latencies
        return


def _look(
    trial: _Trial,
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


def _take_energy(trial: _Trial, system: Unit, meter: Meter | Unavailable, seconds: float) -> None:
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


def _ratios(counted: Sequence[tuple[Row, _Trial]]) -> tuple[Ratio, ...]:
    """Hold every row that counts against the first."""
    ratios = []
    for what in get_args(What):
        timed = [(row.key, trial.times[what]) for row, trial in counted if what in trial.times]
        for key, times in timed[1:]:
            reference, first = timed[0]
            interval = Interval(**vars(ratio(times, first)))
            ratios.append(Ratio(row=key, reference=reference, what=what, times=interval))
    return tuple(ratios)


def _invoke(times: Latencies) -> dict[str, Any]:
    return {
        "n": len(times.milliseconds),
        **{
            f"p{percent}{end}_ms": value
            for percent in (50, 90, 99)
            for end, value in _ends(times.percentile(percent)).items()
        },
        "max_ms": float(times.milliseconds.max()),
        "per_second": times.per_second,
        "warmup_ms": times.warmup_ms,
    }


def _screen(times: Latencies) -> dict[str, Any]:
    middle = _ends(times.percentile(50))
    return {
        **{f"screen_p50{end}_ms": value for end, value in middle.items()},
        "screen_p90_ms": times.percentile(90).value,
    }


def _ends(found: Percentile) -> dict[str, float | None]:
    """Return a percentile and its interval; None for an end that is not known."""
    high = found.high if math.isfinite(found.high) else None
    return {"": found.value, "_low": found.low, "_high": high}


def _part(progress: Progress | None, start: float, end: float) -> Progress:
    """Return the progress of what goes on between two shares of the whole."""

    def report(share: float) -> None:
        if progress is not None:
            progress(start + (end - start) * share)

    return report
