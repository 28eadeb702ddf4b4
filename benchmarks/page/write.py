"""The benchmark as a page: one HTML file that needs no network."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmarks.page import charts
from benchmarks.schema import Bench, FilmStages, Row
from edge_runtime.files import write_atomically

Named = tuple[str, Row]

_WHAT = {"invoke": "network", "screen": "screening"}
_SOFTWARE = "software GPU: a driver on the processor"
# Of what may be null, those that stand in a table with others, and how a person calls them.
_FIGURES = {
    "n": "queries", "p50_ms": "p50", "p90_ms": "p90", "p99_ms": "p99", "max_ms": "slowest",
    "per_second": "throughput", "warmup_ms": "warm-up", "screen_p50_ms": "screening",
    "screen_p90_ms": "screening, p90", "cold_ms": "cold start", "rss_mb": "resident memory",
    "peak_mb": "highest memory", "file_mb": "model file", "coverage": "coverage",
    "error": "error",
}  # fmt: skip


def write_page(path: Path, bench: Bench) -> None:
    """Write the page.

    Rows are ranked by the median of the network, fastest first; a software GPU and what is too fast
    to be believed are shown and not ranked.
    """
    several = len({row.bundle for row in bench.rows}) > 1
    labels = {row.key: _label(row, several=several) for row in bench.rows}
    ran = [(labels[row.key], row) for row in bench.rows if row.status == "ok"]
    timed = sorted(
        (named for named in ran if named[1].p50_ms is not None), key=lambda named: _p50(named[1])
    )
    ranked = [named for named in timed if named[1].ranked]
    others = [named for named in timed if not named[1].ranked]
    coded, sized = _by_coding(bench.films), _by_size(bench.films)
    environment = Environment(
        loader=PackageLoader("benchmarks.page", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["figure"] = _figure
    html = environment.get_template("bench.html.j2").render(
        host=bench.host,
        bundles=sorted({row.bundle for row in bench.rows}),
        synthetic=any(row.synthetic for row in bench.rows),
        labels=labels,
        ran=ran,
        ranked=ranked,
        others=[(name, row, _unranked(row)) for name, row in others],
        absent=[(labels[row.key], row) for row in bench.rows if row.status != "ok"],
        unmeasured=_unmeasured(ran),
        ratios=bench.ratios,
        what=_WHAT,
        coded=coded,
        stages=list(charts.STAGES),
        sized=sized,
        typical=next((film for film in sized if film in coded), None),
        queue=bench.queue,
        accurate=[named for named in ran if named[1].accuracy is not None],
        not_accurate=_reasons(bench.rows, "accuracy"),
        metered=[named for named in ran if named[1].energy_mj is not None],
        not_metered=_reasons(bench.rows, "energy_mj"),
        charts=_charts(bench, labels, ranked, others, ran, coded, sized),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, html.encode())


def _charts(
    bench: Bench,
    labels: dict[str, str],
    ranked: list[Named],
    others: list[Named],
    ran: list[Named],
    coded: list[FilmStages],
    sized: list[FilmStages],
) -> dict[str, str]:
    """Return the charts, as SVG, of what there are figures for."""
    drawn = {}
    if ranked or others:
        drawn["latency"] = charts.latency(ranked, others)
    if bench.ratios:
        drawn["ratios"] = charts.ratios(
            [(f"{labels[found.row]}: {_WHAT[found.what]}", found) for found in bench.ratios]
        )
    if measured := [film for film in coded if film.status == "ok"]:
        drawn["stages"] = charts.stages([(film.coding, film) for film in measured])
    if len(sized) > 1:
        drawn["area"] = charts.area(sized)
    if len(bench.queue) > 1:
        drawn["queue"] = charts.queue(bench.queue)
    if answered := [
        (name, row)
        for name, row in ran
        if row.accuracy and row.accuracy.auc_tumour and row.screen_p50_ms
    ]:
        drawn["accuracy"] = charts.accuracy(answered)
    if weighed := [
        (name, row) for name, row in ran if {row.file_mb, row.rss_mb, row.peak_mb} != {None}
    ]:
        drawn["memory"] = charts.memory(weighed)
    if metered := [(name, row) for name, row in ran if row.energy_mj is not None]:
        drawn["energy"] = charts.energy(metered)
    return drawn


def _label(row: Row, *, several: bool) -> str:
    """Return what names a row on this page; ``several``: there is more than one bundle."""
    bundle = f"{row.bundle.partition(' ')[0]} " if several else ""
    return f"{bundle}{row.variant}, {row.delegate}, {row.threads} thread{'s' * (row.threads > 1)}"


def _p50(row: Row) -> float:
    assert row.p50_ms is not None
    return row.p50_ms


def _unranked(row: Row) -> str:
    """Return why a row that was measured is not ranked; blank where it is."""
    return row.suspicious or (_SOFTWARE if row.software_gpu else "")


def _unmeasured(ran: Sequence[Named]) -> list[tuple[str, str, list[str]]]:
    """Return each reason why a figure is missing, what is missing, and of which rows."""
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name, row in ran:
        by_reason: defaultdict[str, list[str]] = defaultdict(list)
        for figure, reason in row.unmeasured.items():
            if figure in _FIGURES:
                by_reason[reason].append(_FIGURES[figure])
        for reason, figures in by_reason.items():
            found[reason, ", ".join(figures)].append(name)
    return [(reason, figures, names) for (reason, figures), names in found.items()]


def _reasons(rows: Sequence[Row], figure: str) -> list[str]:
    """Return why a figure is missing: of the rows that ran, or of all where none did."""
    asked = [row for row in rows if row.status == "ok"] or rows
    return list(dict.fromkeys(row.unmeasured[figure] for row in asked if figure in row.unmeasured))


def _by_coding(films: Sequence[FilmStages]) -> list[FilmStages]:
    """Return the films of the size that most are of: those that differ in their coding alone."""
    if not films:
        return []
    ((size, _),) = Counter((film.rows, film.columns) for film in films).most_common(1)
    return [film for film in films if (film.rows, film.columns) == size]


def _by_size(films: Sequence[FilmStages]) -> list[FilmStages]:
    """Return the measured films of the coding that most are of, smallest first."""
    measured = [film for film in films if film.status == "ok"]
    if not measured:
        return []
    ((coding, _),) = Counter(film.coding for film in measured).most_common(1)
    return sorted(
        (film for film in measured if film.coding == coding),
        key=lambda film: film.rows * film.columns,
    )


def _figure(value: float | None) -> str:
    """Return a figure with about three digits."""
    if value is None:
        return "none"
    size = abs(value)
    digits = 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:,.{digits}f}"
