"""The input spec, placement and quantization of pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.preprocess import InputSpec, place, quantize_input, to_network_pixels

SIDES = st.integers(64, 3000)


@given(SIDES, SIDES, st.sampled_from(["pad", "stretch"]))
def test_a_box_survives_the_way_to_the_network_and_back(rows: int, columns: int, fit: str) -> None:
    spec = InputSpec(height=224, width=160, fit=fit)
    placement = place((rows, columns), spec)
    assert 0 <= placement.top <= placement.top + placement.height <= spec.height
    assert 0 <= placement.left <= placement.left + placement.width <= spec.width
    whole = (
        placement.left,
        placement.top,
        placement.left + placement.width,
        placement.top + placement.height,
    )
    assert placement.to_source_box(whole) == pytest.approx((0, 0, columns, rows))


@given(SIDES, SIDES)
def test_padding_keeps_the_shape_of_the_film(rows: int, columns: int) -> None:
    placement = place((rows, columns), InputSpec(height=224, width=224, fit="pad"))
    assert max(placement.height, placement.width) == 224
    exact = min(rows, columns) / max(rows, columns) * 224
    assert abs(min(placement.height, placement.width) - max(exact, 1)) <= 0.5 + 1e-9


def test_sixteen_bits_and_eight_bits_of_the_same_film_agree() -> None:
    film = np.random.default_rng(1).integers(0, 256, (500, 430)).astype(np.uint8)
    spec = InputSpec(height=96, width=96)
    eight, _ = to_network_pixels(film, spec)
    sixteen, _ = to_network_pixels(film.astype(np.uint16) * 257, spec)
    assert np.abs(eight.astype(int) - sixteen).max() <= 1


def test_padding_is_black_and_the_film_is_in_the_middle() -> None:
    pixels, placement = to_network_pixels(
        np.full((200, 100), 200, np.uint8), InputSpec(height=64, width=64)
    )
    assert (placement.left, placement.width) == (16, 32)
    assert (pixels[:, :16] == 0).all()
    assert (pixels[:, 16:48] == 200).all()


def test_clahe_changes_the_film_and_the_hash() -> None:
    film = (np.arange(256 * 256).reshape(256, 256) // 1024 + 90).astype(np.uint8)
    plain, enhanced = InputSpec(), InputSpec(clahe_clip=2.0)
    assert plain.sha256() != enhanced.sha256()
    spread = [np.ptp(to_network_pixels(film, spec)[0]) for spec in (plain, enhanced)]
    assert spread[1] > spread[0]


def test_smoothing_brings_ways_of_making_a_film_smaller_together() -> None:
    rng = np.random.default_rng(0)
    fine = cv2.GaussianBlur(rng.integers(0, 256, (960, 960)).astype(np.uint8), (0, 0), 4.0)
    fine = cv2.normalize(fine, None, 0, 255, cv2.NORM_MINMAX)
    picked = np.ascontiguousarray(fine[5::10, 5::10])

    def gap(smooth: float) -> float:
        spec = InputSpec(height=96, width=96, smooth=smooth)
        averaged, _ = to_network_pixels(fine, spec)
        sampled, _ = to_network_pixels(picked, spec)
        return float(np.abs(averaged.astype(int) - sampled).mean())

    assert gap(1.0) < 0.6 * gap(0.0)
    flat, _ = to_network_pixels(np.full((90, 90), 77, np.uint8), InputSpec(smooth=1.0))
    assert (flat == 77).all()


def test_every_grey_level_is_one_int8_step() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    stored = quantize_input(grey, InputSpec(), 1 / 128, -1)
    assert np.array_equal(stored[0, :, :, 0], (grey.astype(int) - 128).astype(np.int8))
    assert stored.shape == (1, 16, 16, 1)


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match="mirror"):
        InputSpec.model_validate({"mirror": True})
