"""Where the time of a film goes, for every coding that is read and for small and large films.

From the file to what a unit writes of it, by the code of `osteoedge screen --write json,sr,sc`: the
JSON document, and as DICOM the structured report and the picture. Files lie in the page cache.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.films.backlog import measure_queue
from benchmarks.films.codings import CODINGS
from benchmarks.films.film import draw_film, film_dataset
from benchmarks.harness import Latencies, Query, measure
from benchmarks.schema import FilmStages, QueueCost, Status
from edge_runtime.batch import screen_files
from edge_runtime.bundle import load_bundle
from edge_runtime.errors import TransferSyntaxError
from edge_runtime.screener import Screener

ROWS, COLUMNS = 3052, 2500
"""Of the film that is written in every coding."""
SIDES = (512, 1000, 2000, 3000, 4000)
"""Of the square films, all in the coding of :data:`SIZED`."""
SIZED = "explicit VR"
STAGES = ("read", "decode", "preprocess", "invoke", "postprocess", "report")
# The same film in all codings that hold it; consoles that compress send no more bits either.
_BITS = 12
_COUNT, _SECONDS = 10, 2.0
# Of the whole, by what is measured on two cores.
_WRITTEN, _MEASURED = 0.15, 0.8
_AS_DICOM, _AS_PICTURE = ("json", "sr", "sc"), ("json",)
_PICTURES: dict[str, tuple[str, int]] = {
    "PNG, 8 bits": (".png", 8),
    "PNG, 16 bits": (".png", _BITS),
    "JPEG picture, 8 bits": (".jpg", 8),
}

Progress = Callable[[float], None]


@dataclass(frozen=True)
class _Film:
    """A film to measure with.

    Attributes
    ----------
    why_not
        It could not be written; blank where it was.
    formats
        What is written of it: a picture has no header that a DICOM object could refer to.
    """

    coding: str
    rows: int
    columns: int
    path: Path
    formats: tuple[str, ...]
    why_not: str = ""

    @property
    def name(self) -> str:
        """What tells it from all others."""
        return f"{self.coding} {self.rows} x {self.columns}"


def measure_films(
    bundle: Path, *, progress: Progress | None = None
) -> tuple[tuple[FilmStages, ...], tuple[QueueCost, ...]]:
    """Measure a bundle on the CPU, on one thread, on films of all kinds and on queues of them.

    Parameters
    ----------
    progress
        Called with the share that is done, 0..1.

    Returns
    -------
    films, queue
        First the film of :data:`ROWS` x :data:`COLUMNS` in every coding, then those of
        :data:`SIDES`. A coding that cannot be written or read here is `unavailable`, with the
        reason.

    Raises
    ------
    BundleError
        The bundle cannot be read.
    DelegateError
        It does not run.
    """
    told = progress or (lambda _: None)
    loaded = load_bundle(bundle)
    picture = loaded.golden.pixels[0]
    with (
        tempfile.TemporaryDirectory() as place,
        Screener(loaded, "cpu", 1, fallback="forbid") as screener,
    ):
        folder, films = Path(place), []
        kinds = len(CODINGS) + len(_PICTURES) + len(SIDES)
        for film in _films(picture, folder):
            films.append(film)
            told(_WRITTEN * len(films) / kinds)
        out = folder / "out"
        out.mkdir()
        stages = _stages(
            films, screener, out, lambda share: told(_WRITTEN + (_MEASURED - _WRITTEN) * share)
        )
        queue = measure_queue(
            bundle, screener, lambda share: told(_MEASURED + (1 - _MEASURED) * share)
        )
    return stages, queue


def _films(picture: npt.NDArray[np.uint8], folder: Path) -> Iterator[_Film]:
    """Write the films, and yield each."""
    for name in CODINGS:
        yield _dicom(picture, folder, name, ROWS, COLUMNS)
    for name, (suffix, bits) in _PICTURES.items():
        path = _place(folder, name, ROWS) / f"film{suffix}"
        cv2.imwrite(str(path), draw_film(picture, ROWS, COLUMNS, bits))
        yield _Film(name, ROWS, COLUMNS, path, _AS_PICTURE)
    for side in SIDES:
        yield _dicom(picture, folder, SIZED, side, side)


def _dicom(
    picture: npt.NDArray[np.uint8], folder: Path, name: str, rows: int, columns: int
) -> _Film:
    path = _place(folder, name, rows) / "film.dcm"
    coding = CODINGS[name]
    why_not = ""
    try:
        film = film_dataset(picture, rows, columns, coding, min(_BITS, coding.most_bits))
        film.save_as(path, enforce_file_format=True)
    except (ImportError, AttributeError) as error:
        # What imagecodecs says of an encoder that it was built without, or before.
        why_not = f"cannot be written here: {error}"
    return _Film(name, rows, columns, path, _AS_DICOM, why_not)


def _place(folder: Path, name: str, rows: int) -> Path:
    """Make a folder for a film: all have the same name, so each one's results replace another's."""
    place = folder / f"{name} {rows}"
    place.mkdir()
    return place


def _stages(
    films: list[_Film], screener: Screener, out: Path, progress: Progress
) -> tuple[FilmStages, ...]:
    """Measure all films that can be screened, in turns."""
    rows: dict[str, FilmStages] = {}
    queries: dict[str, Query] = {}
    reported: dict[str, list[dict[str, float]]] = {}
    for film in films:
        status, reason = _try(film, screener, out)
        rows[film.name] = _row(film, status, reason)
        if status == "ok":
            reported[film.name] = []
            queries[film.name] = partial(_screen, film, screener, out, reported[film.name])
    # Trying was the warm-up.
    measured = measure(queries, min_seconds=_SECONDS, min_count=_COUNT, warmup=0, progress=progress)
    for name, latencies in measured.items():
        rows[name] = _measured(rows[name], latencies, reported[name])
    return tuple(rows.values())


def _try(film: _Film, screener: Screener, out: Path) -> tuple[Status, str | None]:
    """Screen a film once; return whether it can be measured, and why not."""
    if film.why_not:
        return "unavailable", film.why_not
    (result,) = screen_files([film.path], screener, out, film.formats, "en", progress=False)
    if result.error is None:
        return "ok", None
    status: Status = "unavailable" if isinstance(result.error, TransferSyntaxError) else "failed"
    return status, result.error.what


def _screen(film: _Film, screener: Screener, out: Path, reported: list[dict[str, float]]) -> None:
    """Screen a film and write its results; leave in ``reported`` what each stage took."""
    started = time.perf_counter()
    (result,) = screen_files([film.path], screener, out, film.formats, "en", progress=False)
    whole = (time.perf_counter() - started) * 1e3
    assert result.screening is not None
    timings = {stage: result.screening.timings_ms[stage] for stage in STAGES[:-1]}
    # All the rest, so that nothing of the film is left out: where there is no second core, also
    # the wait for the file's hash.
    reported.append(timings | {"report": whole - sum(timings.values())})


def _row(film: _Film, status: Status, reason: str | None) -> FilmStages:
    return FilmStages(
        coding=film.coding,
        rows=film.rows,
        columns=film.columns,
        file_mb=film.path.stat().st_size / 1e6 if film.path.exists() else 0.0,
        n=0,
        status=status,
        reason=reason,
        stages_ms={},
        total_ms=None,
        total_low_ms=None,
        total_high_ms=None,
    )


def _measured(
    row: FilmStages, latencies: Latencies, reported: list[dict[str, float]]
) -> FilmStages:
    total = latencies.percentile(50)
    return row.model_copy(
        update={
            "n": len(reported),
            "stages_ms": {
                stage: float(np.median([times[stage] for times in reported])) for stage in STAGES
            },
            "total_ms": total.value,
            "total_low_ms": total.low,
            # Where films took very different times, so few do not bound it.
            "total_high_ms": total.known_high,
        }
    )
