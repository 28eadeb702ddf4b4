"""What a screening costs over what it must cost at least, stage by stage, against stated bounds.

``python -m benchmarks.stages NAME.osteo`` needs no film: it draws one, 2500 x 3052 pixels of 14
bits. Everything that is compared is measured in turns, in one run, on one thread.

The floor is what nobody can leave out: pydicom's `pixel_array`, one area resampling to the
network's input, and the bare interpreter. A bundle that looks at every film mirrored as well runs
the network twice; both floors are measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import typer
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.delegates.latency import cold_start
from benchmarks.films.film import write_film
from benchmarks.harness import ROUNDS, Latencies, Percentile, Query, measure, null_query_us, ratio
from benchmarks.imports import import_costs
from benchmarks.machine.condition import condition
from benchmarks.machine.host import describe_host
from edge_runtime.bundle import ModelBundle, load_bundle
from edge_runtime.delegates.runtime import interpreter_module
from edge_runtime.errors import OsteoedgeError
from edge_runtime.files import write_atomically
from edge_runtime.preprocess import to_network_pixels
from edge_runtime.radiograph import read_radiograph
from edge_runtime.reports.document import screening_json
from edge_runtime.screener import Screener

ROWS, COLUMNS = 3052, 2500
MEMORY_SIDE, SCREENINGS = 3000, 200


@dataclass(frozen=True)
class Bound:
    """What was promised, and what was measured.

    `value` has an interval where it is a ratio; `at_least` turns the bound around.
    """

    what: str
    value: Percentile
    limit: float
    unit: str
    at_least: bool = False

    @property
    def held(self) -> bool:
        """Whether the measured value itself is within the limit."""
        if self.at_least:
            return self.value.value >= self.limit
        return self.value.value <= self.limit


def measure_stages(
    path: Path, film: Path | None, queries: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Measure a bundle on a film.

    Parameters
    ----------
    film
        Uncompressed DICOM with a window; None draws one.
    queries
        Of each system, a multiple of :data:`benchmarks.harness.ROUNDS`.
    progress
        Called with what comes next.

    Returns
    -------
    dict
        `systems` (milliseconds), `stages` (medians of what screenings report, milliseconds),
        `bounds`, `one_core_ratios`, `imports_ms`, `memory_mb`, `host`, and what was measured.

    Raises
    ------
    OsteoedgeError
        The bundle, or the film, cannot be read or run.
    subprocess.CalledProcessError
        A process that was to give its first result did not.
    """
    bundle = load_bundle(path)
    before = condition()
    with tempfile.TemporaryDirectory() as folder, _one_opencv_thread():
        if film is None:
            film = Path(folder) / "film.dcm"
            write_film(film, bundle.golden.pixels[0], ROWS, COLUMNS)
        square = Path(folder) / "square.dcm"
        write_film(square, bundle.golden.pixels[0], MEMORY_SIDE, MEMORY_SIDE)

        screener = Screener(bundle, "cpu", 1)
        reported: list[dict[str, float]] = []
        systems = _ways(bundle, screener, film, reported)
        progress("films, one thread")
        timed = _measure(systems, queries)
        stages = reported[-queries:]
        progress("films, one core")
        del systems["naive"]
        with _one_core():
            pinned = _measure(systems, queries)
        progress("network alone")
        network = _measure(_network(bundle, screener, film), 4 * queries)
        progress("cold starts and memory")
        cold = cold_start(path, "cpu", 1, film)
        memory = _memory(path, square)
        result = ["-m", "benchmarks.cold_start", str(path), "cpu", "1", str(film)]
        imports = import_costs(result)
    passes = 2 if bundle.manifest.calibration.mirror else 1
    post = float(np.median([times["postprocess"] for times in stages]))
    bounds = [
        *(
            Bound(
                f"to JSON / {_floor(count)}",
                ratio(timed["ours"], timed[_floor(count)]), 1.5, "x",
            )
            for count in range(1, passes + 1)
        ),
        Bound(f"float VOI / {_floor(passes)}", ratio(timed["naive"], timed[_floor(passes)]),
              3.0, "x", at_least=True),
        Bound("network / bare interpreter",
              ratio(network["infer"], network["bare"]), 1.03, "x"),
        Bound("output handling", _exact(post), 0.3, "ms"),
        Bound("first result, cold process", _exact(cold["cold_ms"]), 1000.0, "ms"),
        Bound(f"memory, {MEMORY_SIDE} x {MEMORY_SIDE} film", _exact(memory["film_mb"]),
              180.0, "MB"),
        Bound(f"more after {SCREENINGS} films", _exact(memory["growth_mb"]), 5.0, "MB"),
    ]  # fmt: skip
    return {
        "host": describe_host(before, condition(), null_query_us()).model_dump(mode="json"),
        "bundle": f"{bundle.manifest.name} {bundle.manifest.version}",
        "synthetic": bundle.manifest.purpose == "demo",
        "runs_per_film": passes,
        "queries": queries,
        "systems": {
            **{name: _row(found) for name, found in timed.items()},
            **{f"{name}, one core": _row(found) for name, found in pinned.items()},
            **{name: _row(found) for name, found in network.items()},
        },
        "one_core_ratios": {
            _floor(count): vars(ratio(pinned["ours"], pinned[_floor(count)]))
            for count in range(1, passes + 1)
        },
        "stages": {
            stage: float(np.median([times[stage] for times in stages])) for stage in stages[0]
        },
        "bounds": [{**vars(b), "value": vars(b.value), "held": b.held} for b in bounds],
        "imports_ms": imports,
        "memory_mb": memory,
    }


