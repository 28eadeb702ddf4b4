"""How often drift is seen where there is none, and how soon where there is.

``python -m benchmarks.drift`` draws units: a reference for each, and studies that come. It asks the
very functions that a unit asks (:mod:`edge_runtime.drift.blocks`). The test of a figure depends on
ranks alone, so that a normal distribution stands for any.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from edge_runtime.drift.blocks import FALSE_ALARMS, LEVEL, alarms
from edge_runtime.drift.reference import BLOCK, MEASURES
from edge_runtime.drift.statistics import compare_counts, compare_values

Rng = np.random.Generator
Doubles = npt.NDArray[np.float64]

# Studies of a unit in a simulation without drift: what one false alarm is stated for.
STUDIES = 10_000
# Share of reference films that are unable, where nothing else is said.
UNABLE = 0.05


@dataclass(frozen=True)
class Change:
    """Something that happens to films.

    Attributes
    ----------
    films
        Draws so many values of a measure, in standard deviations of the reference; None: it is the
        share of films that are unable that changes.
    unable
        That share, before and after.
    """

    name: str
    films: Callable[[Rng, int], Doubles] | None = None
    unable: tuple[float, float] = (UNABLE, UNABLE)


def _shifted(by: float) -> Callable[[Rng, int], Doubles]:
    return lambda rng, size: rng.normal(by, 1.0, size)


def _spread(by: float) -> Callable[[Rng, int], Doubles]:
    return lambda rng, size: rng.normal(0.0, by, size)


def _mixed(share: float) -> Callable[[Rng, int], Doubles]:
    return lambda rng, size: rng.normal(0.0, 1.0, size) + 3.0 * (rng.random(size) < share)


CHANGES = (
    *(Change(f"a measure shifts by {by} SD", _shifted(by)) for by in (0.25, 0.5, 0.75, 1.0)),
    *(Change(f"a measure spreads {by} times as far", _spread(by)) for by in (1.5, 2.0)),
    *(Change(f"{share:.0%} of films lie 3 SD off", _mixed(share)) for share in (0.1, 0.2, 0.4)),
    *(
        Change(f"unable rises from {a:.0%} to {b:.0%}", unable=(a, b))
        for a, b in ((0.02, 0.04), (0.02, 0.1), (0.05, 0.1), (0.05, 0.15), (0.05, 0.25))
    ),
)


def false_alarms(rng: Rng, films: int) -> int:
    """Return how often a unit raises an alarm in :data:`STUDIES` studies without drift.

    Its figures know nothing of each other: alarms are never more frequent than so.

    Parameters
    ----------
    films
        Of the reference.
    """
    references = rng.normal(size=(len(MEASURES), films))
    unable = int(rng.binomial(films, UNABLE)), films
    now, raised = [False] * (len(MEASURES) + 1), 0
    for _ in range(STUDIES // BLOCK):
        block = rng.normal(size=(len(MEASURES), BLOCK))
        p = [compare_values(*pair).p for pair in zip(references, block, strict=True)]
        p.append(compare_counts(unable, (int(rng.binomial(BLOCK, UNABLE)), BLOCK)).p)
        after = [alarms(one, before=before) for one, before in zip(p, now, strict=True)]
        raised += sum(new and not old for old, new in zip(now, after, strict=True))
        now = after
    return raised


def studies_until_seen(rng: Rng, change: Change, films: int) -> int:
    """Return after how many studies a unit sees a change; :data:`STUDIES` where it does not.

    The change happens somewhere within a block.
    """
    before = int(rng.integers(BLOCK))
    reference = rng.normal(size=films)
    then, now = change.unable
    unable = int(rng.binomial(films, then)), films
    seen = BLOCK - before
    while seen < STUDIES:
        if change.films is None:
            count = int(rng.binomial(before, then) + rng.binomial(BLOCK - before, now))
            p = compare_counts(unable, (count, BLOCK)).p
        else:
            block = np.concatenate([rng.normal(size=before), change.films(rng, BLOCK - before)])
            p = compare_values(reference, block).p
        if p <= LEVEL:
            return seen
        seen, before = seen + BLOCK, 0
    return STUDIES


def measure(units: int, films: int, seed: int) -> dict[str, Any]:
    """Return what happens at so many units, each with a reference of so many films."""
    rng = np.random.default_rng(seed)
    raised = np.array([false_alarms(rng, films) for _ in range(units)])
    # Of units: alarms of one unit share its reference.
    error = 1.96 * raised.std(ddof=1) / np.sqrt(units)
    seen = {
        change.name: np.array([studies_until_seen(rng, change, films) for _ in range(units)])
        for change in CHANGES
    }
    return {
        "units": units,
        "reference_films": films,
        "stated_per_10000_studies": FALSE_ALARMS * STUDIES / BLOCK,
        "alarms_per_10000_studies": float(raised.mean()),
        "interval": [float(raised.mean() - error), float(raised.mean() + error)],
        "units_without_an_alarm": float((raised == 0).mean()),
        "most_alarms_of_95_percent_of_units": float(np.quantile(raised, 0.95)),
        "studies_until_seen": {
            name: {
                "median": float(np.median(found)),
                "p90": float(np.quantile(found, 0.9)),
                "seen": float((found < STUDIES).mean()),
            }
            for name, found in seen.items()
        },
    }


def _table(results: list[dict[str, Any]]) -> str:
    """Return results as Markdown."""
    lines = [
        "| reference films | units | alarms in 10,000 studies (95 %) | stated | units without one "
        "| 95 % of units have at most |",
        "|---|---|---|---|---|---|",
    ]
    for one in results:
        low, high = one["interval"]
        lines.append(
            f"| {one['reference_films']} | {one['units']} | "
            f"{one['alarms_per_10000_studies']:.2f} ({low:.2f}-{high:.2f}) | "
            f"{one['stated_per_10000_studies']:.0f} | {one['units_without_an_alarm']:.0%} | "
            f"{one['most_alarms_of_95_percent_of_units']:.0f} |"
        )
    sizes = " | ".join(f"{one['reference_films']} films" for one in results)
    lines += ["", f"| change | {sizes} |", "|---" * (len(results) + 1) + "|"]
    for change in CHANGES:
        row = []
        for one in results:
            seen = one["studies_until_seen"][change.name]
            median, p90 = (
                f"{seen[name]:,.0f}" if seen[name] < STUDIES else f"over {STUDIES:,}"
                for name in ("median", "p90")
            )
            row.append(f"{median} / {p90}")
        lines.append(f"| {change.name} | {' | '.join(row)} |")
    return "\n".join(lines)


def main(
    units: Annotated[int, typer.Option(min=2, help="How many are drawn.")] = 1000,
    films: Annotated[
        list[int] | None, typer.Option(min=25, help="Of the reference: each is tried.")
    ] = None,
    seed: Annotated[int, typer.Option()] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Print false alarms against the stated rate, and studies until a change is seen."""
    results = [measure(units, size, seed) for size in films or (25, 100, 500)]
    typer.echo(json.dumps(results, indent=2) if as_json else _table(results))


if __name__ == "__main__":
    typer.run(main)
