"""Starts all systems, checks that they agree, and measures them in turns."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.films.film import write_film
from benchmarks.harness import Latencies, Query, measure, ratio
from benchmarks.machine.condition import condition
from benchmarks.machine.host import describe_host
from benchmarks.peers.agreement import Answers, Limits, difference
from benchmarks.peers.document import PeerRow, Peers, What
from benchmarks.peers.files import File, model_files
from benchmarks.peers.process import Process, Stopwatch, Unusable
from benchmarks.peers.systems import FILMS, FP32, INT8, NULL, Form, System
from benchmarks.schema import Interval
from edge_runtime.bundle import ModelBundle, load_bundle
from edge_runtime.errors import DelegateError

ROWS, COLUMNS = 3052, 2500
# Integer kernels round in their own ways, and OpenVINO keeps real numbers between operators.
_INT8 = Limits(largest=32.0, mean=8.0)
# Of a float network, in 255ths of an output's range: sums in another order, no more.
_FP32 = Limits(largest=0.5, mean=0.1)


@dataclass(frozen=True)
class _Peers:
    """A bundle's network in all forms, and the environment that is not this one."""

    bundle: ModelBundle
    files: Mapping[Form, File]
    tflite_runtime: Path | None

    def start(self, system: System, threads: int, cores: Sequence[int] | None = None) -> Process:
        """Start a system; raise Unusable where it is not there or refuses the file."""
        file = self.files[system.form]
        if isinstance(file, Unusable):
            raise file
        if system.foreign and self.tflite_runtime is None:
            raise Unusable("unavailable", system.install)
        python = self.tflite_runtime if system.foreign else None
        try:
            return Process(system.loader, file, threads, python=python, cores=cores)
        except Unusable as error:
            if error.status == "unavailable":
                raise Unusable("unavailable", f"{error.reason}: {system.install}") from None
            raise


# A row without figures yet, and who is to be measured for it; None: nobody.
_Entry = tuple[PeerRow, Process | None]


def compare(
    path: Path,
    float32: Path | None,
    threads: Sequence[int],
    *,
    tflite_runtime: Path | None,
    queries: int,
    films: int,
    progress: Callable[[str], None],
) -> Peers:
    """Measure a bundle and its peers.

    Each system runs in one process of its own and times itself there; the others wait meanwhile,
    and whose turn it is changes in rounds.

    Parameters
    ----------
    float32
        The network before it was quantized, a TFLite file.
    tflite_runtime
        The Python of an environment that holds tflite-runtime.
    queries, films
        Of each network, and of each way from a film to a document; multiples of
        :data:`benchmarks.harness.ROUNDS`.
    progress
        Called with what comes next.

    Raises
    ------
    OsteoedgeError
        The bundle cannot be read or run, or a system that ran no longer does.
    """
    bundle = load_bundle(path)
    manifest = bundle.manifest
    before = condition()
    with tempfile.TemporaryDirectory() as folder:
        progress("converting")
        peers = _Peers(bundle, model_files(bundle, path, float32, Path(folder)), tflite_runtime)
        film = Path(folder) / "film.dcm"
        write_film(film, bundle.golden.pixels[0], ROWS, COLUMNS)
        rows: list[PeerRow] = []
        for count in threads:
            progress(f"networks, threads: {count}")
            rows += _networks(peers, count, queries)
        progress("films")
        rows += _films(peers, film, "film", None, films)
        progress("films, one core")
        rows += _films(peers, film, "film, one core", [min(os.sched_getaffinity(0))], films)
        with peers.start(NULL, 1) as nothing:
            watch = Stopwatch()
            null = _measure({"null": watch.query(nothing)}, queries, watch)["null"]
    return Peers(
        bundle=f"{manifest.name} {manifest.version}",
        sha256=bundle.sha256,
        synthetic=manifest.purpose == "demo",
        backbone=manifest.model.backbone,
        input=(manifest.input_spec.height, manifest.input_spec.width),
        host=describe_host(before, condition(), 1e3 * null.percentile(50).value),
        rows=tuple(rows),
    )


