"""What is slower than in an earlier run, beyond what chance does to both.

Two medians differ where their 95 % intervals lie apart, after both were widened for the number of
medians that are compared. Of two equal systems with intervals of the same width that happens, one
way, with probability 0.3 %; up to 18 comparisons it stays below 5 % for all of them together, and
beyond that the intervals are widened until it does (Bonferroni, on the scale of a normal
distribution). Where one interval is much narrower than the other, as of a longer run, it
approaches 2.5 % a comparison: compare runs of the same length. Percentiles beyond the median are
not compared; their intervals are wide, and every figure that is compared costs power.

What intervals of two runs cannot hold is what one run never sees: another place in memory, another
neighbour of a virtual machine, a warmer room. Between runs a machine differs by more than within
one, and a flag says that these two runs differ, not yet that a program became slower. Before it is
believed, both are measured again, best in turns (Kalibera and Jones, "Rigorous Benchmarking in
Reasonable Time", ISMM 2013); ratios within one run are free of this.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from scipy.stats import norm

from benchmarks.schema import Bench, Host, Interval, Row

FALSE_ALARMS = 0.05  # of all comparisons together
_NORMAL = float(norm.isf(0.025))
_MEDIANS: tuple[tuple[Literal["invoke", "screen"], str], ...] = (
    ("invoke", "p50"), ("screen", "screen_p50"),
)  # fmt: skip
_SAYS = {"slower": "[bold red]slower[/]", "faster": "[green]faster[/]", "same": "within noise"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Change(_Part):
    """A median then and now, milliseconds."""

    row: str = Field(description="`key` of the row")
    what: Literal["invoke", "screen"]
    reference: Interval
    new: Interval
    verdict: Literal["slower", "faster", "same"]

    @property
    def times(self) -> float:
        """How many times longer it takes."""
        return self.new.value / self.reference.value


class Comparison(_Part):
    """A run held against an earlier one."""

    other_host: dict[str, tuple[str, str]] = Field(
        description="what is another machine: then and now"
    )
    other_software: dict[str, tuple[str, str]] = Field(
        description="versions and settings that changed: then and now"
    )
    changes: tuple[Change, ...]
    widened: float = Field(description="times as wide as they are intervals were taken")
    lost: dict[str, str] = Field(
        description="rows that had figures and have none, by key, and what became of them"
    )
    gained: tuple[str, ...] = Field(description="rows that had no figures then")

    @property
    def worse(self) -> bool:
        """Whether something is slower beyond noise, or gone."""
        return bool(self.lost) or any(change.verdict == "slower" for change in self.changes)

    def to_json(self) -> str:
        """Return the document's text."""
        return self.model_dump_json(indent=2) + "\n"


def compare(new: Bench, reference: Bench) -> Comparison:
    """Hold a run against an earlier one, row by row."""
    then = {row.key: row for row in reference.rows if row.status == "ok"}
    now = {row.key: row for row in new.rows}
    medians = [
        (key, what, _interval(row, name), _interval(now[key], name))
        for key, row in then.items()
        if key in now
        for what, name in _MEDIANS
    ]
    pairs = [(key, what, old, found) for key, what, old, found in medians if old and found]
    widened = _widening(len(pairs))
    return Comparison(
        other_host=_differences(_machine(reference.host), _machine(new.host)),
        other_software=_differences(_software(reference.host), _software(new.host)),
        changes=tuple(
            Change(row=key, what=what, reference=old, new=found,
                   verdict=_verdict(old, found, widened))
            for key, what, old, found in pairs
        ),
        widened=widened,
        lost={key: _lost(now.get(key)) for key in then if _lost(now.get(key))},
        gained=tuple(
            key for key, row in now.items() if row.status == "ok" and key not in then
        ),
    )  # fmt: skip


def _interval(row: Row, name: str) -> Interval | None:
    ends = [getattr(row, f"{name}{end}_ms") for end in ("", "_low", "_high")]
    if None in ends:
        return None
    value, low, high = ends
    return Interval(value=value, low=low, high=high)


def _widening(comparisons: int) -> float:
    """Return how much wider intervals must be for :data:`FALSE_ALARMS` of all together."""
    if not comparisons:
        return 1.0
    # Of a difference: its deviation is that of one median times the root of two.
    return max(1.0, float(norm.isf(FALSE_ALARMS / comparisons)) / _NORMAL / math.sqrt(2.0))


def _verdict(
    reference: Interval, new: Interval, widened: float
) -> Literal["slower", "faster", "same"]:
    def reach(of: Interval, end: float) -> float:
        return of.value + (end - of.value) * widened

    if reach(new, new.low) > reach(reference, reference.high):
        return "slower"
    return "faster" if reach(new, new.high) < reach(reference, reference.low) else "same"


def _lost(row: Row | None) -> str:
    if row is None:
        return "not measured"
    return "" if row.status == "ok" else f"{row.status}: {row.reason}"


def _machine(host: Host) -> dict[str, str]:
    return {
        "processor": host.cpu or "unknown",
        "cores": str(host.cores),
        "architecture": host.architecture,
        "board": host.board or "unknown",
    }


def _software(host: Host) -> dict[str, str]:
    return {
        "system": host.system,
        "Python": host.python,
        "governor": host.governor or "unknown",
        **host.packages,
    }


def _differences(then: dict[str, str], now: dict[str, str]) -> dict[str, tuple[str, str]]:
    pairs = {name: (then.get(name, "none"), now.get(name, "none")) for name in then | now}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def table(comparison: Comparison) -> Table:
    """Return the comparison as a table, milliseconds."""
    result = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    result.add_column("against the reference, ms")
    for heading in ("then", "now", "times"):
        result.add_column(heading, justify="right", no_wrap=True)
    result.add_column("")
    for change in comparison.changes:
        result.add_row(
            escape(f"{change.row}{', film' if change.what == 'screen' else ''}"),
            _spread(change.reference),
            _spread(change.new),
            f"{change.times:.3f}",
            _SAYS[change.verdict],
        )
    return result


def _spread(median: Interval) -> str:
    return f"{median.value:.2f} ({median.low:.2f}-{median.high:.2f})"


def details(comparison: Comparison) -> Iterator[str]:
    """Yield what the table does not hold, a line each, as markup; another machine comes first."""
    for name, (then, now) in comparison.other_host.items():
        yield f"[bold red]ANOTHER MACHINE[/]: {name} was {escape(then)} and is {escape(now)}"
    for name, (then, now) in comparison.other_software.items():
        yield f"{name} was {escape(then)} and is {escape(now)}"
    for key, why in comparison.lost.items():
        yield f"[bold red]gone[/]: {escape(f'{key}, {why}')}"
    if comparison.gained:
        yield escape(f"new: {', '.join(comparison.gained)}")
    if comparison.changes:
        middle = statistics.median(change.times for change in comparison.changes)
        yield f"in the middle {middle:.3f} times: what all rows share is the machine's"
    if comparison.widened > 1.0:
        yield (
            f"intervals were taken {comparison.widened:.2f} times as wide, "
            f"for {len(comparison.changes)} comparisons"
        )