def _ways(
    bundle: ModelBundle, screener: Screener, film: Path, reported: list[dict[str, float]]
) -> dict[str, Query]:
    """Return each way from a file to a result; screenings leave their timings in ``reported``."""
    spec = bundle.manifest.input_spec
    size = (spec.width, spec.height)
    pixels, _ = to_network_pixels(read_radiograph(film).display, spec)
    invoke = _bare(bundle, screener.quantize(pixels))
    passes = 2 if bundle.manifest.calibration.mirror else 1

    def floor(runs: int) -> None:
        cv2.resize(pydicom.dcmread(film).pixel_array, size, interpolation=cv2.INTER_AREA)
        for _ in range(runs):
            invoke()

    def ours() -> None:
        screening = screener.screen(read_radiograph(film))
        screening_json(screening)
        reported.append(screening.timings_ms)

    def naive() -> None:
        dataset = pydicom.dcmread(film)
        shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
        grey = (shown - shown.min()) / max(float(np.ptp(shown)), 1.0) * 255.0
        cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        for _ in range(passes):
            invoke()

    floors: dict[str, Query] = {
        _floor(count): partial(floor, count) for count in range(1, passes + 1)
    }
    return {**floors, "ours": ours, "naive": naive}


def _network(bundle: ModelBundle, screener: Screener, film: Path) -> dict[str, Query]:
    """Return the network alone: through the screener, from grey levels, and bare, from int8."""
    pixels, _ = to_network_pixels(read_radiograph(film).display, bundle.manifest.input_spec)
    return {
        "bare": _bare(bundle, screener.quantize(pixels)),
        "infer": partial(screener.infer, pixels),
    }


def _bare(bundle: ModelBundle, tensor: npt.NDArray[np.int8]) -> Query:
    """Return what any user of the runtime writes: set the input, invoke, get the outputs."""
    interpreter = interpreter_module().Interpreter(model_content=bundle.model, num_threads=1)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    outputs = [details["index"] for details in interpreter.get_output_details()]

    def invoke() -> None:
        interpreter.set_tensor(entry["index"], tensor)
        interpreter.invoke()
        for index in outputs:
            interpreter.get_tensor(index)

    return invoke


