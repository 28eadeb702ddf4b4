"""Whether the queue slows down as it fills: each operation on an empty spool and on a full history.

``python -m benchmarks.spool`` makes two spools: one new, one with 100,000 films that were screened,
reported and delivered. The same films then go through both, step by step in turn, so that whatever
else the machine does, it does to both; the ratio of the medians is printed for every operation, and
for what `osteoedge status` and `/metrics` ask.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edge_runtime.drift.reference import MEASURES
from edge_runtime.files import write_atomically
from edge_runtime.spool import FilmState, Spool
from edge_runtime.spool.admission import FilmIdentity, Received, admit
from edge_runtime.spool.audit import head
from edge_runtime.spool.delivery import claim_delivery, delivered
from edge_runtime.spool.documents import NewDocument
from edge_runtime.spool.drift import WatchedFilm, watched_studies
from edge_runtime.spool.notes import next_withdrawn
from edge_runtime.spool.retention import remove_old
from edge_runtime.spool.studies import claim_study, report_study
from edge_runtime.spool.work import NewResult, begin, claim_film, finish
from edge_runtime.unit import figures

BOUND = 1.2
"""Of the ratio of the medians."""
_DX, _SR = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.88.34"
_SC = "1.2.840.10008.5.1.4.1.1.7"
_WORK = "w" * 64
_DAY_S = 86400.0
_FILMS_A_DAY, _KEPT_S = 60, 30 * _DAY_S
_WATCHED = WatchedFilm("b" * 64, dict.fromkeys(MEASURES, 0.5))
_DOCUMENT = json.dumps({"schema": "osteoedge.screening/1", "filler": "x" * 1500})

Times = dict[str, list[float]]


def fill(spool: Spool, films: int) -> None:
    """Enter a history of films that were delivered until yesterday, in one transaction."""
    now, yesterday = spool.now(), spool.now() - _DAY_S
    with spool.transaction() as execute:
        for number in range(1, films + 1):
            at = yesterday - (films + 1 - number) * _DAY_S / _FILMS_A_DAY
            removed = at if at < now - _KEPT_S else None
            study, instance = f"2.25.8{number}", f"2.25.9{number}"
            content = hashlib.sha256(instance.encode()).hexdigest()
            execute(
                "INSERT INTO film (id, sop_instance_uid, revision, content_sha256, sop_class_uid, "
                "series_instance_uid, study_instance_uid, patient_sha256, path, size, source, "
                "urgency, received_at, state, state_since, removed_at) "
                "VALUES (?,?,1,?,?,?,?,?,?,8000000,'dicom:CONSOLE',2,?,'received',?,?)",
                number, instance, content, _DX, f"{study}.1", study, content,
                f"films/{content[:2]}/{content}.dcm", at, at, removed,
            )  # fmt: skip
            execute(
                "INSERT INTO result (film_id, revision, work, decision, tumour, malignant, "
                "document, made_at) VALUES (?,1,?,'not_flagged',0.1,0.1,?,?)",
                number, _WORK, _DOCUMENT, at,
            )  # fmt: skip
            execute("INSERT INTO study VALUES (?, 1, 1, 'not_flagged', '[]', 3, 0, ?)", study, at)
            for kind, sop_class in (("sc", _SC), ("sr", _SR)):
                uid = f"2.25.7{number}.{len(kind)}{kind == 'sr':d}"
                document = execute(
                    "INSERT INTO document (kind, sop_class_uid, sop_instance_uid, "
                    "series_instance_uid, study_instance_uid, study_revision, path, size, made_at, "
                    "removed_at) VALUES (?,?,?,?,?,?,?,100000,?,?)",
                    kind, sop_class, uid, f"{study}.2", study, 1 if kind == "sr" else None,
                    f"results/{uid}.dcm", at, removed,
                ).lastrowid  # fmt: skip
                execute("INSERT INTO document_film VALUES (?, ?)", document, number)
                execute(
                    "INSERT INTO delivery (document_id, destination, state, rank, urgency, size, "
                    "attempts, sent_at) VALUES (?, 'pacs', 'sent', 0, 3, 100000, 1, ?)",
                    document, at,
                )  # fmt: skip
            execute("INSERT INTO audit VALUES (?, ?, 'screened', '{}', ?)", number, at, content)
        for old, new in (("received", "screening"), ("screening", "reported"),
                         ("reported", "delivered")):  # fmt: skip
            execute("UPDATE film SET state = ? WHERE state = ?", new, old)


def fill_headers(spool: Spool) -> None:
    """Enter what is kept of the headers of a history's films."""
    with spool.transaction() as execute:
        execute(
            "INSERT INTO film_header "
            "SELECT id, 'A' || id, 'P' || id, '20260101', 'KNEE', 'L', 'AP' FROM film"
        )


def fill_drift(spool: Spool) -> None:
    """Enter what is watched of a history's films, all screened with the bundle of today's."""
    columns = ", ".join(MEASURES)
    with spool.transaction() as execute:
        execute(
            "INSERT INTO drift_film (bundle_sha256, number, study_instance_uid, film_id, unable, "
            f"{columns}, at) SELECT ?, id, study_instance_uid, id, 0, "
            f"{', '.join('0.5' for _ in MEASURES)}, received_at FROM film",
            _WATCHED.bundle_sha256,
        )


