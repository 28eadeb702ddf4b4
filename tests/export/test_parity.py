"""What quantization cost is measured head by head and layer by layer, and has bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bundle import HeadParity, Interval, ModelSpec, TensorSpec
from edge_runtime.preprocess import InputSpec
from export.convert import to_float32
from export.layers import layer_losses
from export.parity import head_parity, losses, signal_to_noise
from export.post_training import to_int8
from train.config import ExportConfig

SPEC = InputSpec(height=32, width=32)
GOOD = {"cam": HeadParity(snr_db=30.0, cosine=0.999, mean_steps=1.0, max_steps=9.0)}


def model_spec(scale: float) -> ModelSpec:
    tensor = TensorSpec(index=0, shape=(1, 2, 2, 3), scale=scale, zero_point=0)
    return ModelSpec(backbone="none", input=tensor, outputs={"cam": tensor, "mask": tensor})


def test_errors_are_counted_in_steps_of_the_output() -> None:
    exact = np.random.default_rng(0).normal(size=(5, 2, 2, 3)).astype(np.float32)
    off = exact.copy()
    off[0, 0, 0, 0] += 3.0
    found = head_parity({"cam": exact, "mask": exact}, {"cam": off, "mask": exact}, model_spec(0.5))
    assert found["cam"].max_steps == pytest.approx(6.0, rel=1e-5)
    assert found["cam"].mean_steps == pytest.approx(6.0 / exact.size, rel=1e-5)
    assert found["cam"].cosine < 1.0
    assert found["mask"].mean_steps == 0.0
    assert found["mask"].snr_db == pytest.approx(200.0)


@given(st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_ten_times_the_error_is_twenty_decibels(size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    signal, error = rng.normal(size=50), size * rng.normal(size=50)
    once, ten_times = signal_to_noise(signal, error), signal_to_noise(signal, 10.0 * error)
    assert once - ten_times == pytest.approx(20.0, abs=1e-6)


def change(value: float, reach: float = 0.01) -> Interval:
    return Interval(value=value, low=value - reach, high=value + reach)


@pytest.mark.parametrize(
    ("heads", "changed", "phrase"),
    [
        ({"cam": {"mean_steps": 5.0}}, {}, "head cam is off by 5.0 steps on average"),
        ({"mask": {"snr_db": 3.0}}, {}, "head mask has 3.0 dB"),
        ({}, {"auc_macro": change(-0.02, 0.1)}, "macro AUC -0.0200 (-0.1200 to +0.0800)"),
        ({}, {"malignant_referred": change(-0.06)}, "malignant tumours referred -0.0600"),
        ({}, {"benign_referred": change(-0.06)}, "benign tumours referred -0.0600"),
        ({}, {"dice_tumour": change(-0.06)}, "Dice -0.0600"),
        ({}, {"ece": change(0.06)}, "calibration error +0.0600"),
    ],
)
def test_every_bound_has_its_phrase(
    heads: dict[Any, dict[str, float]], changed: dict[str, Interval], phrase: str
) -> None:
    parities = {**GOOD, **{h: GOOD["cam"].model_copy(update=u) for h, u in heads.items()}}
    found = losses(parities, changed, ExportConfig())
    assert len(found) == 1
    assert phrase in found[0]


def test_what_got_better_is_no_loss() -> None:
    better = {"auc_macro": change(0.2), "dice_tumour": change(0.2), "ece": change(-0.2)}
    assert losses(GOOD, better, ExportConfig()) == []


def test_what_a_few_films_cannot_show_is_no_loss() -> None:
    """One malignant film of twenty that is missed is not yet a property of the file."""
    unsure = {"malignant_referred": change(-0.06, 0.08), "ece": change(0.06, 0.08)}
    assert losses(GOOD, unsure, ExportConfig()) == []


def small_network() -> tf_keras.Model:
    tf_keras.utils.set_random_seed(0)
    film = tf_keras.Input((32, 32, 1))
    x = tf_keras.layers.Conv2D(8, 3, 2, "same", activation="relu", name="first")(film)
    x = tf_keras.layers.Conv2D(8, 3, 2, "same", activation="relu", name="second")(x)
    heads = {
        "cam": tf_keras.layers.Conv2D(3, 1, name="cam")(x),
        "mask": tf_keras.layers.Conv2D(1, 1, name="mask")(x),
    }
    return tf_keras.Model(film, heads)


def test_layers_are_named_by_what_they_lose() -> None:
    network, rng = small_network(), np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 32, 32)).astype(np.uint8)
    films = [SPEC.normalise(film)[np.newaxis, ..., np.newaxis] for film in pixels]
    exact = to_float32(network, SPEC)

    def found(representative: list[npt.NDArray[np.float32]], clip: float = 0.0) -> dict[str, float]:
        losses = layer_losses(to_int8(exact, representative, SPEC, clip), exact, SPEC, pixels)
        assert [loss.snr_db for loss in losses] == sorted(loss.snr_db for loss in losses)
        return {next(n for n in ("first", "second", "cam", "mask") if n in loss.layer): loss.snr_db
                for loss in losses}  # fmt: skip

    fitting = found(films)
    assert set(fitting) == {"first", "second", "cam", "mask"}
    assert min(fitting.values()) > 25.0
    # One absurd film makes every range too wide, and the steps too coarse.
    wide = found([*films, films[0] * 30.0])
    assert all(wide[name] < fitting[name] - 10.0 for name in ("first", "second"))
    # Clipped, the layers are what they were; only outputs keep the range of every film.
    clipped = found([*films, films[0] * 30.0], clip=0.2)
    assert all(clipped[name] > fitting[name] - 3.0 for name in ("first", "second"))
    assert all(clipped[name] < fitting[name] - 10.0 for name in ("cam", "mask"))


def test_other_graphs_are_not_compared() -> None:
    other = tf_keras.Sequential([tf_keras.Input((32, 32, 1)), tf_keras.layers.AvgPool2D(2)])
    wrapped = tf_keras.Model(other.input, {"cam": other.output, "mask": tf.identity(other.output)})
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, 32, 32)).astype(np.uint8)
    films = [SPEC.normalise(film)[np.newaxis, ..., np.newaxis] for film in pixels]
    int8 = to_int8(to_float32(small_network(), SPEC), films, SPEC, 0.0)
    assert layer_losses(int8, to_float32(wrapped, SPEC), SPEC, pixels) == []
