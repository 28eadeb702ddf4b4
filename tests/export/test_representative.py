"""Films that set ranges: classes and centres alike, the same every time, and on record."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from edge_runtime.preprocess import InputSpec
from export.representative import FILMS, representative_films
from train.dataset.cache import FilmCache
from train.dataset.pipeline import FilmSet


@pytest.fixture
def films() -> tuple[FilmSet, pd.DataFrame]:
    """Nine hundred films, of which a hundredth is malignant."""
    rng = np.random.default_rng(0)
    labels = np.array(["no_tumour"] * 600 + ["benign"] * 291 + ["malignant"] * 9)
    rows = pd.DataFrame({"centre": rng.integers(1, 3, 900), "label": labels})
    pixels = rng.integers(0, 256, (900, 32, 32)).astype(np.uint8)
    cache = FilmCache(pixels, pixels, np.ones(900, bool))
    return FilmSet(
        cache, np.arange(900), np.zeros(900, np.int32), InputSpec(height=32, width=32)
    ), rows


def test_classes_and_centres_count_equally(films: tuple[FilmSet, pd.DataFrame]) -> None:
    chosen = representative_films(*films, seed=0)
    assert chosen.pixels.shape == (FILMS, 32, 32)
    assert chosen.facts.films == FILMS == sum(chosen.facts.groups.values())
    assert len(chosen.facts.groups) == 6
    assert min(chosen.facts.groups.values()) > 0.6 * FILMS / 6
    assert max(chosen.facts.groups.values()) < 1.5 * FILMS / 6


def test_the_choice_is_that_of_the_seed(films: tuple[FilmSet, pd.DataFrame]) -> None:
    first, again, other = (representative_films(*films, seed=seed) for seed in (3, 3, 4))
    assert first.facts == again.facts
    assert first.facts.sha256 != other.facts.sha256
    inputs = list(first.inputs(films[0].spec))
    assert len(inputs) == FILMS
    assert inputs[0].shape == (1, 32, 32, 1)
