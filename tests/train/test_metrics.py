"""Metrics against references and laws, and what is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from edge_runtime.bundle import LABELS
from train.evaluate.metrics import (
    auc,
    discrimination,
    evaluate,
    macro_auc,
    paired_differences,
    tumour_auc,
    write_metrics,
)


@dataclass(frozen=True)
class Point:
    """An operating point as metrics see it."""

    name: str
    score: Literal["tumour", "malignant"]
    threshold: float


def frame(labels: np.ndarray, probabilities: np.ndarray, per_patient: int = 1) -> pd.DataFrame:
    count = len(labels)
    return pd.DataFrame(
        {
            "image_id": [f"F{k}" for k in range(count)],
            "patient_id": [f"P{k // per_patient}" for k in range(count)],
            "label": np.array(LABELS)[labels],
            "decision": "not_flagged",
            **{f"p_{label}": probabilities[:, k] for k, label in enumerate(LABELS)},
            "dice": np.nan,
            "painted": np.nan,
        }
    )


def noisy(count: int = 240, skill: float = 0.4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    probabilities = generator.dirichlet([1, 1, 1], count)
    probabilities[np.arange(count), labels] += skill
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_auc_is_that_of_scikit_learn_with_ties() -> None:
    labels, probabilities = noisy()
    rounded = probabilities.round(1)
    for k in range(3):
        reference = roc_auc_score(labels == k, rounded[:, k])
        assert auc(labels == k, rounded[:, k]) == pytest.approx(reference, abs=1e-12)
    reference = roc_auc_score(np.eye(3)[labels], probabilities, average="macro")
    assert macro_auc(labels, probabilities) == pytest.approx(reference, abs=1e-12)
    assert evaluate(frame(labels, probabilities), (), resamples=5)["auc_macro"].value == (
        pytest.approx(reference, abs=1e-12)
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-50, 50)), min_size=2, max_size=60))
def test_auc_does_not_change_under_a_monotone_map(pairs: list[tuple[bool, int]]) -> None:
    positive = np.array([p for p, _ in pairs])
    score = np.array([float(s) for _, s in pairs])
    mapped = auc(positive, np.exp(score / 10.0) + 3.0)
    np.testing.assert_allclose(auc(positive, score), mapped)
    np.testing.assert_allclose(auc(positive, -score), 1.0 - mapped)


def test_a_perfect_and_a_constant_model() -> None:
    labels = np.arange(30) % 3
    perfect = evaluate(frame(labels, np.eye(3)[labels]), (), resamples=20)
    for name, value in (("auc_macro", 1), ("accuracy", 1), ("brier", 0), ("ece", 0)):
        assert perfect[name].value == value
    assert perfect["spec_at_sens90"].value == 1
    constant = evaluate(frame(labels, np.full((30, 3), 1 / 3)), (), resamples=20)
    assert constant["auc_macro"].value == 0.5
    assert constant["brier"].value == pytest.approx(2 / 3)
    assert constant["spec_at_sens90"].value == 0


def test_an_inverted_model_is_as_far_below_chance() -> None:
    labels, probabilities = noisy(120)
    upright = evaluate(frame(labels, probabilities), (), resamples=5)
    inverted = evaluate(frame(labels, (1.0 - probabilities) / 2.0), (), resamples=5)
    for name in ("auc_macro", "auc_benign", "auc_tumour"):
        assert inverted[name].value == pytest.approx(1.0 - upright[name].value, abs=1e-12)


def test_calibration_error_and_brier_by_hand() -> None:
    labels = np.array([0] * 60 + [1] * 40)
    sure = np.tile([0.9, 0.05, 0.05], (100, 1))
    films = frame(labels, sure)
    found = evaluate(films, (), resamples=5)
    # Says 0.9 and is right in 0.6. Films of one confidence share a bin, in whatever order they lie.
    assert found["ece"].value == pytest.approx(0.3)
    shuffled = evaluate(films.sample(frac=1.0, random_state=0), (), resamples=5)
    assert shuffled["ece"].value == pytest.approx(0.3)
    right, wrong = 0.1**2 + 2 * 0.05**2, 0.9**2 + 0.95**2 + 0.05**2
    assert found["brier"].value == pytest.approx(0.6 * right + 0.4 * wrong)


def test_calibration_error_has_fifteen_bins_of_equal_mass() -> None:
    generator = np.random.default_rng(5)
    confidence = np.sort(generator.uniform(0.5, 1.0, 150))
    right = generator.random(150) < 0.7
    rest = (1.0 - confidence) / 2.0
    probabilities = np.column_stack([confidence, rest, rest])
    gaps = (confidence - right).reshape(15, 10).mean(axis=1)
    found = evaluate(frame(np.where(right, 0, 1), probabilities), (), resamples=5)
    assert found["ece"].value == pytest.approx(np.abs(gaps).mean())


def test_specificity_at_sensitivity_by_hand() -> None:
    # Nine of ten tumours are found at 0.5, where two of four films without are flagged: one ties.
    tumour = np.array([0.9, 0.9, 0.8, 0.8, 0.7, 0.7, 0.6, 0.6, 0.5, 0.1, 0.55, 0.5, 0.4, 0.3])
    labels = np.array([1] * 10 + [0] * 4)
    probabilities = np.column_stack([1.0 - tumour, tumour, np.zeros(14)])
    assert evaluate(frame(labels, probabilities), (), resamples=5)["spec_at_sens90"].value == 0.5


def test_unable_counts_as_referred_and_unreadable_films_have_no_auc() -> None:
    labels, probabilities = noisy(90)
    films = frame(labels, probabilities)
    point = Point("tumour", "tumour", 2.0)  # refers nobody by score
    assert evaluate(films, [point], resamples=5)["tumour.sensitivity"].value == 0
    films.loc[:29, "decision"] = "unable"
    films.loc[:9, ["p_no_tumour", "p_benign", "p_malignant"]] = np.nan
    found = evaluate(films, [point], resamples=5)
    assert found["tumour.referral_rate"].value == pytest.approx(30 / 90)
    assert found["coverage"].value == pytest.approx(60 / 90)
    assert found["tumour.sensitivity"].value == pytest.approx(
        (labels[:30] > 0).sum() / (labels > 0).sum()
    )
    # Of the unable films, the twenty with probabilities count in the AUC.
    expected = macro_auc(labels[10:], probabilities[10:])
    assert found["auc_macro"].value == pytest.approx(expected)
    score = 1.0 - probabilities[10:, 0]
    assert tumour_auc(films, resamples=5).value == pytest.approx(auc(labels[10:] > 0, score))


def test_coverage_is_unknown_of_a_model_that_decides_nothing() -> None:
    labels, probabilities = noisy(40)
    undecided = evaluate(frame(labels, probabilities).assign(decision=pd.NA), (), resamples=5)
    assert undecided["coverage"].value is None
    assert undecided["accuracy"].value is not None


def test_dice_and_marks_are_means_over_the_films_that_have_them() -> None:
    labels, probabilities = noisy(6)
    films = frame(labels, probabilities).assign(
        dice=[0.5, 0.9, np.nan, np.nan, np.nan, np.nan],
        painted=[None, None, True, False, True, True],
    )
    found = evaluate(films, (), resamples=5)
    assert found["dice_tumour"].value == pytest.approx(0.7)
    assert found["false_mask_rate"].value == pytest.approx(0.75)


def test_operating_points_by_hand() -> None:
    labels = np.array([0, 0, 1, 2])
    p = np.array([[0.9, 0.05, 0.05], [0.4, 0.5, 0.1], [0.3, 0.6, 0.1], [0.2, 0.1, 0.7]])
    points = [Point("any", "tumour", 0.5), Point("bad", "malignant", 0.5)]
    found = evaluate(frame(labels, p), points, resamples=5)
    values = {name: found[f"any.{name}"].value for name in ("sensitivity", "specificity", "ppv")}
    assert values == {"sensitivity": 1.0, "specificity": 0.5, "ppv": pytest.approx(2 / 3)}
    assert found["bad.sensitivity"].value == 1.0
    assert found["bad.npv"].value == 1.0


def test_unknown_labels_are_left_out_and_counted(tmp_path: Path) -> None:
    labels, probabilities = noisy(60)
    films = frame(labels, probabilities)
    with_unknown = pd.concat([films, films.assign(label=None)], ignore_index=True)
    found = evaluate(with_unknown, (), resamples=5)
    assert found["auc_macro"].value == evaluate(films, (), resamples=5)["auc_macro"].value
    write_metrics(tmp_path / "metrics.json", predictions=with_unknown, metrics=found,
                  bundle="b", dataset="d", where=None)  # fmt: skip
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert (document["n"], document["unlabelled"], document["patients"]) == (60, 60, 60)
    assert set(document["metrics"]["auc_macro"]) == {"value", "low", "high"}


def test_a_missing_class_is_null_and_the_rest_is_there() -> None:
    labels, probabilities = noisy(80)
    films = frame(labels, probabilities)
    found = evaluate(films[films["label"] != "malignant"], (), resamples=20)
    assert found["auc_malignant"].value is None
    assert found["auc_macro"].value is None
    assert found["auc_tumour"].value is not None
    nothing = evaluate(films.assign(label=None), [Point("any", "tumour", 0.5)], resamples=5)
    assert set(nothing) > set(found)
    assert all(metric.value is None for metric in nothing.values())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(0.0, 0.8))
def test_intervals_hold_the_value(seed: int, per_patient: int, skill: float) -> None:
    films = frame(*noisy(120, skill, seed), per_patient)
    found = evaluate(films, [Point("any", "tumour", 0.5)], resamples=200)
    # Not of ece, which resampling raises, nor of spec_at_sens90, which jumps with one film.
    for name in ("auc_macro", "auc_tumour", "accuracy", "brier", "any.sensitivity", "any.ppv"):
        metric = found[name]
        assert metric.low <= metric.value <= metric.high, name


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(40)))
def test_the_order_of_the_films_changes_nothing(order: list[int]) -> None:
    labels, probabilities = noisy(40)
    films = frame(labels, probabilities.round(1), per_patient=2)
    one, two = evaluate(films, (), resamples=20), evaluate(films.iloc[order], (), resamples=20)
    for name, metric in one.items():
        for part in ("value", "low", "high"):
            assert getattr(two[name], part) == pytest.approx(getattr(metric, part)), name


def test_intervals_hold_the_value_and_widen_when_patients_repeat() -> None:
    labels, probabilities = noisy(120)
    single = evaluate(frame(labels, probabilities), (), resamples=300)
    repeated = frame(labels.repeat(4), probabilities.repeat(4, axis=0))
    naive = evaluate(repeated, (), resamples=300)["auc_macro"]
    grouped = evaluate(repeated.assign(patient_id=[f"P{k // 4}" for k in range(480)]), (),
                       resamples=300)["auc_macro"]  # fmt: skip
    metric = single["auc_macro"]
    assert metric.low < metric.value < metric.high
    assert grouped.high - grouped.low > 1.5 * (naive.high - naive.low)
    again = evaluate(frame(labels, probabilities), (), resamples=300)
    assert again == single, "deterministic by seed"


def test_discrimination_is_part_of_the_evaluation() -> None:
    films = frame(*noisy(90), per_patient=2)
    films.loc[:5, ["p_no_tumour", "p_benign", "p_malignant"]] = np.nan
    films.loc[9:12, "label"] = None
    whole, part = evaluate(films, (), resamples=40), discrimination(films, resamples=40)
    assert part == {name: whole[name] for name in ("auc_macro", "auc_tumour")}


def test_paired_differences() -> None:
    labels, probabilities = noisy(200)
    better, worse = frame(labels, probabilities), frame(labels, noisy(200, 0.0, seed=9)[1])
    same = paired_differences(better, better, resamples=50)["auc_macro"]
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert paired_differences(better, worse, resamples=100)["auc_macro"].low > 0
    with pytest.raises(ValueError, match="same films"):
        paired_differences(better, worse.iloc[::-1])
    other_labels = better.assign(label=np.roll(better["label"], 1))
    with pytest.raises(ValueError, match="same films"):
        paired_differences(better, other_labels)


def test_paired_difference_is_over_films_that_both_read() -> None:
    labels, probabilities = noisy(90)
    whole = frame(labels, probabilities)
    partly = whole.copy()
    partly.loc[:9, ["p_no_tumour", "p_benign", "p_malignant"]] = np.nan
    assert paired_differences(whole, partly, resamples=20)["auc_macro"].value == 0.0
