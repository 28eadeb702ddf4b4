"""Rare tumours, net benefit, false alarms, groups and context: laws and counts by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from tests.train.test_metrics import Point, frame, noisy
from train.evaluate.clinic import at_prevalence, decision_curve, false_alarms, net_benefit
from train.evaluate.context import context_alone
from train.evaluate.strata import strata

POINT = Point("tumour", "tumour", 0.5)


def by_hand() -> pd.DataFrame:
    """Sensitivity 3/4, specificity 9/10 at 0.5."""
    tumour = np.array([0.9, 0.8, 0.7, 0.1, 0.6] + [0.2] * 9)
    labels = np.array([1, 1, 2, 2] + [0] * 10)
    films = frame(labels, np.column_stack([1 - tumour, tumour, np.zeros(14)]))
    return films.assign(decision=np.where(tumour >= 0.5, "routine_review", "not_flagged"))


def test_prevalence_by_bayes_by_hand() -> None:
    (row,) = [r for r in at_prevalence(by_hand(), [POINT], [0.01], resamples=20)
              if r.point == "tumour"]  # fmt: skip
    flagged = 0.75 * 0.01 + 0.1 * 0.99
    assert row.ppv.value == pytest.approx(0.0075 / flagged)
    assert row.flagged_per_1000.value == pytest.approx(1000 * flagged)
    assert row.referrals_per_tumour.value == pytest.approx(flagged / 0.0075)
    assert row.npv.value == pytest.approx(0.9 * 0.99 / (0.9 * 0.99 + 0.25 * 0.01))


def test_at_the_share_of_these_films_it_is_what_was_counted() -> None:
    rows = at_prevalence(by_hand(), [POINT], [4 / 14], resamples=5)
    assert [row.point for row in rows] == ["referred", "tumour"]
    for row in rows:
        assert row.ppv.value == pytest.approx(3 / 4)
        assert row.npv.value == pytest.approx(9 / 10)
        assert row.flagged_per_1000.value == pytest.approx(4000 / 14)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.lists(st.floats(0.0005, 0.9), min_size=2, max_size=6, unique=True))
def test_ppv_rises_and_npv_falls_with_prevalence(seed: int, shares: list[float]) -> None:
    films = frame(*noisy(90, 0.3, seed)).assign(decision=None)
    rows = at_prevalence(films, [POINT], sorted(shares), resamples=2)
    assert [row.prevalence for row in rows] == sorted(shares)
    ppv, npv = ([getattr(row, name).value for row in rows] for name in ("ppv", "npv"))
    assert ppv == sorted(ppv)
    assert npv == sorted(npv, reverse=True)
    referrals = [row.referrals_per_tumour.value for row in rows]
    np.testing.assert_allclose(np.multiply(referrals, ppv), 1.0)


def test_the_decision_curve_meets_its_limits() -> None:
    labels, probabilities = noisy(200)
    positive, share = labels > 0, (labels > 0).mean()
    cuts = np.array([0.0, 0.3, 0.6])
    score = 1.0 - probabilities[:, 0]
    assert net_benefit(positive, score, cuts)[0] == pytest.approx(share), "all are referred"
    assert net_benefit(positive, np.zeros(200), cuts[1:]).tolist() == [0.0, 0.0], "nobody is"
    perfect = net_benefit(positive, positive.astype(float), cuts[1:])
    np.testing.assert_allclose(perfect, share)
    everyone = net_benefit(positive, np.ones(200), cuts)
    np.testing.assert_allclose(everyone, share - (1 - share) * cuts / (1 - cuts))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_no_model_beats_a_perfect_one(seed: int) -> None:
    films = frame(*noisy(80, 0.2, seed))
    curve = decision_curve(films)
    assert curve is not None
    share = (films["label"] != "no_tumour").mean()
    assert (curve.model <= share + 1e-12).all()
    assert (curve.everyone <= share + 1e-12).all()
    assert decision_curve(films[films["label"] == "benign"]) is None


def test_false_alarms_by_hand() -> None:
    decisions = ["urgent_review"] + ["routine_review"] * 4 + ["unable"] * 2 + ["not_flagged"] * 33
    films = frame(*noisy(40)).assign(label=None, decision=decisions)
    found = false_alarms(films, resamples=300)
    assert found is not None
    values = {name: metric.value for name, metric in found.items()}
    assert values == {
        "flagged": 5 / 40, "urgent": 1 / 40, "unable": 2 / 40, "referred": 7 / 40,
        "coverage": 38 / 40,
    }  # fmt: skip
    assert found["flagged"].low < 5 / 40 < found["flagged"].high
    labelled = frame(*noisy(40))
    assert false_alarms(labelled) is None
    assert false_alarms(films.assign(decision=None)) is None, "a model that decides nothing"


def test_no_alarm_at_all_is_not_certainty() -> None:
    films = frame(*noisy(60), per_patient=2).assign(label=None)
    found = false_alarms(films, resamples=20)
    assert found is not None
    assert (found["flagged"].value, found["flagged"].low) == (0.0, 0.0)
    assert found["flagged"].high == pytest.approx(beta.ppf(0.975, 1, 30)), "30 patients"


def grouped() -> pd.DataFrame:
    labels, probabilities = noisy(120)
    return frame(labels, probabilities).assign(
        centre=np.where(np.arange(120) < 110, 1, 2),
        subtype=np.where(labels > 0, np.where(np.arange(120) % 2, "osteo_sarcoma", "cyst"), None),
        lesion_fraction=np.where(labels > 0, 0.004, np.nan),
        age=np.tile([5.0, 15.0, np.nan], 40),
        manufacturer=None,
        decision=np.where(labels > 1, "urgent_review", "not_flagged"),
    )


def test_groups_partition_the_films() -> None:
    films = grouped()
    rows = strata(films, resamples=10)
    tumours = int((films["label"] != "no_tumour").sum())
    for column in ("centre", "age band"):
        chosen = [row for row in rows if row.column == column]
        assert sum(row.n for row in chosen) == 120
        assert sum(row.tumours for row in chosen) == tumours
    for column in ("subtype", "lesion size"):
        chosen = [row for row in rows if row.column == column]
        assert sum(row.n for row in chosen) == tumours, "of tumours only"
        assert all(row.auc is not None and row.specificity is None for row in chosen)
    names = {(row.column, row.value) for row in rows}
    assert ("subtype", "osteo sarcoma") in names
    assert ("lesion size", "under 0.5 %") in names
    assert ("age band", "not stated") in names
    assert "vendor" not in {row.column for row in rows}, "a blank column has no groups"
    (small,) = [row for row in rows if (row.column, row.value) == ("centre", "2")]
    assert small.auc is None, "too few"


def test_a_group_of_tumours_is_ranked_against_all_films_without() -> None:
    films = grouped()
    alone = films[(films["subtype"] == "cyst") | (films["label"] == "no_tumour")]
    (row,) = [row for row in strata(films, resamples=5) if row.value == "cyst"]
    from train.evaluate.metrics import tumour_auc

    assert row.auc == tumour_auc(alone.sort_values("label", ascending=True), resamples=5)


def test_context_is_found_where_it_gives_the_label_away() -> None:
    labels, probabilities = noisy(150)
    films = frame(labels, probabilities, per_patient=1)
    told = films.assign(age=np.where(labels == 2, 12.0, 60.0), region=np.where(labels, "a", "b"))
    found = context_alone(told, resamples=20)
    assert found.columns == ("age", "region")
    assert found.metrics is not None
    assert found.metrics["auc_macro"].value > 0.95
    generator = np.random.default_rng(0)
    blind = films.assign(age=generator.uniform(0, 90, 150), sex=generator.choice(["F", "M"], 150))
    found = context_alone(blind, resamples=20)
    assert found.metrics is not None
    assert found.metrics["auc_macro"].value == pytest.approx(0.5, abs=0.15)


def test_a_patient_is_never_on_both_sides() -> None:
    """Context that only names the patient must score nothing, however many films each has."""
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 60).repeat(6)
    films = frame(labels, np.full((360, 3), 1 / 3), per_patient=6)
    films = films.assign(age=generator.permutation(60).repeat(6).astype(float))
    found = context_alone(films, resamples=20)
    assert found.metrics is not None
    assert found.metrics["auc_macro"].value < 0.62


def test_context_says_why_it_cannot_be_had() -> None:
    films = frame(*noisy(60))
    assert context_alone(films).reason == "age, sex and region are blank or the same throughout"
    few = films.assign(age=np.arange(60.0))
    few = few[
        (few["label"] != "malignant") | (few.index == few.index[few["label"] == "malignant"][0])
    ]
    assert "malignant" in str(context_alone(few).reason)
    assert context_alone(few).document()["metrics"] is None
