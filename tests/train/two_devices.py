"""Program of :mod:`tests.train.test_distribute`: TensorFlow is split into two devices only once.

The network's films do not meet (no BatchNormalization), and labels are known unevenly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from edge_runtime.preprocess import InputSpec
from train.average import WeightAverage
from train.config import LossConfig
from train.dataset.cache import FilmCache
from train.dataset.pipeline import FilmSet
from train.distribute import constant_statistics, shares, to_replicas
from train.networks import predict
from train.objectives import Batch, Outputs, distillation_loss, supervised_loss
from train.phase import Phase, train_step
from train.quantize import calibrate_ranges, quantize_aware

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
rng = np.random.default_rng(0)
batches = [
    {
        "film": rng.normal(size=(7, 32, 32, 1)).astype("float32"),
        # The first device knows few labels, the second most.
        "label": np.array([-1, -1, 2, 0, 1, 2, 0], "int32"),
        "mask": (rng.random((7, 8, 8, 1)) > 0.9).astype("float32"),
        "mask_known": np.array([0, 0, 1, 1, 1, 1, 0], "float32"),
    }
    for _ in range(3)
]
spec = InputSpec(height=32, width=32)
pixels = rng.integers(0, 255, (3, 32, 32)).astype("uint8")
three_films = FilmSet(
    FilmCache(pixels, pixels, np.ones(3, bool)), np.arange(3), np.zeros(3, np.int32), spec
)


def network() -> tf_keras.Model:
    film = tf_keras.Input((32, 32, 1))
    x = tf_keras.layers.Conv2D(8, 3, 4, "same", activation="relu")(film)
    cam = tf_keras.layers.Conv2D(3, 8, 8)(x)
    return tf_keras.Model(film, {"cam": cam, "mask": tf_keras.layers.Conv2D(1, 1)(x)})


def loss(outputs: Outputs, batch: Batch) -> tf.Tensor:
    fixed = {name: tf.zeros_like(value) + 0.3 for name, value in outputs.items()}
    weights = {"label": tf.constant([0.5, 1.0, 1.5])}
    return supervised_loss(outputs, batch, weights, LossConfig()) + distillation_loss(
        outputs, fixed, 2.0
    )


def train(model: tf_keras.Model, strategy: tf.distribute.Strategy) -> list[Any]:
    """Take three steps; return the losses, and the weights averaged over steps."""
    optimizer = tf_keras.optimizers.AdamW(1e-2, weight_decay=1e-3)
    optimizer.build(model.trainable_variables)
    average = WeightAverage(model, 0.9)
    groups = ((model.trainable_variables, 1e-2),)
    phase = Phase("steps", model, loss, 7, 1, groups, Path(), average=0.9)
    step = train_step(phase, [optimizer], average, strategy)
    losses = []
    for batch in batches:
        own = [
            {
                name: tf.constant(value[7 * s.index // s.count : 7 * (s.index + 1) // s.count])
                for name, value in batch.items()
            }
            for s in shares(strategy)
        ]
        losses.append(float(step(to_replicas(strategy, own))))
    with average.in_place():
        return [np.array(losses), *model.get_weights()]


def trained(strategy: tf.distribute.Strategy) -> list[Any]:
    tf_keras.utils.set_random_seed(0)
    with strategy.scope():
        model = network()
        averaged = train(model, strategy)
        return [*averaged, *model.get_weights(), predict(model, three_films)["cam"]]


one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert two.num_replicas_in_sync == 2
for single, shared in zip(trained(one), trained(two), strict=True):
    np.testing.assert_allclose(shared, single, atol=1e-5, rtol=1e-5)

# Activation ranges are means over devices, not those of the whole batch: alike is all they can be.
with two.scope():
    with constant_statistics():
        student = quantize_aware(network(), spec)
    calibrate_ranges(student, [batch["film"] for batch in batches])
    before = student.get_weights()
    assert np.isfinite(train(student, two)[0]).all()
    for variable in student.weights:
        first, second = two.experimental_local_results(variable)
        assert np.isfinite(first.numpy()).all()
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    changed = [(a != b).any() for a, b in zip(student.get_weights(), before, strict=True)]
    assert sum(changed) > len(student.trainable_variables), "ranges move as well"