def _measure(systems: Mapping[str, Query], queries: int) -> dict[str, Latencies]:
    return measure(systems, min_seconds=0.0, min_count=queries)


def _floor(runs: int) -> str:
    return f"floor, {runs} run{'s' * (runs > 1)}"


def _exact(value: float) -> Percentile:
    return Percentile(value, value, value)


def _row(found: Latencies) -> dict[str, float]:
    return vars(found.percentile(50))


def _memory(bundle: Path, film: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", str(bundle), str(film), str(SCREENINGS)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, float] = json.loads(result.stdout)
    return answer


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this thread, and those that it starts, on one core: what a second one is worth."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def table(document: dict[str, Any]) -> Table:
    """Return the bounds as a table."""
    host = document["host"]
    synthetic = ", SYNTHETIC: model trained on drawings" if document["synthetic"] else ""
    result = Table(title=f"{document['bundle']} on {host['cpu']}, 1 thread{synthetic}",
                   title_justify="left")  # fmt: skip
    result.add_column("what")
    for heading in ("measured", "95 %", "bound"):
        result.add_column(heading, justify="right")
    result.add_column("")
    for bound in document["bounds"]:
        value, unit = bound["value"], bound["unit"]
        spread = f"{value['low']:.3f}-{value['high']:.3f}" if value["low"] < value["high"] else ""
        result.add_row(
            bound["what"],
            f"{value['value']:.{3 if unit == 'x' else 1}f} {unit}",
            spread,
            f"{'>=' if bound['at_least'] else '<='} {bound['limit']:g} {unit}",
            "held" if bound["held"] else "[bold red]MISSED[/]",
        )
    return result


def details(document: dict[str, Any]) -> str:
    """Return medians, and what else explains the bounds, as lines of text."""

    def listed(what: str, figures: Mapping[str, float], unit: str) -> str:
        return f"{what}: " + ", ".join(f"{k} {v:.1f} {unit}" for k, v in figures.items())

    systems = document["systems"]
    return "\n".join(
        [
            *(
                f"{name}: {found['value']:.2f} ms ({found['low']:.2f}-{found['high']:.2f})"
                for name, found in systems.items()
            ),
            *(
                f"ours / {name}, one core: {found['value']:.2f} x"
                for name, found in document["one_core_ratios"].items()
            ),
            "stages: " + ", ".join(f"{k} {v:.2f} ms" for k, v in document["stages"].items()),
            listed("imports", dict(list(document["imports_ms"].items())[:10]), "ms"),
            listed("memory", document["memory_mb"], "MB"),
        ]
    )


def main(
    bundle: Annotated[Path, typer.Argument(help="NAME.osteo")],
    film: Annotated[
        Path | None, typer.Option(help="Uncompressed DICOM; one is drawn without.")
    ] = None,
    queries: Annotated[int, typer.Option(min=20, help="Films for each way, at least.")] = 100,
    out: Annotated[Path | None, typer.Option(help="Where to write the figures as JSON.")] = None,
) -> None:
    """Measure what a screening costs over its floor; exit code 3 where a bound is missed.

    Example: `python -m benchmarks.stages knee.osteo --out stages.json`
    """
    errors = Console(stderr=True, highlight=False)
    rounded = -(-queries // ROUNDS) * ROUNDS
    try:
        with errors.status("stages") as status:
            document = measure_stages(bundle, film, rounded, status.update)
    except OsteoedgeError as error:
        errors.print("[bold red]Error[/]", escape(str(error)), soft_wrap=True)
        raise typer.Exit(1) from None
    if out is not None:
        write_atomically(out, (json.dumps(document, indent=2) + "\n").encode())
    Console().print(table(document))
    typer.echo(details(document))
    if not all(bound["held"] for bound in document["bounds"]):
        raise typer.Exit(3)


if __name__ == "__main__":
    typer.run(main)
