"""Averaged weights: what they are, and that a model gets its own back."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from train.average import WeightAverage


def model() -> tf_keras.Model:
    inputs = tf_keras.Input((2,))
    outputs = tf_keras.layers.BatchNormalization()(tf_keras.layers.Dense(1)(inputs))
    return tf_keras.Model(inputs, outputs)


def walk(network: tf_keras.Model, average: WeightAverage, steps: int) -> None:
    """Set every weight to 1, 2, 3... in turn, one step each."""
    for step in range(1, steps + 1):
        for weight in network.variables:
            weight.assign(tf.fill(weight.shape, float(step)))
        average.update()


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99])
def test_the_average_lags_behind_but_forgets_the_untrained_weights(decay: float) -> None:
    network = model()
    for weight in network.variables:
        weight.assign(tf.fill(weight.shape, -1e3))
    average = WeightAverage(network, decay)
    walk(network, average, 300)
    with average.in_place():
        for weight in network.variables:
            value = weight.numpy()
            assert (300 - 2.0 / (1.0 - decay) < value).all()
            assert (value < 300).all()


def test_a_model_has_its_own_weights_before_and_after() -> None:
    network = model()
    average = WeightAverage(network, 0.9)
    walk(network, average, 7)
    with pytest.raises(KeyboardInterrupt), average.in_place():
        assert all((weight.numpy() != 7.0).all() for weight in network.variables)
        raise KeyboardInterrupt
    assert all((weight.numpy() == 7.0).all() for weight in network.variables)


def test_without_decay_the_average_is_the_model() -> None:
    network = model()
    average = WeightAverage(network, 0.0)
    walk(network, average, 3)
    with average.in_place():
        assert all((weight.numpy() == 3.0).all() for weight in network.variables)


def test_a_checkpoint_holds_the_average(tmp_path: object) -> None:
    network = model()
    average = WeightAverage(network, 0.9)
    walk(network, average, 5)
    path = tf.train.Checkpoint(average=average).write(f"{tmp_path}/average")
    other = WeightAverage(model(), 0.9)
    tf.train.Checkpoint(average=other).read(path).assert_consumed()
    for ours, theirs in zip(average.average, other.average, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert float(other.steps) == 5.0
