"""Augmentation: each change does what its key says, never more, and never hides a lesion."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from train.config import AugmentConfig
from train.dataset.augment import augment

OFF: dict[str, Any] = dict.fromkeys(AugmentConfig.model_fields, 0.0)
EVERYTHING = AugmentConfig(
    flip_vertical=0.5, noise=0.05, inversion=0.5, collimation=0.3, erase=1.0, blur=1.5, jpeg=0.5
)


def only(**keys: float) -> AugmentConfig:
    return AugmentConfig(**{**OFF, **keys})


def films(count: int = 16, size: int = 48) -> npt.NDArray[np.float32]:
    """Noise on a ramp: nothing in it is 0, flat or symmetric."""
    rng = np.random.default_rng(5)
    ramp = np.linspace(60, 180, size, dtype=np.float32)[np.newaxis, :, np.newaxis, np.newaxis]
    noise = rng.uniform(-20, 20, (count, size, size, 1)).astype(np.float32)
    return np.asarray(np.round(ramp + noise), np.float32)


def run(
    config: AugmentConfig, masks: npt.NDArray[np.float32] | None = None, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    pixels = films()
    masks = np.zeros_like(pixels) if masks is None else masks
    changed, moved = augment(
        tf.constant(pixels), tf.constant(masks), config, tf.constant([seed, 1], tf.int32)
    )
    return changed.numpy(), moved.numpy()


def lesions() -> npt.NDArray[np.float32]:
    """One small lesion a film, from the middle to the very corner."""
    masks = np.zeros((16, 48, 48, 1), np.float32)
    for number, mask in enumerate(masks):
        at = 3 * number
        mask[at : at + 3, at : at + 3] = 255.0
    return masks


def test_all_off_changes_nothing() -> None:
    np.testing.assert_allclose(run(only())[0], films(), atol=1e-2)


def test_everything_on_stays_in_range_and_repeats_by_seed() -> None:
    first, mask = run(EVERYTHING, lesions())
    again, _ = run(EVERYTHING, lesions())
    other, _ = run(EVERYTHING, lesions(), seed=1)
    assert np.isfinite(first).all()
    assert first.min() >= 0.0
    assert first.max() <= 255.0
    assert mask.min() >= 0.0
    assert mask.max() <= 255.0
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_collimation_blackens_from_the_sides_and_no_more_than_allowed() -> None:
    changed, _ = run(only(collimation=0.25))
    kept = changed[..., 0] > 1.0
    np.testing.assert_allclose(changed[..., 0][kept], films()[..., 0][kept], atol=1e-2)
    assert kept[:, 12:36, 12:36].all(), "a quarter of each side at most"
    assert (kept.sum(axis=(1, 2)) < 48 * 48).all()
    rectangles = kept.any(axis=2)[:, :, np.newaxis] & kept.any(axis=1)[:, np.newaxis, :]
    assert np.array_equal(kept, rectangles)
    assert len({int(film.sum()) for film in kept}) > 8, "each film its own"


@pytest.mark.parametrize("config", [only(collimation=0.45), only(erase=1.0)])
def test_no_lesion_is_covered(config: AugmentConfig) -> None:
    masks = lesions()
    for seed in range(8):
        changed, _ = run(config, masks, seed)
        lesion = masks[..., 0] > 0
        np.testing.assert_allclose(changed[..., 0][lesion], films()[..., 0][lesion], atol=1e-2)


def test_erasing_fills_one_patch_with_the_mean() -> None:
    changed, _ = run(only(erase=1.0))
    differs = np.abs(changed - films())[..., 0] > 0.5
    shares = differs.mean(axis=(1, 2))
    assert (shares <= 0.27**2).all()
    assert (shares > 0).sum() >= 14
    for film, original, patch in zip(changed, films(), differs, strict=True):
        np.testing.assert_allclose(film[patch], original.mean(), atol=0.1)
    some = np.abs(run(only(erase=0.5))[0] - films()).max(axis=(1, 2, 3)) > 0.5
    assert 2 < some.sum() < 14


def test_blur_keeps_the_mean_and_takes_the_noise() -> None:
    changed, _ = run(only(blur=2.0))
    np.testing.assert_allclose(changed.mean(axis=(1, 2, 3)), films().mean(axis=(1, 2, 3)), atol=0.5)
    rough = np.abs(np.diff(films(), axis=2)).mean(axis=(1, 2, 3))
    smooth = np.abs(np.diff(changed, axis=2)).mean(axis=(1, 2, 3))
    assert (smooth <= rough + 1e-3).all()
    assert smooth.min() < 0.4 * rough.min()
    flat = tf.fill((3, 48, 48, 1), 77.0)
    same, _ = augment(flat, flat, only(blur=2.0), tf.constant([0, 0], tf.int32))
    np.testing.assert_allclose(same, 77.0, atol=1e-2)


def test_jpeg_changes_a_share_of_the_films_a_little() -> None:
    changed, _ = run(only(jpeg=0.5))
    error = np.abs(changed - films()).mean(axis=(1, 2, 3))
    touched = error > 0.1
    assert 3 <= touched.sum() <= 13
    assert error[touched].max() < 12.0


def test_close_ups_magnify_half_of_the_films_and_keep_every_lesion() -> None:
    areas = []
    for seed in range(8):
        masks = lesions()
        changed, moved = run(only(close_up=1.5), masks, seed)
        assert changed.min() > 0.0, "no border comes into view"
        assert (moved.max(axis=(1, 2, 3)) > 200.0).all(), "every lesion is still in view"
        whole = (moved > 127.0).sum(axis=(1, 2, 3)) / 9.0
        areas.append(whole)
        same = np.abs(changed - films()).max(axis=(1, 2, 3)) < 1e-2
        assert 3 <= same.sum() <= 13
    growth = np.concatenate(areas)
    assert growth.min() >= 0.99
    assert 4.0 < growth.max() <= 2.5**2 * 1.3


def test_a_close_up_is_no_closer_than_the_lesion_allows() -> None:
    masks = np.zeros((16, 48, 48, 1), np.float32)
    masks[:, 4:44, 10:14] = 255.0
    for seed in range(4):
        _, moved = run(only(close_up=3.0), masks, seed)
        rows = (moved[..., 0] > 127.0).any(axis=2).sum(axis=1)
        assert (rows >= 40).all()
        assert (moved[:, [0, -1]] < 127.0).all(), "both ends are in view"
