"""How often real films raise an alarm of drift: those of one hospital, of others, and spoilt ones.

``python -m benchmarks.drift_films DATASET --centre 1`` measures films without a tumour, one a
patient, and deals those of the centre again and again into a reference and a block of studies: no
film is in both. Each block is compared as it is, spoilt, and replaced by films of other centres.
Figures that need a model are left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer

from edge_runtime.drift.blocks import LEVEL, compare
from edge_runtime.drift.reference import BLOCK, DriftReference, Measure, reference_of
from edge_runtime.film_measures import measure_film
from edge_runtime.preprocess import UInt8Image
from edge_runtime.radiograph import read_radiograph
from train.dataset.schema import Dataset, load_dataset

Values = Mapping[Measure, float]


def _darkened(film: UInt8Image) -> UInt8Image:
    """Return a film as a wrong look-up table shows it: gamma 1.3."""
    table = (255.0 * (np.arange(256) / 255.0) ** 1.3).astype(np.uint8)
    return np.asarray(table[film])


def _blurred(film: UInt8Image) -> UInt8Image:
    """Return a film blurred by 0.27 % of its longer side."""
    sigma = 0.7 * max(film.shape) / 256
    return np.asarray(cv2.GaussianBlur(film, (0, 0), sigma), np.uint8)


SPOILT: dict[str, Callable[[UInt8Image], UInt8Image]] = {
    "as they are": lambda film: film,
    "darkened": _darkened,
    "blurred": _blurred,
}


def measure(path: Path) -> dict[str, Values]:
    """Return the figures of one film, as it is and spoilt."""
    display = read_radiograph(path).display
    grey = (display >> 8 if display.dtype == np.uint16 else display).astype(np.uint8)
    found: dict[str, Values] = {}
    for name, spoil in SPOILT.items():
        film = measure_film(spoil(grey))
        found[name] = {
            "exposure": film.grey, "contrast": film.detail, "sharpness": film.sharpness,
        }  # fmt: skip
    return found


def measured(dataset: Dataset, most: int, rng: np.random.Generator) -> dict[str, list[Any]]:
    """Return by centre what :func:`measure` finds, of so many patients at most."""
    rows = dataset.films[dataset.films["label"] == "no_tumour"].drop_duplicates("patient_id")
    found = {}
    with ThreadPoolExecutor() as pool:
        for centre, own in rows.groupby(rows["centre"].astype(str)):
            chosen = own.iloc[rng.permutation(len(own))[:most]]
            paths = [dataset.image_path(row) for _, row in chosen.iterrows()]
            found[str(centre)] = list(pool.map(measure, paths))
    return found


def shares(
    films: Mapping[str, list[Any]],
    centre: str,
    reference: int,
    deals: int,
    rng: np.random.Generator,
) -> dict[str, dict[str, float]]:
    """Return the share of blocks with an alarm, by what is compared and by figure."""
    own = films[centre]
    raised: dict[str, Counter[str]] = {}

    def count(name: str, known: DriftReference, block: list[Values]) -> None:
        found = compare(known, reference_of(block, unable=0))
        alarms = [figure for figure, one in found.items() if one.p <= LEVEL]
        raised.setdefault(name, Counter()).update([*alarms, *(["any"] if alarms else [])])

    for _ in range(deals):
        dealt = [own[film] for film in rng.permutation(len(own))[: reference + BLOCK]]
        known = reference_of([film["as they are"] for film in dealt[:reference]], unable=0)
        for name in SPOILT:
            count(f"centre {centre}, {name}", known, [film[name] for film in dealt[reference:]])
        for other in sorted(films.keys() - {centre}):
            theirs = films[other]
            block = [theirs[film]["as they are"] for film in rng.permutation(len(theirs))[:BLOCK]]
            count(f"centre {other}", known, block)
    figures = ("any", "exposure", "contrast", "sharpness")
    return {
        name: {figure: found[figure] / deals for figure in figures}
        for name, found in raised.items()
    }


def main(
    folder: Annotated[Path, typer.Argument(help="A dataset folder.")],
    centre: Annotated[str, typer.Option(help="Whose films are the reference.")],
    reference: Annotated[int, typer.Option(min=25, help="How many of them.")] = 400,
    most: Annotated[int, typer.Option(help="Films that are measured of a centre.")] = 750,
    deals: Annotated[int, typer.Option(min=1, help="How often they are dealt.")] = 400,
    seed: Annotated[int, typer.Option()] = 1,
) -> None:
    """Print the share of blocks with an alarm as JSON."""
    rng = np.random.default_rng(seed)
    films = {
        name: own
        for name, own in measured(load_dataset(folder), most, rng).items()
        if len(own) >= BLOCK
    }
    typer.echo(json.dumps(shares(films, centre, reference, deals, rng), indent=2))


if __name__ == "__main__":
    typer.run(main)
