"""How fast films come in, next to dcmtk's `storescp` and to the least that pynetdicom can do.

``python -m benchmarks.intake`` draws films of 15 MB and sends them from four `storescu` at once to
each service in turn, round after round: whatever else the machine does, it does to all of them.
All write to the same disk. `storescp` (one process, `+xa`) answers before anything is on it; the
minimal service of pynetdicom syncs and renames; ours answers when the film and its row in the spool
are durable.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pydicom import dcmread
from rich.console import Console
from rich.table import Table

from benchmarks.films.film import write_film
from edge_runtime.files import write_atomically

ROWS, COLUMNS = 2500, 3072
"""Of a film of two bytes a pixel: 15.4 MB."""
AIMS = {"one receiver": 0.4, "two receivers": 0.8}
"""Of the throughput of storescp, the latter times the former."""
ANSWER_S = 2.0
_CONTEXT = multiprocessing.get_context("spawn")
_TITLE = "OSTEOEDGE"


@dataclass
class Measured:
    """What was measured of one service.

    Attributes
    ----------
    mb_per_s
        Of each round.
    answers_s
        From the last byte of a film to the answer, where the service says; else empty.
    memory_mb
        The most that any of its processes had at a time.
    """

    mb_per_s: list[float] = field(default_factory=list)
    answers_s: list[float] = field(default_factory=list)
    memory_mb: float = 0.0


@dataclass
class Service:
    """A running service: where it listens, and its processes."""

    port: int
    processes: list[int]
    answers: Path | None = None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answering(port: int) -> None:
    """Wait until a service answers C-ECHO."""
    deadline = time.monotonic() + 60
    command = ["echoscu", "-aec", _TITLE, "127.0.0.1", str(port)]
    while subprocess.run(command, capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing answers on port {port}")
        time.sleep(0.05)


@contextmanager
def storescp(folder: Path) -> Iterator[Service]:
    """Dcmtk, with the largest PDU that it has."""
    port = _free_port()
    command = ["storescp", "+xa", "-pdu", "131072", "-aet", _TITLE, "-od", str(folder), str(port)]
    with subprocess.Popen(command) as process:
        try:
            _answering(port)
            yield Service(port, [process.pid])
        finally:
            process.terminate()


@contextmanager
def minimal(folder: Path) -> Iterator[Service]:
    """Pynetdicom, which syncs and renames."""
    port = _free_port()
    process = _CONTEXT.Process(target=_serve_minimally, args=(folder, port))
    process.start()
    try:
        _answering(port)
        yield Service(port, [_pid(process)])
    finally:
        process.terminate()
        process.join()


def _serve_minimally(folder: Path, port: int) -> None:
    from pynetdicom import AE, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    def store(event: evt.Event) -> int:
        path = folder / f"{event.request.AffectedSOPInstanceUID}.dcm"  # type: ignore[union-attr]
        write_atomically(path, event.encoded_dataset())
        return 0x0000

    entity = AE(_TITLE)
    entity.maximum_pdu_size = 131072
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(Verification)
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


def ours(receivers: int) -> Callable[[Path], AbstractContextManager[Service]]:
    """Return what starts our service with so many processes."""

    @contextmanager
    def service(folder: Path) -> Iterator[Service]:
        toml = folder / "unit.toml"
        toml.write_text(
            '[bundle]\npath = "none.osteo"\ntrusted_keys = "keys"\n'
            f'[spool]\ndirectory = "{folder / "spool"}"\n[intake.dicom]\n'
        )
        answers = folder / "answers"
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            processes = [
                _CONTEXT.Process(target=_receive, args=(toml, listener, slot, answers))
                for slot in range(receivers)
            ]
            for process in processes:
                process.start()
            try:
                port = listener.getsockname()[1]
                _answering(port)
                while len(list((folder / "spool" / "incoming").iterdir())) < receivers:
                    time.sleep(0.05)
                yield Service(port, [_pid(process) for process in processes], answers)
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    process.join()

    return service


def _receive(toml: Path, listener: socket.socket, slot: int, answers: Path) -> None:
    from edge_runtime.intake import dicom_scp
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.life import Life

    class Seconds(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "received":
                with answers.open("a") as file:
                    file.write(f"{getattr(record, 'seconds')}\n")  # noqa: B009

    dicom_scp.log.setLevel(logging.INFO)
    dicom_scp.log.addHandler(Seconds())
    life = Life()
    life.stop_on_signals()
    dicom_scp.run(load_unit(toml), listener, slot, life)


def _pid(process: BaseProcess) -> int:
    assert process.pid is not None
    return process.pid


SERVICES: dict[str, Callable[[Path], AbstractContextManager[Service]]] = {
    "storescp": storescp,
    "minimal": minimal,
    "one receiver": ours(1),
    "two receivers": ours(2),
}


def draw_films(folder: Path, senders: int, films: int) -> list[list[Path]]:
    """Draw different films for each sender."""
    noise = np.random.default_rng(0).integers(0, 256, (250, 300)).astype(np.uint8)
    first = folder / "film.dcm"
    write_film(first, noise, ROWS, COLUMNS)
    film = dcmread(first)
    sets = []
    for sender in range(senders):
        paths = []
        for number in range(films):
            film.SOPInstanceUID = f"2.25.1{sender:03}{number:03}"
            film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
            path = folder / f"{sender}-{number}.dcm"
            film.save_as(path)
            paths.append(path)
        sets.append(paths)
    return sets


def send(port: int, sets: Sequence[Sequence[Path]]) -> float:
    """Send all films, each set from a sender of its own; return MB/s."""
    sent = sum(path.stat().st_size for paths in sets for path in paths)
    started = time.perf_counter()
    senders = [
        subprocess.Popen(
            ["storescu", "-aec", _TITLE, "127.0.0.1", str(port), *map(str, paths)],
            stdout=subprocess.DEVNULL,
        )
        for paths in sets
    ]
    codes = [sender.wait() for sender in senders]
    seconds = time.perf_counter() - started
    if any(codes):
        raise RuntimeError(f"storescu ended with {codes}")
    return sent / 1e6 / seconds


def measure(
    folder: Path, sets: Sequence[Sequence[Path]], rounds: int, names: Sequence[str]
) -> dict[str, Measured]:
    """Measure services, one after the other, so many times."""
    measured = {name: Measured() for name in names}
    for number in range(rounds):
        # Nobody is always the first after a pause, or the one after the same other.
        for name in [*names[number % len(names) :], *names[: number % len(names)]]:
            place = folder / f"{name} {number}"
            place.mkdir()
            with SERVICES[name](place) as service:
                # What the one before left to be written is not written in this one's time.
                os.sync()
                measured[name].mb_per_s.append(send(service.port, sets))
                measured[name].memory_mb = max(
                    measured[name].memory_mb, *map(_most_memory_mb, service.processes)
                )
                if service.answers is not None:
                    measured[name].answers_s += map(float, service.answers.read_text().split())
            shutil.rmtree(place)
    return measured


def _most_memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def ratios(measured: dict[str, Measured]) -> dict[str, float]:
    """Return each service's throughput over that of storescp: the median of the rounds' ratios."""
    floor = measured["storescp"].mb_per_s
    return {
        name: statistics.median(
            ours / theirs for ours, theirs in zip(one.mb_per_s, floor, strict=True)
        )
        for name, one in measured.items()
    }


def document(measured: dict[str, Measured]) -> dict[str, Any]:
    """Return the figures, and whether the bounds hold."""
    relative = ratios(measured)
    return {
        "services": {
            name: {
                "mb_per_s": statistics.median(one.mb_per_s),
                "rounds": one.mb_per_s,
                "over_storescp": relative[name],
                "memory_mb": one.memory_mb,
                "slowest_answer_s": max(one.answers_s, default=None),
                "median_answer_s": statistics.median(one.answers_s) if one.answers_s else None,
            }
            for name, one in measured.items()
        },
        "held": {
            **{name: relative[name] >= aim for name, aim in AIMS.items() if name in relative},
            "answers": all(max(one.answers_s, default=0.0) < ANSWER_S for one in measured.values()),
        },
    }


def main(
    senders: Annotated[int, typer.Option(min=1, help="At once.")] = 4,
    films: Annotated[int, typer.Option(min=1, help="From each, a round.")] = 6,
    rounds: Annotated[int, typer.Option(min=1)] = 7,
    folder: Annotated[Path | None, typer.Option(help="On the disk to measure with.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Besides storescp.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write the figures as JSON.")] = None,
) -> None:
    """Measure how fast films come in; exit code 3 where a bound is missed.

    Example: `python -m benchmarks.intake --folder /var/lib/osteoedge --out intake.json`
    """
    errors = Console(stderr=True, highlight=False)
    for tool in ("storescp", "storescu", "echoscu"):
        if shutil.which(tool) is None:
            errors.print(f"[bold red]Error[/] {tool} is missing. Install dcmtk.")
            raise typer.Exit(1)
    names = ["storescp", *(only or list(SERVICES)[1:])]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        figures = document(
            measure(Path(place), draw_films(Path(place), senders, films), rounds, names)
        )
    if out is not None:
        write_atomically(out, (json.dumps(figures, indent=2) + "\n").encode())
    table = Table("service", "MB/s", "x storescp", "slowest answer", "memory")
    for name, one in figures["services"].items():
        slowest = one["slowest_answer_s"]
        table.add_row(
            name, f"{one['mb_per_s']:.0f}", f"{one['over_storescp']:.2f}",
            "" if slowest is None else f"{slowest:.2f} s", f"{one['memory_mb']:.0f} MB",
        )  # fmt: skip
    Console().print(table)
    if not all(figures["held"].values()):
        typer.echo(f"missed: {', '.join(k for k, held in figures['held'].items() if not held)}")
        raise typer.Exit(3)


if __name__ == "__main__":
    typer.run(main)
