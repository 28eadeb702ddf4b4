"""`bench.json` on the disk, and the table that a person reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from benchmarks.schema import SCHEMA, Bench, Interval, Row
from edge_runtime.errors import BenchmarkError
from edge_runtime.files import write_atomically


def write_bench(path: Path, bench: Bench) -> None:
    """Write bench.json atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, bench.to_json().encode())


def read_bench(path: Path) -> Bench:
    """Read bench.json.

    Raises
    ------
    BenchmarkError
        It is not there, is damaged, or was written by another version.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise BenchmarkError(
            f"it cannot be read ({error.strerror})", "Name a bench.json", str(path)
        ) from None
    except ValueError:
        raise BenchmarkError(
            "this is no JSON, or only the beginning of it",
            "Copy the file again, or measure again: osteoedge bench NAME.osteo --out FILE",
            str(path),
        ) from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        said = f"says it is {schema}" if schema else "does not say what it is"
        raise BenchmarkError(
            f"it {said}, not {SCHEMA}", "Measure again with this version", str(path)
        )
    try:
        # As JSON: arrays are tuples there.
        return Bench.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        raise BenchmarkError(
            f"{key}: {first['msg']}", "Measure again with this version", str(path)
        ) from None


def _figure(name: str, digits: int) -> Callable[[Row], str | None]:
    def say(row: Row) -> str | None:
        figure = getattr(row, name)
        return None if figure is None else f"{figure:.{digits}f}"

    return say


def _median(row: Row) -> str | None:
    if row.p50_ms is None:
        return None
    high = "?" if row.p50_high_ms is None else f"{row.p50_high_ms:.2f}"
    return f"{row.p50_ms:.2f} ({row.p50_low_ms:.2f}-{high})"


def _taken(row: Row) -> str | None:
    return None if row.coverage is None else f"{row.coverage.taken}/{row.coverage.total}"


def _wrong(row: Row) -> str | None:
    return None if row.error is None else f"{row.error.max_steps:.2g}"


def _accuracy(name: str) -> Callable[[Row], str | None]:
    def say(row: Row) -> str | None:
        found: Interval | None = None if row.accuracy is None else getattr(row.accuracy, name)
        return None if found is None else f"{found.value:.3f}"

    return say


# Milliseconds unless it says otherwise. A column of which no row tells anything is left out.
_COLUMNS: tuple[tuple[str, Callable[[Row], str | None]], ...] = (
    ("p50", _median),
    ("p90", _figure("p90_ms", 2)),
    ("p99", _figure("p99_ms", 2)),
    ("film p50", _figure("screen_p50_ms", 1)),
    ("cold start", _figure("cold_ms", 0)),
    ("memory MB", _figure("rss_mb", 0)),
    ("file MB", _figure("file_mb", 2)),
    ("mJ", _figure("energy_mj", 1)),
    ("ops", _taken),
    ("error, steps", _wrong),
    ("AUC", _accuracy("auc_macro")),
    ("sensitivity", _accuracy("sensitivity")),
    ("Dice", _accuracy("dice")),
)


def table(bench: Bench) -> Table:
    """Return the rows as a table, with the medians' 95 % intervals."""
    host, rows = bench.host, bench.rows
    synthetic = ", SYNTHETIC: model trained on drawings" if any(r.synthetic for r in rows) else ""
    result = Table(
        title=escape(f"ms on {host.cpu}, {host.cores} cores{synthetic}"), title_justify="left"
    )
    told = [(head, say) for head, say in _COLUMNS if any(say(row) is not None for row in rows)]
    for heading in ("model", "variant", "delegate"):
        result.add_column(heading)
    for heading in ("threads", *(head for head, _ in told)):
        result.add_column(heading, justify="right")
    result.add_column("status")
    for row in rows:
        figures = [say(row) or "-" for _, say in told]
        cells = (row.bundle, row.variant, row.delegate, str(row.threads), *figures)
        result.add_row(*map(escape, cells), "; ".join(_said(row)))
    return result


def _said(row: Row) -> Iterator[str]:
    yield "ok" if row.status == "ok" else f"[bold red]{row.status}[/]"
    if row.reason:
        yield escape(row.reason)
    if row.software_gpu:
        yield "[yellow]a GPU made of software: not ranked[/]"
    if row.suspicious:
        yield f"[bold red]suspicious[/]: {escape(row.suspicious)}"
    yield from map(escape, row.degraded)


def details(bench: Bench) -> Iterator[str]:
    """Yield what the table does not hold, lines of markup: ratios, and warnings."""
    for one in bench.ratios:
        times = one.times
        what = "the network" if one.what == "invoke" else "a film"
        yield (
            f"{what}, {escape(one.row)} / {escape(one.reference)}: "
            f"{times.value:.2f} x ({times.low:.2f}-{times.high:.2f})"
        )
    for warning in bench.host.warnings:
        yield f"[yellow]Warning[/]: {escape(warning)}"
