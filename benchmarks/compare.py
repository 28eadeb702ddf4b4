"""What is slower than in earlier runs, beyond noise.

One earlier run: two medians differ where their 95 % intervals lie apart, after both were widened
for the number of medians that are compared. Of two equal systems with intervals of the same width
that happens, one way, with probability 0.3 %; up to 18 comparisons it stays below 5 % for all of
them together, and beyond that the intervals are widened until it does (Bonferroni, on the scale of
a normal distribution). Where one interval is much narrower than the other, as of a longer run, it
approaches 2.5 % a comparison: compare runs of the same length. Percentiles beyond the median are
not compared; their intervals are wide, and every figure that is compared costs power.

What the intervals of one run cannot hold is what one run never sees: another place in memory, other
cores, another neighbour of a virtual machine, a warmer room. Against a single reference a flag says
that these two runs differ, not yet that a program became slower. Runs are the sample then
(Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013): with several references
a median must also lie beyond where the next of such runs is expected, which is Student's prediction
interval of the logarithms of their medians, for 5 % of all comparisons together. Two references
tell hardly anything, four or more are worth it. Ratios within one run are free of all this.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from scipy.stats import norm, t

from benchmarks.schema import Bench, Host, Interval, Row

What = Literal["invoke", "screen"]
Verdict = Literal["slower", "faster", "same"]

FALSE_ALARMS = 0.05  # of all comparisons together
_NORMAL = float(norm.isf(0.025))
_MEDIANS: tuple[tuple[What, str], ...] = (
    ("invoke", "p50"), ("screen", "screen_p50"),
)  # fmt: skip
_SAYS = {"slower": "[bold red]slower[/]", "faster": "[green]faster[/]", "same": "within noise"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Change(_Part):
    """A median then and now, milliseconds."""

    row: str = Field(description="`key` of the row")
    what: What
    reference: Interval = Field(description="with several references, where one more is expected")
    new: Interval
    verdict: Verdict

    @property
    def times(self) -> float:
        """How many times longer it takes."""
        return self.new.value / self.reference.value


class Comparison(_Part):
    """A run held against earlier ones."""

    references: int = Field(description="how many runs it is held against")
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


def compare(new: Bench, references: Sequence[Bench]) -> Comparison:
    """Hold a run against one earlier run, or several of the same."""
    then: dict[str, list[Row]] = {}
    for row in (row for bench in references for row in bench.rows if row.status == "ok"):
        then.setdefault(row.key, []).append(row)
    now = {row.key: row for row in new.rows}
    found = []
    for key, rows in then.items():
        for what, name in _MEDIANS if key in now else ():
            median = _interval(now[key], name)
            earlier = [one for one in (_interval(row, name) for row in rows) if one]
            if median and earlier:
                found.append((key, what, earlier, median))
    return Comparison(
        references=len(references),
        other_host=_differences(references, new, _machine),
        other_software=_differences(references, new, _software),
        changes=tuple(
            _change(key, what, earlier, median, len(found)) for key, what, earlier, median in found
        ),
        widened=_widening(len(found)),
        lost={key: _lost(now.get(key)) for key in then if _lost(now.get(key))},
        gained=tuple(key for key, row in now.items() if row.status == "ok" and key not in then),
    )


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


def _expected(earlier: Sequence[Interval], comparisons: int) -> Interval:
    """Return where the next of such runs is expected; of one run, its own interval."""
    low, high = min(one.low for one in earlier), max(one.high for one in earlier)
    middle = statistics.median(one.value for one in earlier)
    if len(earlier) > 1:
        logs = [math.log(one.value) for one in earlier]
        mean, deviation = statistics.mean(logs), statistics.stdev(logs)
        beyond = float(t.isf(FALSE_ALARMS / comparisons, len(logs) - 1))
        reach = beyond * deviation * math.sqrt(1.0 + 1.0 / len(logs))
        low, high = min(low, math.exp(mean - reach)), max(high, math.exp(mean + reach))
    return Interval(value=middle, low=low, high=high)


def _widen(of: Interval, times: float) -> Interval:
    low, high = (of.value + (end - of.value) * times for end in (of.low, of.high))
    return Interval(value=of.value, low=low, high=high)


def _change(
    key: str, what: What, earlier: Sequence[Interval], now: Interval, comparisons: int
) -> Change:
    then, widened = _expected(earlier, comparisons), _widening(comparisons)
    # Where one more run is expected is said for all comparisons already.
    reference = _widen(then, widened) if len(earlier) == 1 else then
    wide = _widen(now, widened)
    verdict: Verdict = "same"
    if wide.low > reference.high:
        verdict = "slower"
    elif wide.high < reference.low:
        verdict = "faster"
    return Change(row=key, what=what, reference=then, new=now, verdict=verdict)


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


def _differences(
    references: Sequence[Bench], new: Bench, told: Callable[[Host], dict[str, str]]
) -> dict[str, tuple[str, str]]:
    now, different = told(new.host), {}
    for then in (told(reference.host) for reference in references):
        for name in then | now:
            pair = then.get(name, "none"), now.get(name, "none")
            if pair[0] != pair[1]:
                different[name] = pair
    return different


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
    if comparison.references == 1 and comparison.worse:
        yield "one reference does not tell how far runs differ: name a folder of several"
    if comparison.changes:
        middle = statistics.median(change.times for change in comparison.changes)
        yield f"in the middle {middle:.3f} times: what all rows share is the machine's"
    if comparison.widened > 1.0:
        yield (
            f"intervals were taken {comparison.widened:.2f} times as wide, "
            f"for {len(comparison.changes)} comparisons"
        )
