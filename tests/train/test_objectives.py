"""What training minimises, against the formulas of the papers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from train.config import LossConfig
from train.objectives import class_weights, distillation_loss, mask_loss, supervised_loss

LABELS = np.array([0] * 60 + [1] * 30 + [2] * 10 + [-1] * 7, np.int32)


def batch_of(labels: list[int], mask: npt.NDArray[np.float32] | None = None) -> dict[str, Any]:
    masks = np.zeros((len(labels), 4, 4, 1), np.float32) if mask is None else mask
    return {
        "label": tf.constant(labels, tf.int32),
        "mask": tf.constant(masks),
        "mask_known": tf.ones(len(labels)),
    }


def outputs_of(logits: list[list[float]], mask_logit: float = -20.0) -> dict[str, tf.Tensor]:
    cam = np.tile(np.asarray(logits, np.float32)[:, np.newaxis, np.newaxis], (1, 2, 2, 1))
    masks = np.full((len(logits), 4, 4, 1), mask_logit, np.float32)
    return {"cam": tf.constant(cam), "mask": tf.constant(masks)}


PLAIN = LossConfig(label_smoothing=0.0, mask_weight=0.0)
SAME = {"label": tf.ones(3), "subtype": tf.ones(2), "region": tf.ones(2)}


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 3000), min_size=3, max_size=3),
    kind=st.sampled_from(["frequency", "effective_number"]),
    balance=st.floats(0.0, 1.0),
)
def test_class_weights_have_mean_1_and_favour_the_rare(
    counts: list[int], kind: Any, balance: float
) -> None:
    labels = np.repeat(np.arange(3, dtype=np.int32), counts)
    weights = class_weights(labels, LossConfig(class_weights=kind, class_balance=balance))
    assert np.isclose(weights[labels].astype(float).mean(), 1.0, rtol=1e-4)
    order = np.argsort(counts)
    assert (np.diff(weights[order]) <= 1e-5 * weights.max()).all()


@pytest.mark.parametrize("kind", ["frequency", "effective_number"])
def test_class_weights_go_from_films_to_classes(kind: Any) -> None:
    films = class_weights(LABELS, LossConfig(class_weights=kind, class_balance=0.0))
    np.testing.assert_allclose(films, 1.0, rtol=1e-6)
    classes = class_weights(LABELS, LossConfig(class_weights=kind, class_balance=1.0))
    np.testing.assert_allclose(classes * [60, 30, 10], 100 / 3, rtol=1e-5)


def test_effective_numbers_are_those_of_the_paper() -> None:
    weights = class_weights(
        LABELS, LossConfig(class_weights="effective_number", class_balance=0.99)
    )
    expected = np.array([(1 - 0.99) / (1 - 0.99**n) for n in (60, 30, 10)])
    np.testing.assert_allclose(weights / weights[0], expected / expected[0], rtol=1e-5)


def test_unknown_labels_and_masks_count_for_nothing() -> None:
    known = supervised_loss(outputs_of([[1, 0, -1]]), batch_of([0]), SAME, LossConfig())
    both = outputs_of([[1, 0, -1], [9, -9, 3]])
    batch = batch_of([0, -1])
    batch["mask_known"] = tf.constant([1.0, 0.0])
    np.testing.assert_allclose(supervised_loss(both, batch, SAME, LossConfig()), known, rtol=1e-6)
    nothing = batch_of([-1])
    nothing["mask_known"] = tf.zeros(1)
    assert float(supervised_loss(outputs_of([[1, 0, -1]]), nothing, SAME, LossConfig())) == 0.0


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_is_that_of_the_paper(gamma: float) -> None:
    logits = [[2.0, 0.5, -1.0], [-3.0, 0.0, 1.0]]
    focal = PLAIN.model_copy(update={"focal_gamma": gamma})
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    of_class = probability[[0, 1], [0, 1]]
    expected = -((1 - of_class) ** gamma * np.log(of_class)).mean()
    loss = supervised_loss(outputs_of(logits), batch_of([0, 1]), SAME, focal)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_focal_loss_has_a_gradient_where_the_film_is_certain() -> None:
    logits = tf.Variable([[60.0, 0.0, 0.0]])
    with tf.GradientTape() as tape:
        outputs = {"cam": logits[:, tf.newaxis, tf.newaxis], "mask": tf.zeros((1, 4, 4, 1))}
        focal = PLAIN.model_copy(update={"focal_gamma": 0.5})
        loss = supervised_loss(outputs, batch_of([0]), SAME, focal)
    assert np.isfinite(tape.gradient(loss, logits).numpy()).all()


def test_a_lesion_painted_on_a_film_without_one_costs() -> None:
    empty = batch_of([0])
    quiet, loud = (outputs_of([[0, 0, 0]], level)["mask"] for level in (-9.0, 9.0))
    assert float(mask_loss(quiet, empty, 0.1)) < 0.01
    assert float(mask_loss(loud, empty, 0.1)) > 5.0


def test_a_perfect_mask_costs_next_to_nothing_and_a_missed_one_its_dice() -> None:
    lesion = np.zeros((1, 4, 4, 1), np.float32)
    lesion[0, 1:3, 1:3] = 1.0
    batch = batch_of([1], lesion)
    perfect = tf.constant(np.where(lesion > 0, 30.0, -30.0).astype(np.float32))
    assert float(mask_loss(perfect, batch, 1.0)) < 1e-6
    missed = tf.fill((1, 4, 4, 1), -30.0)
    # Smoothed by one cell: (0 + 1) / (4 + 1) is what nothing scores.
    np.testing.assert_allclose(mask_loss(missed, batch, 1.0), 1 - 1 / 5, rtol=1e-5)


def test_distillation_is_least_where_student_and_teacher_agree() -> None:
    teacher = outputs_of([[1.0, 0.0, -2.0]], 0.3)
    logits = tf.Variable(teacher["cam"])
    masks = tf.Variable(teacher["mask"])
    with tf.GradientTape() as tape:
        loss = distillation_loss({"cam": logits, "mask": masks}, teacher, 20.0)
    for gradient in tape.gradient(loss, [logits, masks]):
        np.testing.assert_allclose(gradient, 0.0, atol=1e-6)
    other = outputs_of([[0.0, 1.0, -2.0]], 1.3)
    assert float(distillation_loss(other, teacher, 20.0)) > float(loss)


def with_heads(subtype: int, region: int, mask_known: float = 1.0) -> tuple[Any, Any]:
    """One film with a lesion in its left half, and maps that say 3 there and -3 elsewhere."""
    halves = np.zeros((1, 4, 4, 1), np.float32)
    halves[:, :, :2] = 1.0
    maps = np.zeros((1, 2, 2, 2), np.float32)
    maps[:, :, 0, 1], maps[:, :, 1, 1] = 3.0, -3.0
    batch = batch_of([1], halves) | {
        "mask_known": tf.fill([1], mask_known),
        "subtype": tf.constant([subtype]),
        "region": tf.constant([region]),
    }
    seen = tf.constant(np.where(halves > 0, 20.0, -20.0).astype(np.float32))
    outputs = outputs_of([[0, 20, 0]]) | {"mask": seen}
    return outputs | {"subtype": tf.constant(maps), "region": tf.constant(maps)}, batch


def test_subtypes_are_learned_where_the_lesion_is_and_regions_everywhere() -> None:
    heads = LossConfig(label_smoothing=0.0, mask_weight=0.0, subtype_weight=1.0, region_weight=0.0)
    expected = float(np.log1p(np.exp(-3.0)))
    for known in (0.0, 1.0):
        outputs, batch = with_heads(1, -1, known)
        assert float(supervised_loss(outputs, batch, SAME, heads)) == pytest.approx(
            expected, rel=1e-3
        )
    heads = LossConfig(label_smoothing=0.0, mask_weight=0.0, subtype_weight=0.0, region_weight=1.0)
    outputs, batch = with_heads(-1, 0)
    assert float(supervised_loss(outputs, batch, SAME, heads)) == pytest.approx(np.log(2), rel=1e-3)


def test_unknown_subtypes_and_regions_count_for_nothing() -> None:
    outputs, batch = with_heads(-1, -1)
    plain = {head: outputs[head] for head in ("cam", "mask")}
    expected = float(supervised_loss(plain, batch, SAME, LossConfig()))
    assert float(supervised_loss(outputs, batch, SAME, LossConfig())) == pytest.approx(expected)


def test_a_student_follows_every_head_of_its_teacher() -> None:
    teacher, _ = with_heads(-1, -1)
    least = float(distillation_loss(teacher, teacher, 20.0))
    for head in ("cam", "mask", "subtype", "region"):
        other = teacher | {head: teacher[head][:, :, ::-1] + 0.5 * teacher[head]}
        changed = float(distillation_loss(other, teacher, 20.0))
        assert changed >= least - 1e-6
    flipped = teacher | {"subtype": teacher["subtype"][:, :, ::-1]}
    assert float(distillation_loss(flipped, teacher, 20.0)) > least + 1.0
