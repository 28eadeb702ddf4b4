"""Paired tests against a published example, brute force and laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from tests.train.test_metrics import Point, frame, noisy
from train.evaluate.metrics import auc
from train.evaluate.paired import compare, delong, mcnemar

# Albumin, total protein, K-G score, whether surgery helped: 49 patients, published by DeLong et
# al. (1988); areas, errors and tests as SAS/STAT prints them for PROC LOGISTIC's example on them.
OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6 5 1
"""


def correlated(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    positive = np.arange(count) % 3 == 0
    truth = generator.normal(size=count) + positive
    scores = np.stack([truth + generator.normal(size=count) for _ in range(2)])
    return positive, scores.round(1)


def test_the_published_example() -> None:
    table = np.array(OVARIAN.split(), float).reshape(-1, 4)
    found = delong(table[:, 3] == 1, np.stack([table[:, 0], table[:, 1], 10 - table[:, 2]]))
    np.testing.assert_allclose(found.areas, [0.7366, 0.6478, 0.7258], atol=5e-5)
    errors = np.sqrt(np.diag(found.covariance))
    np.testing.assert_allclose(errors, [0.0927, 0.1000, 0.1028], atol=5e-5)
    gap, _, _, p = found.difference(1, 2)
    assert (gap, p) == (pytest.approx(-0.0780, abs=5e-5), pytest.approx(0.4561, abs=5e-5))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_midranks_are_the_pairs_counted_one_by_one(seed: int) -> None:
    """DeLong's definition: every pair of a positive and a negative, ties half."""
    positive, scores = correlated(seed)
    m, n = int(positive.sum()), int((~positive).sum())
    pairs = scores[:, positive][:, :, None] - scores[:, ~positive][:, None, :]
    wins = (pairs > 0) + 0.5 * (pairs == 0)
    by_hits, by_misses = np.cov(wins.mean(axis=2)), np.cov(wins.mean(axis=1))
    found = delong(positive, scores)
    np.testing.assert_allclose(found.areas, [auc(positive, s) for s in scores])
    np.testing.assert_allclose(found.covariance, by_hits / m + by_misses / n, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_swapping_models_turns_the_sign_and_nothing_else(seed: int) -> None:
    positive, scores = correlated(seed)
    gap, low, high, p = delong(positive, scores).difference(0, 1)
    assert delong(positive, scores[::-1]).difference(0, 1) == pytest.approx((-gap, -high, -low, p))
    # Nor does a monotone map of the scores, or calling hits misses.
    assert delong(positive, np.exp(scores)).difference(0, 1) == pytest.approx((gap, low, high, p))
    assert delong(~positive, -scores).difference(0, 1) == pytest.approx((gap, low, high, p))
    assert delong(positive, scores[[0, 0]]).difference(0, 1) == (0.0, 0.0, 0.0, 1.0)


def test_the_error_is_that_of_a_bootstrap() -> None:
    positive, scores = correlated(3, 240)
    generator = np.random.default_rng(0)
    gaps = []
    for _ in range(1500):
        drawn = generator.integers(0, 240, 240)
        if 0 < positive[drawn].sum() < 240:
            gaps.append(np.subtract(*(auc(positive[drawn], s[drawn]) for s in scores)))
    c = delong(positive, scores).covariance
    assert np.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1]) == pytest.approx(np.std(gaps), rel=0.1)


def test_films_of_one_patient_are_not_counted_as_independent() -> None:
    positive, scores = correlated(5)
    single = delong(positive, scores, np.arange(60))
    np.testing.assert_allclose(single.covariance, delong(positive, scores).covariance)
    # Every film four times: the same knowledge, so nearly the same error.
    repeated, naive = (
        delong(positive.repeat(4), scores.repeat(4, axis=1), patients)
        for patients in (np.arange(60).repeat(4), None)
    )
    np.testing.assert_allclose(repeated.areas, single.areas)
    np.testing.assert_allclose(repeated.covariance, single.covariance, rtol=1e-9)
    assert (np.diag(naive.covariance) < 0.3 * np.diag(repeated.covariance)).all()


def test_one_film_of_a_class_is_too_few() -> None:
    with pytest.raises(ValueError, match="two films"):
        delong(np.array([True, False, False]), np.zeros((1, 3)))


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_a_fair_coin(first: int, second: int) -> None:
    n, k = first + second, min(first, second)
    expected = min(1.0, 2.0 * binom.cdf(k, n, 0.5)) if n else 1.0
    assert mcnemar(first, second) == pytest.approx(expected)
    assert mcnemar(first, second) == mcnemar(second, first)


def test_models_are_compared_on_the_films_that_both_answered() -> None:
    labels, probabilities = noisy(120)
    first = frame(labels, probabilities, per_patient=2)
    first["decision"] = np.where(first["p_no_tumour"] < 0.6, "routine_review", "not_flagged")
    second = frame(labels, noisy(120, 0.1, seed=8)[1], per_patient=2).assign(decision="unable")
    second.loc[:19, ["p_no_tumour", "p_benign", "p_malignant"]] = np.nan
    points = ([Point("tumour", "tumour", 0.5)], [Point("tumour", "tumour", 0.4)])
    rows = {row.figure: row for row in compare(first, second, "b", points, resamples=50)}
    assert rows["auc_tumour"].films == 100
    both = labels[20:] > 0
    expected = [auc(both, 1.0 - f["p_no_tumour"].to_numpy()[20:]) for f in (first, second)]
    assert rows["auc_tumour"].difference == pytest.approx(expected[0] - expected[1])
    assert rows["auc_macro"].p is None
    # Who refers everyone misses nothing and spares nobody.
    assert rows["referred.sensitivity"].difference <= 0 < rows["referred.specificity"].difference
    tumours = int((labels > 0).sum())
    assert (rows["tumour.sensitivity"].films, rows["tumour.specificity"].films) == (
        tumours,
        120 - tumours,
    )
    same = compare(first, first, "itself", (points[0], points[0]), resamples=20)
    assert {row.difference for row in same} == {0.0}
    assert all(row.p in (None, 1.0) for row in same)


def test_a_reader_who_only_decides_is_compared_by_decisions_alone() -> None:
    labels, probabilities = noisy(60)
    model = frame(labels, probabilities)
    reader = model.assign(p_no_tumour=np.nan, p_benign=np.nan, p_malignant=np.nan)
    figures = {row.figure for row in compare(model, reader, "reader", resamples=20)}
    assert figures == {"referred.sensitivity", "referred.specificity"}
