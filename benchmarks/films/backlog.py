"""What a film costs when many come at once: whether the queue slows down as it fills."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pydicom.dataset import Dataset

from benchmarks.films.film import film_dataset
from benchmarks.schema import QueueCost
from edge_runtime.errors import DelegateError
from edge_runtime.intake.understanding import enter, understand
from edge_runtime.screener import Screener
from edge_runtime.spool import Spool
from edge_runtime.unit.config import UnitConfig
from edge_runtime.unit.worker import Worker

LENGTHS = (1, 2, 4, 8, 16, 32)
ROWS, COLUMNS = 1526, 1250
# An odd number: the median is one of them.
_ROUNDS = 3


def measure_queue(
    bundle: Path, screener: Screener, progress: Callable[[float], None]
) -> tuple[QueueCost, ...]:
    """Measure how long a unit takes for so many films of as many studies that lie there at once.

    From the first that is taken into the spool until each study has its report, in one process: a
    unit's receivers are processes of their own. Medians of some rounds, each with a spool of its
    own, in the order there and back.

    Parameters
    ----------
    bundle
        Of ``screener``.
    progress
        Called with the share that is done, 0..1.

    Raises
    ------
    DelegateError
        It failed on a film.
    """
    film = film_dataset(screener.bundle.golden.pixels[0], ROWS, COLUMNS)
    took: dict[int, list[float]] = {length: [] for length in LENGTHS}
    order = list(LENGTHS)
    done = 0
    for _ in range(_ROUNDS):
        for length in order:
            with tempfile.TemporaryDirectory() as folder:
                took[length].append(_work_off(Path(folder), bundle, screener, film, length))
            done += length
            progress(done / (_ROUNDS * sum(LENGTHS)))
        order.reverse()
    totals = {length: statistics.median(times) for length, times in took.items()}
    return tuple(
        QueueCost(films=length, total_ms=total, per_film_ms=total / length)
        for length, total in totals.items()
    )


def _work_off(folder: Path, bundle: Path, screener: Screener, film: Dataset, films: int) -> float:
    """Return the milliseconds that a new unit takes."""
    unit = _unit(folder, bundle)
    with Spool(unit.spool.directory) as spool:
        arrived = [_arrive(film, spool, number) for number in range(films)]
        worker = Worker(unit, spool, screener)
        worker.begin()
        started = time.perf_counter()
        for file in arrived:
            enter(spool, understand(file, "benchmark"))
        while worker.step():
            pass
        taken = (time.perf_counter() - started) * 1e3
        reported = spool.row("SELECT count(*) AS films FROM document WHERE kind = 'sr'")
    if reported is None or reported["films"] != films:
        raise DelegateError("the delegate failed in the middle of a queue", "Run it again")
    return taken


def _arrive(film: Dataset, spool: Spool, number: int) -> Path:
    """Write a film of a study of its own where films lie that are coming in."""
    film.SOPInstanceUID, film.StudyInstanceUID, film.SeriesInstanceUID = (
        f"2.25.{kind}{number:04}" for kind in (1, 2, 3)
    )
    path = spool.folder / "incoming" / f"{number}.dcm"
    film.save_as(path, enforce_file_format=True)
    return path


def _unit(folder: Path, bundle: Path) -> UnitConfig:
    """Return settings of a unit that nobody sends anything and that sends to nobody."""
    return UnitConfig.model_validate(
        {
            "bundle": {"path": bundle, "trusted_keys": folder},
            "spool": {"directory": folder / "spool"},
            "intake": {"folders": [{"path": folder}]},
            "health": None,
        }
    )
