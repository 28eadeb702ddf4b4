"""Corruptions: what they leave alone, that they grow, and that they are the same twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.test_metrics import frame, noisy
from train.evaluate.corruption import ALL, BLURS, STRENGTHS, Corruption, corrupt
from train.evaluate.robustness import under_corruption


def film(size: tuple[int, int] = (300, 220), dtype: type = np.uint8) -> np.ndarray:
    generator = np.random.default_rng(0)
    smooth = np.add.outer(np.linspace(0, 0.6, size[0]), np.linspace(0, 0.3, size[1]))
    grain = np.kron(generator.uniform(-0.05, 0.05, (size[0] // 5, size[1] // 5)), np.ones((5, 5)))
    unit = np.clip(smooth + grain, 0, 1)
    return (unit * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("corruption", ALL, ids=lambda c: c.key)
def test_shape_and_type_stay_and_the_film_changes(corruption: Corruption, dtype: type) -> None:
    display = film(dtype=dtype)
    before = display.copy()
    changed = corrupt(display, corruption, 1)
    assert (changed.shape, changed.dtype) == (display.shape, display.dtype)
    assert (display == before).all(), "the film itself is left alone"
    assert (changed != display).any()
    assert (corrupt(display, corruption, 1) == changed).all()


@pytest.mark.parametrize("kind", STRENGTHS)
def test_each_strength_is_worse_than_the_one_before(kind: str) -> None:
    display = film()
    away = [
        np.abs(corrupt(display, Corruption(kind, strength), 0).astype(int) - display).mean()
        for strength in STRENGTHS[kind]
    ]
    assert away == sorted(away)
    assert len(STRENGTHS[kind]) == 5


def test_no_corruption_is_measured_twice() -> None:
    assert len(set(ALL)) == len(ALL) == 6 * 5
    assert set(BLURS) <= set(ALL)


def test_blur_is_as_wide_on_a_large_film_as_on_a_small_one() -> None:
    small = np.zeros((256, 256), np.uint8)
    small[:, 128:] = 255
    large = small.repeat(4, 0).repeat(4, 1)
    one, four = (corrupt(d, Corruption("blur", 2.0), 0).astype(float) for d in (small, large))
    assert np.abs(four.reshape(256, 4, 256, 4).mean((1, 3)) - one).max() < 6


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_noise_follows_its_seed(one: int, two: int) -> None:
    display = film((60, 60))
    noise = Corruption("noise", 0.1)
    same = (corrupt(display, noise, one) == corrupt(display, noise, two)).all()
    assert same == (one == two)


def test_flips_are_counted_over_all_films_and_auc_over_the_labelled() -> None:
    labels, probabilities = noisy(60)
    plain = frame(labels, probabilities)
    plain.loc[:9, "label"] = None
    turned = plain.copy()
    turned.loc[:5, "decision"] = "routine_review"
    turned.loc[6:8, "decision"] = "unable"
    (row,) = under_corruption("m", plain, {BLURS[0]: turned}, resamples=20)
    assert row.flips.value == pytest.approx(9 / 60)
    assert row.referral_flips.value == pytest.approx(9 / 60)
    urgent = plain.assign(decision="urgent_review")
    (row,) = under_corruption(
        "m", urgent, {BLURS[0]: urgent.assign(decision="unable")}, resamples=20
    )
    assert (row.flips.value, row.referral_flips.value) == (1.0, 0.0)
    (row,) = under_corruption("m", plain.assign(decision=None), {BLURS[0]: turned}, resamples=20)
    assert row.flips.value is None, "a model that decides nothing turns nothing"
    assert row.auc_tumour.value is not None
