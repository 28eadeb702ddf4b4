"""How many valid films the quality check refuses, and how much of each defect it sees.

``python -m benchmarks.quality FOLDER`` takes a dataset folder, or any folder of films that a person
holds to be sound. Every film is checked as it is; a sample of them is spoilt in all the ways of
:mod:`benchmarks.defects` and checked again.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.defects import DEFECTS
from edge_runtime.errors import DatasetError, OsteoedgeError
from edge_runtime.film_measures import FilmMeasures, measure_film
from edge_runtime.quality import check_quality
from edge_runtime.radiograph import Radiograph, find_radiographs, read_radiograph

# Least and most, and what lies between, over the films as they are.
PERCENTILES = (0.0, 0.1, 1.0, 50.0, 99.0, 99.9, 100.0)


@dataclass
class Group:
    """Films of one place, as they are."""

    films: int = 0
    refused: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    measures: list[FilmMeasures] = field(default_factory=list)

    def add(self, film: Radiograph) -> None:
        """Check one film."""
        findings = [found.finding for found in check_quality(film) if found.refuses]
        self.films += 1
        self.refused += bool(findings)
        self.findings.update(findings)
        self.measures.append(measure_film(film.display))

    def as_json(self) -> dict[str, Any]:
        """Return counts, and percentiles of each measure."""
        values = {
            name: np.percentile([getattr(m, name) for m in self.measures], PERCENTILES).round(4)
            for name in (f.name for f in dataclasses.fields(FilmMeasures))
        }
        return {
            "films": self.films,
            "refused": self.refused,
            "findings": dict(self.findings.most_common()),
            "measures": {name: list(map(float, found)) for name, found in values.items()},
        }


def find_films(folder: Path, where: str | None) -> list[tuple[str, Path]]:
    """Return the films of a dataset folder with their centres, or those of any other folder.

    Raises
    ------
    DatasetError
        The dataset or the condition is not understood, or there is no film.
    """
    if (folder / "radiographs.csv").is_file():
        from train.dataset.schema import load_dataset

        dataset = load_dataset(folder).select(where)
        return [
            (f"centre {row['centre']}", dataset.image_path(row))
            for _, row in dataset.films.iterrows()
        ]
    if where:
        raise DatasetError("--where is for dataset folders", "Leave it out", str(folder))
    films = [("all", path) for path in find_radiographs(folder)]
    if not films:
        raise DatasetError("no film in this folder", "Name a folder of films", str(folder))
    return films


def measure(
    films: Sequence[tuple[str, Path]], body_part: str | None, sample: int
) -> dict[str, Any]:
    """Check all films as they are, and ``sample`` of them, evenly spaced, spoilt."""
    groups: dict[str, Group] = {}
    seen: Counter[tuple[str, float]] = Counter()
    unreadable = []
    chosen = set(np.linspace(0, len(films) - 1, min(sample, len(films))).round().astype(int))
    spoilt = 0
    for number, (place, path) in enumerate(films):
        try:
            film = read_radiograph(path)
        except OsteoedgeError as error:
            unreadable.append(str(error))
            continue
        film = dataclasses.replace(film, body_part=film.body_part or body_part)
        groups.setdefault(place, Group()).add(film)
        if number in chosen:
            spoilt += 1
            seen.update(key for key, refused in _spoilt(film, number) if refused)
    return {
        "valid": {place: group.as_json() for place, group in sorted(groups.items())},
        "unreadable": unreadable,
        "spoilt": spoilt,
        "seen": {
            defect.name: {
                "meaning": defect.meaning,
                "refused": {f"{s:g}": seen[defect.name, s] for s in defect.strengths},
            }
            for defect in DEFECTS
        },
    }


def _spoilt(film: Radiograph, seed: int) -> Iterator[tuple[tuple[str, float], bool]]:
    """Yield every defect and strength, and whether the film is refused with it."""
    grey = film.display
    if grey.dtype == np.uint16:
        grey = (grey // 257).astype(np.uint8)
    for defect in DEFECTS:
        for strength in defect.strengths:
            worse = dataclasses.replace(
                film, display=defect.spoil(grey.astype(np.uint8), strength, seed)
            )
            yield (defect.name, strength), any(found.refuses for found in check_quality(worse))


def _table(result: dict[str, Any]) -> str:
    """Return the counts as Markdown, percent of films."""
    lines = ["| valid films | films | refused, % | findings |", "|---|---|---|---|"]
    for place, group in result["valid"].items():
        why = "; ".join(f"{text}: {count}" for text, count in group["findings"].items()) or "-"
        share = 100.0 * group["refused"] / group["films"]
        lines.append(f"| {place} | {group['films']} | {share:.2f} | {why} |")
    lines += ["", "| defect | strength | refused, % |", "|---|---|---|"]
    for name, seen in result["seen"].items():
        shares = (100.0 * count / max(result["spoilt"], 1) for count in seen["refused"].values())
        strengths = " / ".join(seen["refused"])
        refused = " / ".join(f"{share:.0f}" for share in shares)
        lines.append(f"| {name} | {strengths} {seen['meaning']} | {refused} |")
    return "\n".join(lines)


def main(
    folder: Annotated[Path, typer.Argument(help="A dataset folder, or a folder of films.")],
    where: Annotated[str | None, typer.Option(help="Which of a dataset's films.")] = None,
    body_part: Annotated[
        str | None, typer.Option(help="What films show that do not say it, e.g. KNEE.")
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="How many films are spoilt.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Print how many films are refused as they are, and spoilt."""
    try:
        result = measure(find_films(folder, where), body_part, sample)
    except DatasetError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    for line in result["unreadable"]:
        typer.echo(f"Error: {line}", err=True)
    typer.echo(json.dumps(result, indent=2) if as_json else _table(result))


if __name__ == "__main__":
    typer.run(main)
