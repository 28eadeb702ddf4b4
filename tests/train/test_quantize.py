"""Quantization-aware networks: faithful before the first step, and what the integer file does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import tf_keras

from edge_runtime.preprocess import InputSpec
from train.model.heads import build_model, logits_from_cam
from train.quantize import calibrate_ranges, quantize_aware

SPEC = InputSpec(height=96, width=96)
Films = npt.NDArray[np.uint8]


def films(count: int, seed: int) -> Films:
    """Return limb-like phantoms, uint8, shape (count, 96, 96): shafts and blobs on black."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:96, 0:96].astype(np.float64)
    pictures = []
    for _ in range(count):
        angle, offset = random.uniform(0, np.pi), random.uniform(-15, 15)
        across = (x - 48) * np.cos(angle) + (y - 48) * np.sin(angle) - offset
        picture = 110 * np.exp(-((across / random.uniform(15, 30)) ** 4))
        picture += 90 * np.exp(-(((np.abs(across) - random.uniform(5, 10)) / 3) ** 2))
        centre = random.uniform(25, 70, 2)
        distance = np.hypot(x - centre[0], y - centre[1])
        picture += random.uniform(-60, 80) * np.exp(-((distance / random.uniform(4, 14)) ** 2))
        pictures.append(picture + random.normal(0, 4, picture.shape))
    levels: Films = np.clip(np.rint(np.stack(pictures)), 0, 255).astype(np.uint8)
    return levels


def batches(seed: int, count: int = 8) -> list[npt.NDArray[np.float32]]:
    pixels = films(16 * count, seed)[..., np.newaxis]
    return [SPEC.normalise(pixels[i * 16 : i * 16 + 16]) for i in range(count)]


def outputs_of(model: tf_keras.Model, pixels: Films) -> dict[str, npt.NDArray[np.float32]]:
    outputs = model(SPEC.normalise(pixels[..., np.newaxis]), training=False)
    return {name: output.numpy() for name, output in outputs.items()}


def correlation(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def settle(model: tf_keras.Model, is_settled: Callable[[tf_keras.layers.Layer], bool]) -> None:
    """Give the chosen BatchNormalization layers the statistics of the phantoms."""
    for layer in model.layers:
        layer.trainable = is_settled(layer)
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for batch in batches(seed=1):
        model(batch, training=True)


@pytest.fixture(scope="module")
def imagenet() -> tf_keras.Model:
    """Return a network with real filters, whose ranges are the hard ones."""
    tf_keras.utils.set_random_seed(7)
    model = build_model("efficientnet_lite0", 96, 96)
    settle(model, lambda layer: layer.name.startswith("head_"))
    return model


@pytest.fixture(scope="module")
def small() -> tf_keras.Model:
    tf_keras.utils.set_random_seed(7)
    model = build_model("mobilenet_v2", 96, 96, alpha=0.35, mask_channels=16, weights="none")
    settle(model, lambda layer: True)
    return model


@pytest.fixture(scope="module")
def calibrated(small: tf_keras.Model) -> tf_keras.Model:
    quantized = quantize_aware(small, SPEC)
    calibrate_ranges(quantized, batches(seed=2))
    return quantized


def test_calibration_makes_the_start_faithful_to_float(imagenet: tf_keras.Model) -> None:
    quantized = quantize_aware(imagenet, SPEC)
    unseen = films(32, seed=3)
    exact = outputs_of(imagenet, unseen)
    before = outputs_of(quantized, unseen)
    calibrate_ranges(quantized, batches(seed=2))
    after = outputs_of(quantized, unseen)
    for name in ("cam", "mask"):
        print(name, correlation(exact[name], before[name]), correlation(exact[name], after[name]))
    logits = [logits_from_cam(each["cam"]).numpy() for each in (exact, before, after)]
    print(
        "logits",
        correlation(logits[0], logits[1]),
        correlation(logits[0], logits[2]),
        np.abs(logits[0] - logits[2]).max(),
        logits[0].std(0),
    )


def test_calibration_keeps_batch_norm_statistics(
    small: tf_keras.Model, calibrated: tf_keras.Model
) -> None:
    for layer in small.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            wrapped = calibrated.get_layer(f"quant_{layer.name}").layer
            np.testing.assert_array_equal(wrapped.moving_mean, layer.moving_mean)
            np.testing.assert_array_equal(wrapped.moving_variance, layer.moving_variance)