def one_film(spool: Spool, number: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the steps of a film through the unit, by name, each to be called before the next."""
    uid = f"2.25.1{number}"
    data = os.urandom(64)
    file = spool.folder / "incoming" / uid
    file.write_bytes(data)
    received = Received(file, hashlib.sha256(data).hexdigest(), len(data), "dicom:CONSOLE")
    identity = FilmIdentity(_DX, uid, f"{uid}.1", f"{uid}.2", "p" * 64, 2)
    yield "admit", lambda: admit(spool, received, identity)
    given: list[Any] = []
    yield "claim_film", lambda: given.append(claim_film(spool))
    film = given.pop()
    result = NewResult(
        FilmState.REPORTED, "not_flagged", 0.1, 0.1, _DOCUMENT, _WORK, watched=_WATCHED
    )
    yield "finish", lambda: finish(spool, film, result, [_document(spool, "sc", f"{uid}.3")])
    yield "claim_study", lambda: given.append(claim_study(spool))
    study = given.pop()
    report = _document(spool, "sr", f"{uid}.4")
    yield "report_study", lambda: report_study(spool, study, "not_flagged", "[]", report)
    yield "next_withdrawn", lambda: next_withdrawn(spool)
    for _ in range(2):
        yield "claim_delivery", lambda: given.append(claim_delivery(spool, "pacs"))
        delivery = given.pop()
        yield "delivered", partial(delivered, spool, delivery, 1000)
    yield "idle: claim_film", lambda: claim_film(spool)
    yield "idle: claim_study", lambda: claim_study(spool)
    yield "drift: studies", lambda: watched_studies(spool, _WATCHED.bundle_sha256)
    yield "idle: claim_delivery", lambda: claim_delivery(spool, "pacs")
    midnight = spool.now() - _DAY_S / 2
    yield "status: films by state", lambda: figures.films_by_state(spool)
    yield "status: oldest waiting", lambda: figures.oldest_waiting_s(spool)
    yield "status: screenings", lambda: figures.screenings_by_decision(spool)
    yield "status: studies", lambda: figures.studies(spool)
    yield "status: deliveries", lambda: figures.deliveries_by_state(spool)
    yield "status: bytes today", lambda: figures.sent_bytes_since(spool, midnight)
    yield "status: bytes ever", lambda: figures.sent_bytes(spool)
    yield "status: quarantined", lambda: figures.quarantined(spool)
    yield "status: audit head", lambda: head(spool)
    yield "tidy", lambda: remove_old(spool, _KEPT_S, 0, ())


def measure(spools: dict[str, Spool], films: int) -> dict[str, Times]:
    """Send so many films through each spool, step by step in turn; return seconds of each step."""
    taken: dict[str, Times] = {name: defaultdict(list) for name in spools}
    for number in range(films):
        steps = {name: one_film(spool, number) for name, spool in spools.items()}
        # Nobody is always the first.
        order = list(steps) if number % 2 else list(reversed(steps))
        while pairs := [(name, step) for name in order if (step := next(steps[name], None))]:
            for name, (what, call) in pairs:
                started = time.perf_counter()
                call()
                taken[name][what].append(time.perf_counter() - started)
    return taken


def _document(spool: Spool, kind: Any, uid: str) -> NewDocument:
    path = spool.folder / "results" / f"{uid}.dcm"
    path.write_bytes(b"")
    return NewDocument(kind, _SC if kind == "sc" else _SR, uid, f"{uid}.1", path, 1000, ("pacs",))


def main(
    history: Annotated[int, typer.Option(min=0, help="Films of the full spool.")] = 100_000,
    films: Annotated[int, typer.Option(min=2, help="Sent through both.")] = 300,
    folder: Annotated[Path | None, typer.Option(help="On the disk to measure with.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write the figures as JSON.")] = None,
) -> None:
    """Measure what a long history costs; exit code 3 where a ratio is above 1.2.

    Example: `python -m benchmarks.spool --folder /var/lib/osteoedge --out spool.json`
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        spools = {name: Spool(Path(place) / name) for name in ("empty", "full")}
        fill(spools["full"], history)
        fill_headers(spools["full"])
        fill_drift(spools["full"])
        for spool in spools.values():
            begin(spool, _WORK, "boot")
        os.sync()
        taken = measure(spools, films)
        for spool in spools.values():
            spool.close()
    medians = {
        what: {name: statistics.median(taken[name][what]) for name in taken}
        for what in taken["empty"]
    }
    ratios = {what: one["full"] / one["empty"] for what, one in medians.items()}
    table = Table("operation", "empty", f"{history:,} films", "ratio")
    for what, one in medians.items():
        told = (f"{one[name] * 1e3:.3f} ms" for name in ("empty", "full"))
        table.add_row(what, *told, f"{ratios[what]:.2f}")
    Console().print(table)
    if out is not None:
        figures_ = {"history": history, "medians_s": medians, "ratios": ratios}
        write_atomically(out, (json.dumps(figures_, indent=2) + "\n").encode())
    if missed := [what for what, ratio in ratios.items() if ratio > BOUND]:
        typer.echo(f"missed: {', '.join(missed)}")
        raise typer.Exit(3)


if __name__ == "__main__":
    typer.run(main)
