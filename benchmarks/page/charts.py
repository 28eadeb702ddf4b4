"""The charts of the benchmark page, as SVG that needs no other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.schema import FilmStages, QueueCost, Ratio, Row
from train.svg import plain, svg

_INK, _GREY, _LINE = "#222222", "#8a949e", "#cccccc"
# Okabe and Ito's colours, told apart by colour-blind readers, and by their lightness on paper.
_BLUE, _ORANGE = "#0072B2", "#D55E00"
STAGES = {
    "read": "#56B4E9", "decode": "#0072B2", "preprocess": "#009E73", "invoke": "#D55E00",
    "postprocess": "#CC79A7", "report": "#E69F00",
}  # fmt: skip
# Where the largest is so many times the smallest, a linear axis shows nothing of the latter.
_LOG_FROM = 8.0
_WIDTH, _ROW = 9.2, 0.34

Any_ = TypeVar("Any_")


def latency(ranked: Sequence[tuple[str, Row]], others: Sequence[tuple[str, Row]]) -> str:
    """Draw p50, p90 and p99 with their intervals, in the order given.

    Parameters
    ----------
    ranked, others
        What stands beside the row, and the row. The latter are in grey below a line: software
        GPUs, and what is too fast to be believed.
    """
    figure, axes = _lines([*ranked, *others])
    for height, (_, row) in _from_top([*ranked, *others]):
        colour = _BLUE if height >= len(others) else _GREY
        axes.plot([row.p50_ms or 0, row.p99_ms or 0], [height] * 2, color=_LINE, zorder=1)
        for percent, marker, size in (("p50", "o", 6.5), ("p90", "|", 9), ("p99", "d", 4.5)):
            _point(
                axes, height, marker, size, colour,
                *(getattr(row, f"{percent}{end}_ms") for end in ("", "_low", "_high")),
            )  # fmt: skip
    if ranked and others:
        axes.axhline(len(others) - 0.5, color=_INK, linewidth=0.8)
    for marker, size, name in (("o", 6.5, "p50"), ("|", 9, "p90"), ("d", 4.5, "p99")):
        axes.plot([], [], marker, markersize=size, color=_BLUE, label=name)
    _legend(axes, 3)
    values = [
        ms for _, row in [*ranked, *others] for ms in (row.p50_ms, row.p99_high_ms or row.p99_ms)
    ]
    _milliseconds(axes, [value for value in values if value], "network, ms")
    return svg(figure)


def ratios(found: Sequence[tuple[str, Ratio]]) -> str:
    """Draw how many times as long each took as the reference, with intervals."""
    figure, axes = _lines(found)
    for height, (_, ratio) in _from_top(found):
        times = ratio.times
        # What overlaps the reference cannot be told from it.
        colour = _GREY if times.low <= 1.0 <= times.high else _BLUE
        _point(axes, height, "o", 6, colour, times.value, times.low, times.high)
    axes.axvline(1.0, color=_INK, linewidth=0.8)
    axes.set_xscale("log")
    ends = [end for _, ratio in found for end in (ratio.times.low, ratio.times.high)]
    axes.set_xlim(min([0.5, *ends]) / 1.15, max([2.0, *ends]) * 1.15)
    _log_ticks(axes.xaxis)
    axes.set_xlabel("times as long (left of 1: faster)")
    return svg(figure)


def stages(films: Sequence[tuple[str, FilmStages]]) -> str:
    """Draw a bar for each kind of film, of what each stage took."""
    figure, axes = _lines(films)
    for height, (_, film) in _from_top(films):
        left = 0.0
        for stage, taken in film.stages_ms.items():
            axes.barh(
                height, taken, left=left, height=0.72, color=STAGES[stage],
                edgecolor="white", linewidth=0.4,
            )  # fmt: skip
            left += taken
        whole = film.total_ms or left
        axes.text(left, height, f" {whole:.0f}", va="center", fontsize=8, color=_INK)
    for stage, colour in STAGES.items():
        axes.bar(0, 0, color=colour, label=stage)
    _legend(axes, len(STAGES))
    axes.set_xlim(0, 1.08 * max(sum(film.stages_ms.values()) for _, film in films))
    axes.set_xlabel("ms a film")
    return svg(figure)


def area(films: Sequence[FilmStages]) -> str:
    """Draw what films cost against their area, whole and by stage, both axes logarithmic."""
    figure, axes = _square("megapixels", "ms a film")
    ordered = sorted(films, key=_megapixels)
    x = [_megapixels(film) for film in ordered]
    for stage, colour in STAGES.items():
        # What took no time at all has no place on a logarithmic axis.
        known = [
            (at, taken)
            for at, film in zip(x, ordered, strict=True)
            if (taken := film.stages_ms.get(stage))
        ]
        axes.plot(*zip(*known, strict=True), marker=".", linewidth=1, color=colour, label=stage)
    totals = [film.total_ms or 0.0 for film in ordered]
    axes.plot(x, totals, marker="o", markersize=4, color=_INK, linewidth=1.8, label="whole")
    for at, film in zip(x, ordered, strict=True):
        if film.total_low_ms and film.total_high_ms:
            axes.plot([at] * 2, [film.total_low_ms, film.total_high_ms], color=_INK, alpha=0.45,
                      linewidth=3)  # fmt: skip
    _loglog(axes)
    bottom, top = axes.get_ylim()
    # Through the largest film: whoever is parallel to it is proportional to the area.
    slope = [totals[-1] * at / x[-1] for at in x]
    axes.plot(x, slope, color=_GREY, linestyle=":", label="proportional")
    axes.set_ylim(bottom, top)
    _legend(axes, 3)
    return svg(figure)


def queue(costs: Sequence[QueueCost]) -> str:
    """Draw what a film costs against how many came at once, both axes logarithmic."""
    figure, axes = _square("films that came at once", "ms a film")
    lengths = [cost.films for cost in costs]
    each = [cost.per_film_ms for cost in costs]
    axes.axhline(each[0], color=_GREY, linestyle=":", label="as a film alone")
    axes.plot(lengths, each, marker="o", color=_INK, linewidth=1.8, label="each of them")
    _loglog(axes)
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.set_ylim(min(each) / 3, max(each) * 3)
    _legend(axes, 2)
    return svg(figure)


def accuracy(rows: Sequence[tuple[str, Row]]) -> str:
    """Draw the time that a screening takes, and beside it the tumour AUC, with intervals."""
    figure, axes = _lines(rows, beside=1)
    answers = figure.add_subplot(1, 2, 2, sharey=axes)
    answers.tick_params(axis="y", left=False, labelleft=False)
    _bare(answers)
    for height, (_, row) in _from_top(rows):
        colour = _BLUE if row.ranked else _GREY
        _point(
            axes, height, "o", 6, colour,
            row.screen_p50_ms, row.screen_p50_low_ms, row.screen_p50_high_ms,
        )  # fmt: skip
        if row.accuracy and (area_ := row.accuracy.auc_tumour):
            _point(answers, height, "o", 6, colour, area_.value, area_.low, area_.high)
    times = [row.screen_p50_ms for _, row in rows if row.screen_p50_ms]
    _milliseconds(axes, times, "a screening, ms (left: faster)")
    answers.set_xlabel("AUC, tumour or none (right: better)")
    return svg(figure)


def memory(rows: Sequence[tuple[str, Row]]) -> str:
    """Draw the model's file, resident memory, and the highest that it was."""
    figure, axes = _lines(rows, 0.5)
    bars = (
        ("file_mb", "model file", _INK),
        ("rss_mb", "resident", "#56B4E9"),
        ("peak_mb", "highest", _BLUE),
    )
    largest = 0.0
    for height, (_, row) in _from_top(rows):
        for number, (figure_, _, colour) in enumerate(bars):
            value = getattr(row, figure_)
            if value is not None:
                at = height + 0.26 * (1 - number)
                axes.barh(at, value, height=0.24, color=colour)
                axes.text(value, at, f" {value:.0f}", va="center", fontsize=7, color=_INK)
                largest = max(largest, value)
    for _, name, colour in bars:
        axes.bar(0, 0, color=colour, label=name)
    _legend(axes, len(bars))
    axes.set_xlim(0, 1.08 * largest)
    axes.set_xlabel("MB")
    return svg(figure)


