"""Films like those of the training are near, others far, and every hospital has its say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from edge_runtime.bundle import load_bundle
from edge_runtime.errors import BundleError
from edge_runtime.familiarity import FamiliarFilms, film_features
from edge_runtime.radiograph import read_radiograph
from edge_runtime.screener import Screener
from export.familiar import DIRECTIONS, SHARE, fit_familiarity, summarise
from tests.conftest import Trained
from tests.edge_runtime.films import film

SIZE = 200


def features(count: int, seed: int, offset: float = 0.0) -> npt.NDArray[np.float32]:
    """Features that live in ten directions, with a little of all others."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(SIZE, 10)))[0]
    rng = np.random.default_rng(seed)
    along = rng.normal(size=(count, 10)) * np.linspace(5.0, 1.0, 10)
    rest = 0.1 * rng.normal(size=(count, SIZE))
    return np.asarray(3.0 + along @ basis.T + rest + offset, np.float32)


def test_training_films_are_about_one_away() -> None:
    familiar = summarise(features(400, seed=1))
    distances = familiar.distance(features(400, seed=2))
    assert np.median(distances) == pytest.approx(1.0, abs=0.15)
    assert int(familiar.films) == 400
    assert familiar.directions.shape == (SIZE, DIRECTIONS)


def test_what_leaves_the_directions_of_the_training_is_far() -> None:
    """A step that is small beside what films differ by anyway, but in a direction of its own."""
    familiar = summarise(features(400, seed=1))
    ordinary = familiar.distance(features(200, seed=2))
    strange = familiar.distance(features(200, seed=3, offset=0.4))
    assert np.median(strange) > np.quantile(ordinary, 0.99)


def test_no_hospital_is_unfamiliar_as_a_whole() -> None:
    familiar = summarise(features(400, seed=1))
    films = np.concatenate([features(300, seed=2), features(200, seed=3, offset=0.4)])
    centres = pd.Series([1] * 300 + [2] * 200)
    limits = fit_familiarity(familiar, films, centres)
    assert limits.threshold == limits.centres["2"].value > limits.centres["1"].value
    beyond = familiar.distance(films) > limits.threshold
    assert beyond[300:].mean() <= SHARE
    assert limits.trained_on == 400
    few = fit_familiarity(familiar, films[:5], centres[:5])
    assert few.threshold == pytest.approx(familiar.distance(films[:5]).max())


def test_it_survives_the_file() -> None:
    familiar = summarise(features(60, seed=1))
    again = FamiliarFilms.from_npz(familiar.to_npz(), "x.osteo")
    probe = features(9, seed=4)
    np.testing.assert_array_equal(again.distance(probe), familiar.distance(probe))
    with pytest.raises(BundleError, match="the summary of familiar films cannot be read"):
        FamiliarFilms.from_npz(b"no zip", "x.osteo")


def test_features_are_means_over_the_film() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 4, 4, 7)).astype(np.float32)
    np.testing.assert_allclose(film_features(maps), maps.mean(axis=(1, 2)), rtol=1e-5)


def test_a_screening_says_how_familiar_a_film_is(trained: Trained) -> None:
    screener = Screener(load_bundle(trained.bundle))
    limits = screener.bundle.manifest.calibration.familiarity
    assert limits is not None
    images = sorted((trained.dataset / "images").iterdir())[:12]
    known = [screener.screen(read_radiograph(image)) for image in images]
    found = [screening.out_of_distribution for screening in known]
    assert sum(answer.status == "familiar" for answer in found) >= 10
    noise = np.random.default_rng(0).integers(0, 256, (300, 240)).astype(np.uint8)
    strange = screener.screen(read_radiograph(film(noise))).out_of_distribution
    assert strange.status == "unfamiliar"
    assert strange.distance is not None
    assert strange.distance > limits.threshold == strange.threshold
