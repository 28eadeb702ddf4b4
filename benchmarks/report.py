"""`bench.json` on the disk, and the table that a person reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
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


def read_runs(path: Path) -> list[Bench]:
    """Read a bench.json, or a folder of them, which are several runs of the same.

    Raises
    ------
    BenchmarkError
        One of them cannot be read, or the folder holds none.
    """
    if not path.is_dir():
        return [read_bench(path)]
    runs = [read_bench(file) for file in sorted(path.glob("*.json"))]
    if not runs:
        raise BenchmarkError(
            "no .json file is in this folder", "Name a bench.json, or a folder of them", str(path)
        )
    return runs


def _figure(name: str, digits: int) -> Callable[[Row], str | None]:
    def say(row: Row) -> str | None:
        figure = getattr(row, name)
        return None if figure is None else f"{figure:.{digits}f}"

    return say


def _time(milliseconds: float | None) -> str | None:
    """Return three digits, where they are behind the point: more are noise, and wide."""
    if milliseconds is None:
        return None
    digits = sum(milliseconds < bound for bound in (1, 10, 100))
    return f"{milliseconds:.{digits}f}"


def _median(row: Row) -> str | None:
    low, high = _time(row.p50_low_ms), _time(row.p50_high_ms)
    return None if row.p50_ms is None else f"{_time(row.p50_ms)} ({low}-{high or '?'})"


def _taken(row: Row) -> str | None:
    return None if row.coverage is None else f"{row.coverage.taken}/{row.coverage.total}"


def _wrong(row: Row) -> str | None:
    return None if row.error is None else f"{row.error.max_steps:.2g}"


def _accuracy(name: str) -> Callable[[Row], str | None]:
    def say(row: Row) -> str | None:
        found: Interval | None = None if row.accuracy is None else getattr(row.accuracy, name)
        return None if found is None else f"{found.value:.3f}"

    return say


_Column = tuple[str, Callable[[Row], str | None]]
_SPEED: tuple[_Column, ...] = (
    ("p50", _median),
    ("p90", lambda row: _time(row.p90_ms)),
    ("p99", lambda row: _time(row.p99_ms)),
    ("film", lambda row: _time(row.screen_p50_ms)),
)
# A column of which no row tells anything is left out.
_WORTH: tuple[_Column, ...] = (
    ("cold ms", lambda row: _time(row.cold_ms)),
    ("file MB", _figure("file_mb", 2)),
    ("RAM MB", _figure("rss_mb", 0)),
    ("mJ", _figure("energy_mj", 1)),
    ("ops", _taken),
    ("steps off", _wrong),
    ("AUC", _accuracy("auc_macro")),
    ("sens.", _accuracy("sensitivity")),
    ("Dice", _accuracy("dice")),
)


def tables(bench: Bench) -> Iterator[Table | str]:
    """Yield the rows twice, narrow enough for a terminal: what they take, and what they give."""
    host, rows = bench.host, bench.rows
    bundles = " and ".join(dict.fromkeys(row.bundle for row in rows))
    synthetic = ", SYNTHETIC: model trained on drawings" if any(r.synthetic for r in rows) else ""
    yield escape(f"{bundles} on {host.cpu}, {host.cores} cores, milliseconds{synthetic}")
    yield _table(rows, _SPEED, _mark)
    worth = [(head, say) for head, say in _WORTH if any(say(row) for row in rows)]
    if worth:
        yield ""
        yield _table(rows, worth)


def _table(
    rows: Sequence[Row], columns: Sequence[_Column], mark: Callable[[Row], str] | None = None
) -> Table:
    result = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    result.add_column("")
    for heading, _ in columns:
        result.add_column(heading, justify="right", no_wrap=True)
    result.add_column("")
    for row in rows:
        figures = [say(row) or "-" for _, say in columns]
        result.add_row(*map(escape, (_name(row, rows), *figures)), mark(row) if mark else "")
    return result


def _name(row: Row, rows: Sequence[Row]) -> str:
    """Return the row's key, without the bundle's name where there is no other."""
    alone = len({one.bundle for one in rows}) == 1
    return row.key.partition(" ")[2] if alone else row.key


def _mark(row: Row) -> str:
    if row.status != "ok":
        return f"[bold red]{row.status}[/]"
    if row.suspicious:
        return "[bold red]suspicious[/]"
    return "[yellow]not ranked[/]" if row.software_gpu else "ok"


def details(bench: Bench) -> Iterator[str]:
    """Yield what the tables do not hold, lines of markup: reasons, ratios, and warnings."""
    for row in bench.rows:
        software = "this GPU is software on the processor" if row.software_gpu else None
        for said in (row.reason, row.suspicious, software, *row.degraded):
            if said:
                yield escape(f"{_name(row, bench.rows)}: {said}")
    for one in bench.ratios:
        times = one.times
        what = "the network" if one.what == "invoke" else "a film"
        yield (
            f"{what}, {escape(one.row)} / {escape(one.reference)}: "
            f"{times.value:.2f} x ({times.low:.2f}-{times.high:.2f})"
        )
    for warning in bench.host.warnings:
        yield f"[yellow]Warning[/]: {escape(warning)}"
