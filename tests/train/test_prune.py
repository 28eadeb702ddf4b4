"""Pruning: the sparsity that was asked for, in the right kernels, kept through kills and int8."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
import tf_keras
from rich.progress import Progress, TaskID

from export.convert import to_int8, zero_share
from tests.train.drawn import draw_dataset
from train.config import Recipe
from train.dataset.schema import load_dataset
from train.fit import train_run
from train.model.backbones import convolution, depthwise
from train.model.heads import build_model
from train.networks import float_model, qat_model
from train.prune import prune_gradually, pruned_kernels
from train.run import Run, load_run

SPARSITY = 0.6
RECIPE = Recipe.model_validate(
    {
        "data": {"validation": 0.2, "calibration": 0.2},
        "input": {"height": 64, "width": 64},
        "float": {"batch": 8, "warmup_epochs": 0, "epochs": 1},
        "prune": {"sparsity": SPARSITY, "epochs": 4, "learning_rate": 1e-3},
        "qat": {"batch": 8, "epochs": 1, "calibration_batches": 2, "learning_rate": 1e-3},
    }
)
FILMS = np.random.default_rng(3).normal(size=(4, 64, 64, 1)).astype(np.float32)


def build_small(*_: object, **__: object) -> tf_keras.Model:
    """Return a network with every kind of kernel that ours have, in the place of `build_model`."""
    film = tf_keras.Input((64, 64, 1), name="film")
    x = convolution(film, "stem", 8, kernel=3, stride=4)
    x = convolution(x, "block0_expand", 24)
    x = depthwise(x, "block0_depthwise", 3)
    fine = convolution(x, "head_mix", 16)
    deep = convolution(depthwise(fine, "block1_depthwise", 3, stride=8), "top", 16)
    outputs = {
        "cam": tf_keras.layers.Conv2D(3, 1, name="cam")(deep),
        "mask": tf_keras.layers.Conv2D(1, 1, name="mask")(fine),
    }
    return tf_keras.Model(film, outputs)


def zeros(kernel: tf.Variable) -> float:
    return float(np.mean(kernel.numpy() == 0.0))


class Killed(Exception):
    """What no code of the training catches."""


class KilledIn(Progress):
    """Ends the training as soon as so many epochs of a phase have passed."""

    def __init__(self, phase: str, epochs: float) -> None:
        super().__init__(disable=True)
        self.phase, self.epochs = phase, epochs

    def update(self, task_id: TaskID, **changes: object) -> None:  # type: ignore[override]
        super().update(task_id, **changes)  # type: ignore[arg-type]
        task = self.tasks[task_id]
        if task.description.startswith(self.phase) and task.completed > self.epochs:
            raise Killed


@dataclass(frozen=True)
class Pruned:
    """A run of a small network that was killed once in its pruning, and went on."""

    run: Run
    at_kill: list[str]


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Pruned:
    folder = tmp_path_factory.mktemp("prune")
    dataset = load_dataset(draw_dataset(folder / "data", 60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.networks.build_model", build_small)
        # In the last epoch neither the masks nor the count of steps can be made up for.
        with pytest.raises(Killed):
            train_run(dataset, folder / "run", RECIPE, KilledIn("prune", 3.0))
        at_kill = list(load_run(folder / "run").done)
        return Pruned(train_run(dataset, folder / "run", RECIPE, Progress(disable=True)), at_kill)


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.networks.build_model", build_small)


def load(weights: Path) -> tf_keras.Model:
    model = build_small()
    model.load_weights(weights)
    return model


def test_a_killed_pruning_goes_on(pruned: Pruned) -> None:
    assert pruned.at_kill == ["float"]
    assert pruned.run.done == ("float", "prune", "qat")
    lines = map(json.loads, (pruned.run.folder / "history.jsonl").read_text().splitlines())
    assert [line["epoch"] for line in lines if line["phase"] == "prune"] == [0, 1, 2, 3, 4]


def test_the_weights_are_those_of_a_plain_network_with_the_sparsity(pruned: Pruned) -> None:
    model = load(pruned.run.pruned_weights)
    kernels = pruned_kernels(model)
    assert {layer.name for layer in kernels} == {"block0_expand_conv", "head_mix_conv", "top_conv"}
    for layer in model.layers:
        if isinstance(layer, (tf_keras.layers.Conv2D, tf_keras.layers.DepthwiseConv2D)):
            expected = SPARSITY if layer in kernels else 0.0
            assert abs(zeros(layer.weights[0]) - expected) < 0.005, layer.name


@pytest.mark.usefixtures("small_networks")
def test_the_float_model_stays_unpruned(pruned: Pruned) -> None:
    assert all(zeros(layer.kernel) == 0.0 for layer in pruned_kernels(float_model(pruned.run)))


def kernels_of(model: tf_keras.Model) -> list[npt.NDArray[np.float32]]:
    """Return what was pruned in a quantization-aware network, before it is quantized."""
    wrappers = [model.get_layer(f"quant_{layer.name}") for layer in pruned_kernels(build_small())]
    return [wrapper.trainable_weights[0].numpy() for wrapper in wrappers]


@pytest.mark.usefixtures("small_networks")
def test_quantization_aware_training_and_the_integer_file_keep_zeros(pruned: Pruned) -> None:
    before = [layer.kernel.numpy() for layer in pruned_kernels(load(pruned.run.pruned_weights))]
    quantized = qat_model(pruned.run)
    optimizer = tf_keras.optimizers.Adam(0.01)
    # The run may have kept its state before the first step.
    for _ in range(2):
        with tf.GradientTape() as tape:
            outputs = quantized(FILMS, training=True)
            loss = tf.reduce_mean(outputs["cam"] ** 2) + tf.reduce_mean(outputs["mask"] ** 2)
        variables = quantized.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    after = kernels_of(quantized)
    for ours, theirs in zip(after, before, strict=True):
        np.testing.assert_array_equal(ours == 0.0, theirs == 0.0)
    assert not all(map(np.array_equal, after, before)), "the other weights learn"
    # `mask` has one channel, and `zero_share` leaves it out.
    layers = [layer for layer in build_small().layers if layer.weights and layer.name != "mask"]
    kernels = sum(np.size(layer.weights[0]) for layer in layers if layer.weights[0].shape.rank == 4)
    least = sum(np.sum(kernel == 0.0) for kernel in before) / kernels
    assert least <= zero_share(to_int8(quantized, RECIPE.input)) < 1.0


def test_the_share_of_zeros_rises_and_then_stays() -> None:
    tf_keras.utils.set_random_seed(3)
    plain = build_small()
    model = prune_gradually(plain, SPARSITY, steps=8)
    optimizer = tf_keras.optimizers.SGD(0.01)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            outputs = model(FILMS, training=True)
            loss = tf.reduce_mean(outputs["cam"] ** 2) + tf.reduce_mean(outputs["mask"] ** 2)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    shares, patterns = [], []
    for _ in range(8):
        step()
        expected = model.predict_on_batch(FILMS)
        kernel = plain.get_layer("top_conv").kernel
        shares.append(zeros(kernel))
        patterns.append(kernel.numpy() == 0.0)
    np.testing.assert_allclose(plain.predict_on_batch(FILMS)["cam"], expected["cam"], atol=1e-5)
    assert 0.0 < shares[0] < shares[2] < shares[5]
    np.testing.assert_allclose(shares[5:], SPARSITY, atol=0.005)
    assert np.array_equal(patterns[5], patterns[7]), "the last steps train what is left"


def test_most_weights_of_a_real_network_are_pruned() -> None:
    model = build_model("efficientnet_lite0", 64, 64, weights="none")
    chosen = pruned_kernels(model)
    assert not {"stem_conv", "block0_depthwise_conv", "cam", "mask"} & {c.name for c in chosen}
    share = sum(layer.count_params() for layer in chosen) / model.count_params()
    print(f"pruned kernels hold {share:.1%} of the weights")
    assert share > 0.9
