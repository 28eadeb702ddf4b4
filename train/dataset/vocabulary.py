"""The words that the heads `subtype` and `region` were trained on, and films as their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.errors import DatasetError

# Of rarer ones a head learns the few patients. Their films count as unknown.
MIN_FILMS = 5


@dataclass(frozen=True)
class Vocabulary:
    """Channels of the heads, in order; empty where there is no such head.

    Attributes
    ----------
    subtypes, regions
        Words of the columns of these names.
    malignant
        Which subtypes are malignant. Empty where all or none are: they then say nothing of it.
    """

    subtypes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    malignant: tuple[int, ...] = ()

    def codes(self, films: pd.DataFrame) -> dict[str, npt.NDArray[np.int32]]:
        """Return, by head, the channel (n,) of each film, -1 where it is unknown."""
        columns = (("subtype", self.subtypes), ("region", self.regions))
        return {
            head: np.asarray(
                films[head].map({word: number for number, word in enumerate(words)}).fillna(-1),
                np.int32,
            )
            for head, words in columns
            if words
        }


def find_vocabulary(films: pd.DataFrame, heads: Sequence[str]) -> Vocabulary:
    """Return what the training films offer the heads of a recipe.

    A subtype is malignant where most of its films are labelled so.

    Raises
    ------
    DatasetError
        The column of a head is missing, or fewer than two of its words have enough films.
    """
    subtypes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    malignant: tuple[int, ...] = ()
    if "subtype" in heads:
        tumours = films[films["label"].isin(("benign", "malignant"))]
        subtypes = _words(tumours, "subtype")
        share = (tumours["label"] == "malignant").groupby(tumours["subtype"]).mean()
        malignant = tuple(k for k, word in enumerate(subtypes) if share[word] > 0.5)
        if len(malignant) == len(subtypes):
            malignant = ()  # as with none: there is nothing to tell apart
    if "region" in heads:
        regions = _words(films, "region")
    return Vocabulary(subtypes, regions, malignant)


def _words(films: pd.DataFrame, column: str) -> tuple[str, ...]:
    if column not in films.columns:
        raise DatasetError(
            f"no column is called {column}, which a head of that name needs",
            "Add it to radiographs.csv, or take the head out of model.heads",
        )
    counts = films[column].value_counts()
    words = tuple(sorted(str(word) for word in counts.index[counts >= MIN_FILMS]))
    if len(words) < 2:
        raise DatasetError(
            f"the training films name {len(words)} {column} with at least {MIN_FILMS} films each",
            "A head needs two: label more films, or take it out of model.heads",
        )
    return words
