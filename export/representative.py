"""The films that set the ranges of a network that is quantized after training.

A handful of films of one class is the classic way to ruin such a model, and more of the same do not
help (tensorflow issue 49927): classes and centres count equally here, whatever their share.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.bundle import Representative
from edge_runtime.preprocess import InputSpec
from train.dataset.pipeline import FilmSet, balanced_order, group_index

FILMS = 200


@dataclass(frozen=True)
class RepresentativeFilms:
    """Network pixels (n, height, width) uint8, and what the manifest says of them."""

    pixels: npt.NDArray[np.uint8]
    facts: Representative

    def inputs(self, spec: InputSpec) -> Iterator[npt.NDArray[np.float32]]:
        """Yield them as the network takes them: (1, height, width, 1), normalised."""
        for film in self.pixels:
            yield spec.normalise(film)[np.newaxis, :, :, np.newaxis]


def representative_films(films: FilmSet, rows: pd.DataFrame, seed: int) -> RepresentativeFilms:
    """Choose films, as many of each centre and label.

    Parameters
    ----------
    films, rows
        Those that the network was trained on, and their rows of the dataset.
    """
    groups = group_index(rows, ["centre", "label"])
    assert groups is not None
    chosen = balanced_order(groups, seed=seed, epoch=0)[:FILMS]
    pixels = np.asarray(films.cache.pixels[films.rows[chosen]])
    words = [
        f"centre {centre}, {label}"
        for centre, label in rows.iloc[chosen][["centre", "label"]].fillna("unknown").to_numpy()
    ]
    facts = Representative(
        films=len(chosen),
        groups=dict(sorted(Counter(words).items())),
        sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
    )
    return RepresentativeFilms(pixels, facts)
