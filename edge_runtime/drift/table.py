"""The figures of a unit's blocks, as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from edge_runtime.drift.reference import BLOCK, FIGURES, Figure
from edge_runtime.drift.status import JudgedBlock
from edge_runtime.phrases import Phrase, say

_SHOWN = 24
_LEVELS = "▁▂▃▄▅▆▇█"


def history_table(history: Sequence[JudgedBlock]) -> Table:
    """Return one row a figure: what the reference says, and how the newest blocks went.

    Parameters
    ----------
    history
        One or more blocks, oldest first.
    """
    shown = history[-_SHOWN:]
    title = f"blocks {shown[0].number} to {shown[-1].number} of {BLOCK} studies, since "
    table = Table(
        "figure", "reference", "newest", "p", "blocks", "alarm",
        title=title + f"{shown[0].began.astimezone():%Y-%m-%d}", title_justify="left",
    )  # fmt: skip
    for figure in FIGURES:
        found = [one for block in shown for one in block.figures if one.figure == figure]
        if found:
            newest = found[-1]
            table.add_row(
                say(Phrase(key=f"drift.{figure}")),
                in_words(figure, newest.then),
                in_words(figure, newest.now),
                f"{newest.p:.2g}",
                sparkline([one.now for one in found], newest.then),
                "ALARM" if newest.alarm else "",
            )
    return table


def sparkline(values: Sequence[float], reference: float) -> str:
    """Return values as blocks of text, the lowest of all at the bottom, the reference included."""
    low, high = min(*values, reference), max(*values, reference)
    step = (high - low) / (len(_LEVELS) - 1) or 1.0
    return "".join(_LEVELS[round((value - low) / step)] for value in values)


def in_words(figure: Figure, value: float) -> str:
    """Return a figure as people read it."""
    if figure in ("tumour", "unable"):
        return f"{value:.1%}"
    return f"{value:.0f}" if figure == "exposure" else f"{value:.2f}"
