"""The films of each part of a run, as training and calibration take them."""

from __future__ import annotations

import numpy as np

from train.dataset.cache import FilmCache
from train.dataset.pipeline import FilmSet, group_index
from train.dataset.schema import Dataset, film_context, label_index
from train.dataset.split import Part
from train.run import Run


def film_set(run: Run, dataset: Dataset, cache: FilmCache, part: Part) -> FilmSet:
    """Return the films of one part of a run."""
    rows = np.flatnonzero((run.split()["part"] == part).to_numpy())
    films = dataset.films.iloc[rows]
    groups = group_index(films, run.recipe.data.balance)
    facts = run.recipe.export.context
    return FilmSet(
        cache,
        rows,
        label_index(films),
        run.recipe.input,
        groups,
        heads=run.vocabulary.codes(films),
        malignant_subtypes=run.vocabulary.malignant,
        context=tuple(
            {name: word for name, word in film_context(film).items() if name in facts}
            for _, film in films.iterrows()
        )
        if facts
        else (),
    )
