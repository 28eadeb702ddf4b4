"""Masks on the grid, their overlap with references, and the boxes made of them."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from edge_runtime.preprocess import InputSpec
from train.evaluate.froc import FROC_IOU, Detections, boxes, match
from train.evaluate.resampling import with_intervals
from train.evaluate.segmentation import (
    GRID,
    ceiling,
    drop_specks,
    logits_on_grid,
    mark,
    overlap,
    reference_on_grid,
)

small = arrays(bool, (12, 12)).filter(lambda mask: mask.any())


def square(left: int, top: int, side: int, shape: tuple[int, int] = (GRID, GRID)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(small, small)
def test_dice_and_iou_are_bounded_tied_and_symmetric(one: np.ndarray, two: np.ndarray) -> None:
    found = overlap(one, two)
    assert 0.0 <= found.iou <= found.dice <= 1.0
    assert found.dice == pytest.approx(2.0 * found.iou / (1.0 + found.iou))
    assert overlap(two, one) == found
    assert overlap(one, one).dice == 1.0
    assert overlap(one, one).hd95 == 0.0
    nothing = overlap(np.zeros_like(two), two)
    assert (nothing.dice, nothing.iou) == (0.0, 0.0)
    assert np.isnan(nothing.hd95)


def test_hausdorff_distance_by_brute_force() -> None:
    one, two = square(20, 30, 40), square(28, 33, 30)
    outlines = []
    for mask in (one, two):
        inner = cv2.erode(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
        outlines.append(np.argwhere(mask & ~inner.astype(bool)))
    away = cdist(*outlines)
    expected = max(np.percentile(away.min(axis=1), 95), np.percentile(away.min(axis=0), 95))
    assert overlap(one, two).hd95 == pytest.approx(expected)


def test_a_shifted_square_is_as_far_as_it_was_shifted() -> None:
    assert overlap(square(50, 60, 40), square(50, 65, 40)).hd95 == 5.0


@settings(max_examples=40, deadline=None)
@given(arrays(bool, (24, 24)))
def test_regions_under_sixteen_pixels_are_dropped_and_no_others(mask: np.ndarray) -> None:
    kept = drop_specks(mask)
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    for region in range(1, count):
        among = labels == region
        assert kept[among].all() == (among.sum() >= 16)
        assert kept[among].any() == (among.sum() >= 16)
    assert not kept[~mask].any()


def test_the_grid_is_a_plain_bilinear_resize_where_the_film_fills_the_input() -> None:
    logits = np.random.default_rng(0).normal(size=(56, 56)).astype(np.float32)
    spec = InputSpec(fit="stretch")
    expected = cv2.resize(logits, (GRID, GRID), interpolation=cv2.INTER_LINEAR)
    # OpenCV's remap interpolates in steps of 1/32 of a cell.
    assert np.abs(logits_on_grid(logits, (500, 300), spec) - expected).max() < 0.2
    assert np.abs(logits_on_grid(logits, (500, 300), spec) - expected).mean() < 0.02


def test_the_grid_leaves_the_black_frame_out() -> None:
    """A narrow film in a square input: its left and right edge are those of the grid."""
    spec = InputSpec(fit="pad", height=224, width=224)
    logits = np.full((56, 56), -9.0, np.float32)
    logits[:, 14:42] = 9.0  # the film, 112 of 224 columns
    assert mark(logits_on_grid(logits, (400, 200), spec), 0.5)[:, 3:-3].all()
    logits[:, 14:28] = -9.0
    right = mark(logits_on_grid(logits, (400, 200), spec), 0.5)
    assert not right[:, :125].any()
    assert right[:, 131:-3].all()


def test_the_threshold_is_a_probability() -> None:
    logits = np.full((GRID, GRID), np.log(0.3 / 0.7), np.float32)
    assert mark(logits + 1e-4, 0.3).all()
    assert not mark(logits - 1e-4, 0.3).any()


def test_references_of_any_size_come_to_the_grid() -> None:
    large = (square(200, 100, 300, (1024, 512)) * 255).astype(np.uint8)
    assert reference_on_grid(large).mean() == pytest.approx(large.mean() / 255, rel=0.02)
    same = square(3, 4, 20)
    assert (reference_on_grid((same * 255).astype(np.uint8)) == same).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 200), st.integers(0, 200), st.integers(6, 50))
def test_the_ceiling_is_a_dice_and_none_is_lost_at_full_resolution(
    left: int, top: int, side: int
) -> None:
    reference = square(left, top, side)
    low, high = ceiling(reference, (56, 56))
    assert 0.0 <= low <= 1.0
    assert 0.0 <= high <= 1.0
    assert ceiling(reference, (GRID, GRID)) == (1.0, 1.0)


def test_the_ceiling_falls_as_lesions_shrink() -> None:
    dice = [np.mean(ceiling(square(101, 83, side), (56, 56))) for side in (5, 10, 20, 40, 80)]
    assert dice == sorted(dice)
    assert dice[-1] > 0.97


def marks(*found: tuple[int, int, int, float]) -> np.ndarray:
    """Square boxes: left, top, side, score."""
    rows = [(x, y, x + s, y + s, score) for x, y, s, score in found]
    return np.array(rows, float).reshape(-1, 5)


def test_boxes_hold_their_region_and_its_peak() -> None:
    probability = np.zeros((GRID, GRID), np.float32)
    probability[20:40, 10:30], probability[100:150, 90:140] = 0.7, 0.6
    probability[25, 15] = 0.9
    found = boxes(probability > 0, probability)
    np.testing.assert_allclose(found, [[10, 20, 30, 40, 0.9], [90, 100, 140, 150, 0.6]], rtol=1e-6)
    assert boxes(np.zeros((9, 9), bool)).shape == (0, 5)


def test_a_lesion_is_found_once_and_marks_beside_it_are_false() -> None:
    lesions = marks((10, 10, 20, 1.0), (100, 100, 20, 1.0))
    film = match(marks((10, 10, 20, 0.9), (12, 12, 20, 0.8), (200, 200, 9, 0.7)), lesions)
    assert film.found[0].tolist() == [True, False, False]
    assert film.false.tolist() == [False, False, True], "a second mark on a lesion is not false"
    assert film.lesions == 2


def pooled() -> Detections:
    """Three films: one lesion found at 0.9, one missed with a false mark at 0.8, one without."""
    lesion = marks((10, 10, 20, 1.0))
    return Detections.of(
        [
            match(marks((10, 10, 20, 0.9)), lesion),
            match(marks((200, 200, 20, 0.8)), lesion),
            match(marks(), marks()),
            None,
        ]
    )


def test_froc_and_precision_by_hand() -> None:
    rate, sensitivity = pooled().curve()
    np.testing.assert_allclose(rate, [0, 0, 1 / 3])
    np.testing.assert_allclose(sensitivity, [0, 0.5, 0.5])
    values = {name: v[0] for name, v in pooled().measure()(np.ones((1, 4))).items()}
    assert values == {"froc_mean": 0.5, "froc_sens_at_1": 0.5, "ap50": 0.5, "map50_95": 0.5}


def test_detection_has_intervals_by_patient() -> None:
    found = with_intervals(pd.Series(list("abcd")), pooled().measure(), 200)
    assert found["ap50"].low == 0.0
    assert found["ap50"].high == 1.0


def test_without_marks_nothing_is_found_and_without_lesions_nothing_is_said() -> None:
    lesion = marks((10, 10, 20, 1.0))
    blind = Detections.of([match(marks(), lesion)]).measure()(np.ones((2, 1)))
    assert {float(v) for values in blind.values() for v in values} == {0.0}
    empty = Detections.of([match(marks((1, 1, 9, 0.5)), marks())]).measure()(np.ones((1, 1)))
    assert all(np.isnan(values).all() for values in empty.values())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_false_mark_never_helps(seed: int) -> None:
    generator = np.random.default_rng(seed)
    lesions = marks((10, 10, 30, 1.0), (120, 120, 40, 1.0))
    drawn = marks(
        *((int(x), int(y), int(s), float(p)) for x, y, s, p in zip(
            generator.integers(0, 130, 6), generator.integers(0, 130, 6),
            generator.integers(8, 60, 6), generator.random(6), strict=True))
    )  # fmt: skip
    drawn = drawn[np.argsort(-drawn[:, 4])]
    worse = np.vstack([marks((230, 230, 20, 1.0)), drawn])
    before, after = (
        Detections.of([match(m, lesions)]).measure()(np.ones((1, 1))) for m in (drawn, worse)
    )
    for name, value in before.items():
        assert 0.0 <= after[name][0] <= value[0] + 1e-12 <= 1.0 + 1e-12
    assert 0.0 < FROC_IOU < 1.0