def _networks(peers: _Peers, threads: int, queries: int) -> list[PeerRow]:
    """Ask each system all golden vectors, and measure those that agree with the first."""
    manifest = peers.bundle.manifest
    model = manifest.model
    stored = [model.quantize(pixels, manifest.input_spec) for pixels in peers.bundle.golden.pixels]
    # The very numbers that the int8 network sees.
    real = [model.input.dequantize(tensor) for tensor in stored]
    embedding = model.outputs["embedding"].index if "embedding" in model.outputs else None
    with ExitStack() as stack:
        entries = [
            *_checked(peers, "int8", INT8, stored, embedding, threads, stack),
            *_checked(peers, "fp32", FP32, real, None, threads, stack),
        ]
        return _measured(entries, queries)


def _checked(
    peers: _Peers,
    what: What,
    systems: Sequence[System],
    tensors: Sequence[npt.NDArray[Any]],
    embedding: int | None,
    threads: int,
    stack: ExitStack,
) -> list[_Entry]:
    entries: list[_Entry] = []
    ours: Answers | None = None
    for system in systems:
        row = PeerRow(what=what, system=system.name, threads=threads)
        try:
            process = stack.enter_context(peers.start(system, threads))
            answers = _answers(process, tensors, unsigned=system.form == "uint8.onnx")
            ours = ours or answers
            found = difference(answers, ours, embedding)
        except Unusable as error:
            entries.append((row.unusable(error.status, error.reason), None))
            continue
        far = found.beyond(_INT8 if what == "int8" or system.coarse else _FP32)
        update = {"version": process.version, "max_steps": found.largest, "mean_steps": found.mean}
        row = row.model_copy(update=update)
        entries.append((row.unusable("failed", far), None) if far else (row, process))
    return entries


def _answers(
    process: Process, tensors: Sequence[npt.NDArray[Any]], *, unsigned: bool
) -> list[list[npt.NDArray[Any]]]:
    if not unsigned:
        return [process.ask(tensor) for tensor in tensors]
    moved = [(tensor.astype(np.int16) + 128).astype(np.uint8) for tensor in tensors]
    return [
        [(output.astype(np.int16) - 128).astype(np.int8) for output in process.ask(tensor)]
        for tensor in moved
    ]


def _films(
    peers: _Peers, film: Path, what: What, cores: Sequence[int] | None, count: int
) -> list[PeerRow]:
    """Measure each way from a film to a document, once it has given one."""
    entries: list[_Entry] = []
    with ExitStack() as stack:
        for system in FILMS:
            row = PeerRow(what=what, system=system.name, threads=1)
            try:
                process = stack.enter_context(peers.start(system, 1, cores))
                document = json.loads(process.ask(str(film)))
            except Unusable as error:
                entries.append((row.unusable(error.status, error.reason), None))
                continue
            malignant = document["probabilities"]["malignant"]
            update = {"version": process.version, "malignant": malignant}
            entries.append((row.model_copy(update=update), process))
        return _measured(entries, count)


def _measured(entries: Sequence[_Entry], queries: int) -> list[PeerRow]:
    """Return the rows with their figures; the first one's is osteoedge's."""
    watch = Stopwatch()
    asked = {str(at): watch.query(process) for at, (_, process) in enumerate(entries) if process}
    if "0" not in asked:
        raise DelegateError(
            f"osteoedge itself does not run the bundle ({entries[0][0].reason})",
            "Run osteoedge doctor --bundle NAME.osteo",
        )
    measured = _measure(asked, queries, watch)
    return [
        row.model_copy(update=_figures(measured[str(at)], measured["0"])) if process else row
        for at, (row, process) in enumerate(entries)
    ]


def _figures(found: Latencies, ours: Latencies) -> dict[str, object]:
    median, times = found.percentile(50), ratio(found, ours)
    return {
        "n": len(found.milliseconds),
        "p50_ms": median.value,
        "p50_low_ms": median.low,
        "p50_high_ms": median.known_high,
        "p90_ms": found.percentile(90).value,
        "times": Interval(value=times.value, low=times.low, high=times.high),
    }


def _measure(asked: Mapping[str, Query], count: int, watch: Stopwatch) -> dict[str, Latencies]:
    try:
        return measure(asked, min_seconds=0.0, min_count=count, clock=watch.clock)
    except Unusable as error:
        raise DelegateError(
            f"a system that had answered failed while it was measured ({error.reason})",
            "Measure again with nothing else running",
        ) from None