def energy(rows: Sequence[tuple[str, Row]]) -> str:
    """Draw what a screening takes from the battery."""
    figure, axes = _lines(rows)
    for height, (_, row) in _from_top(rows):
        taken = row.energy_mj or 0.0
        axes.barh(height, taken, height=0.6, color=_BLUE)
        axes.text(taken, height, f" {taken:.0f}", va="center", fontsize=8, color=_INK)
    axes.set_xlim(0, 1.1 * max(row.energy_mj or 0.0 for _, row in rows))
    axes.set_xlabel("millijoule a screening")
    return svg(figure)


def _megapixels(film: FilmStages) -> float:
    return film.rows * film.columns / 1e6


def _lines(
    rows: Sequence[tuple[str, object]], height: float = _ROW, beside: int = 0
) -> tuple[Figure, Axes]:
    """Return axes with a line for each row, the first at the top, and room for more beside."""
    figure = Figure(figsize=(_WIDTH, 1.1 + height * len(rows)), layout="constrained")
    axes = figure.add_subplot(1, 1 + beside, 1)
    names = [plain(name) for name, _ in reversed(rows)]
    axes.set_yticks(range(len(rows)), names, fontsize=9)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.tick_params(axis="y", length=0)
    _bare(axes)
    return figure, axes


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)


def _from_top(rows: Sequence[Any_]) -> Iterator[tuple[int, Any_]]:
    """Yield the height of each row of :func:`_lines`, and the row."""
    return enumerate(reversed(rows))


def _point(
    axes: Axes,
    height: int,
    marker: str,
    size: float,
    colour: str,
    value: float | None,
    low: float | None,
    high: float | None,
) -> None:
    """Draw a figure with its interval, as far as they are known."""
    if value is None:
        return
    ends = [value if low is None else low, value if high is None else high]
    axes.plot(ends, [height] * 2, color=colour, linewidth=3, alpha=0.45, zorder=2)
    axes.plot(value, height, marker, markersize=size, color=colour, zorder=3)


def _legend(axes: Axes, columns: int) -> None:
    """Say above the lines what is what: beside them there is no room."""
    axes.legend(
        frameon=False, fontsize=8, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
    )  # fmt: skip


def _milliseconds(axes: Axes, values: Sequence[float], label: str, margin: float = 1.2) -> None:
    """Give the axis along which the time goes its scale."""
    if max(values) > _LOG_FROM * min(values):
        axes.set_xscale("log")
        axes.set_xlim(min(values) / margin, max(values) * margin)
        _log_ticks(axes.xaxis)
    else:
        axes.set_xlim(0, max(values) * margin)
    axes.set_xlabel(label)


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _loglog(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log")
    _log_ticks(axes.xaxis)
    _log_ticks(axes.yaxis)
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)


def _log_ticks(axis: Axis) -> None:
    """Write 0.5, 1, 2, 5, 10, which people read, in place of powers."""
    axis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
