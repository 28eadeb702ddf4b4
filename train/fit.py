"""Train a run: heads, everything in float, then quantization-aware with the float model as teacher.

Between the two, a recipe with ``prune.sparsity`` prunes the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras
from rich.progress import Progress

from edge_runtime.bundle import LABELS
from edge_runtime.errors import RunError
from train.config import Recipe
from train.dataset.cache import FilmCache
from train.dataset.check import duplicate_groups
from train.dataset.pipeline import FilmSet
from train.dataset.schema import Dataset
from train.dataset.split import split_patients, split_sha256
from train.dataset.vocabulary import find_vocabulary
from train.distribute import (
    chief_first,
    choose_strategy,
    constant_statistics,
    lost_workers_explained,
)
from train.model.heads import is_backbone_layer
from train.networks import build_network, float_model, load_network
from train.objectives import Batch, Outputs, class_weights, distillation_loss, supervised_loss
from train.parts import film_set
from train.phase import Loss, Phase, PhaseTrainer
from train.progress import counting
from train.prune import prune_gradually
from train.quantize import calibrate_ranges, freeze_batch_norm, quantize_aware
from train.run import Run, create_run, load_run


def train_run(dataset: Dataset, folder: Path, recipe: Recipe, progress: Progress) -> Run:
    """Train, or go on with a run that was stopped, on all devices of :func:`choose_strategy`.

    Parameters
    ----------
    dataset
        All its films; ``recipe.data.where`` chooses among them.
    folder
        The run folder, new or of a run with the same recipe and dataset.

    Raises
    ------
    RunError
        The folder holds another run, or another worker stopped.
    ConfigError
        ``TF_CONFIG`` is malformed, or there are more devices than films in a batch.
    """
    strategy = choose_strategy()
    tf_keras.utils.set_random_seed(recipe.seed)
    chosen = dataset.select(recipe.data.where)
    with lost_workers_explained(strategy, folder):
        with chief_first(strategy):
            run = open_run(dataset, folder, recipe, progress)
            cache = _open_cache(run, chosen, progress)
        films, validation = (film_set(run, chosen, cache, part) for part in ("train", "validation"))
        with strategy.scope():
            return _train_phases(PhaseTrainer(run, films, validation, progress))


def open_run(dataset: Dataset, folder: Path, recipe: Recipe, progress: Progress) -> Run:
    """Split the films and start a run, or open one of the same recipe and dataset.

    Raises
    ------
    RunError
        The folder holds another run.
    """
    if (folder / "run.json").exists():
        run = load_run(folder)
        if (run.recipe, run.dataset_sha256) != (recipe, dataset.sha256):
            raise RunError(
                "this folder holds a run of another recipe or dataset",
                "Choose another --out, or give the recipe that the run was started with",
                str(folder),
            )
        # The run keeps the split it was started with, also where a later version would split
        # otherwise.
        if split_sha256(run.split()) != run.split_sha256:
            raise RunError(
                "split.csv was changed since the run was started",
                "Restore it, or train in another folder",
                str(folder),
            )
        return run
    chosen = dataset.select(recipe.data.where)
    groups = duplicate_groups(chosen, folder / "cache", progress)
    split = split_patients(chosen.films, groups, recipe.data, recipe.seed)
    trained = chosen.films[(split["part"] == "train").to_numpy()]
    vocabulary = find_vocabulary(trained, recipe.model.heads)
    return create_run(folder, recipe, dataset, split, vocabulary)


def _open_cache(run: Run, chosen: Dataset, progress: Progress) -> FilmCache:
    count = len(chosen.films)
    report = counting(progress, "decode films", count)
    cache = run.cache(chosen, report)
    # Films that were decoded before report nothing.
    report(count, count)
    return cache


def _train_phases(trainer: PhaseTrainer) -> Run:
    """Train what is not done yet and return the finished run."""
    loss = _supervised(trainer.run, trainer.films)
    if "float" not in trainer.run.done:
        _train_float(trainer, loss)
    if trainer.recipe.prune.sparsity and "prune" not in trainer.run.done:
        _prune(trainer, loss)
    if "qat" not in trainer.run.done:
        _quantize(trainer, loss)
    return trainer.run


def _supervised(run: Run, films: FilmSet) -> Loss:
    """Return the loss that follows the labels, rare ones weighed more."""
    words = run.vocabulary
    heads = {
        "label": (films.labels, len(LABELS)),
        "subtype": (films.heads.get("subtype"), len(words.subtypes)),
        "region": (films.heads.get("region"), len(words.regions)),
    }
    weights = {
        head: tf.constant(class_weights(labels, run.recipe.loss, classes))
        for head, (labels, classes) in heads.items()
        if labels is not None
    }

    def loss(outputs: Outputs, batch: Batch) -> tf.Tensor:
        return supervised_loss(outputs, batch, weights, run.recipe.loss)

    return loss


def _follow(teacher: tf_keras.Model, share: float, mask_weight: float, supervised: Loss) -> Loss:
    """Return a loss of which ``share`` follows a teacher, and the rest the labels."""
    teacher.trainable = False

    def loss(outputs: Outputs, batch: Batch) -> tf.Tensor:
        answers = teacher(batch["film"], training=False)
        follow = distillation_loss(outputs, answers, mask_weight)
        return share * follow + (1.0 - share) * supervised(outputs, batch)

    return loss


def _train_float(trainer: PhaseTrainer, supervised: Loss) -> None:
    """Train the heads alone, then everything."""
    run, recipe = trainer.run, trainer.recipe.float_
    model = build_network(run, trainer.recipe.model.weights, recipe.precision)
    if recipe.warmup_epochs:
        warm = run.folder / "weights" / "warmup.weights.h5"
        _train_only_heads(model)
        trainer.fit(
            Phase(
                name="warmup",
                model=model,
                loss=supervised,
                batch=recipe.batch,
                epochs=recipe.warmup_epochs,
                groups=((model.trainable_variables, recipe.head_learning_rate),),
                weight_decay=recipe.weight_decay,
                weights=warm,
            )
        )
        model.load_weights(warm)
        model.trainable = True
    trainer.fit(
        Phase(
            name="float",
            model=model,
            loss=supervised,
            batch=recipe.batch,
            epochs=recipe.epochs,
            groups=(
                (_variables(model, backbone=True), recipe.learning_rate),
                (_variables(model, backbone=False), recipe.head_learning_rate),
            ),
            weight_decay=recipe.weight_decay,
            average=recipe.average,
            weights=run.float_weights,
        )
    )


def _prune(trainer: PhaseTrainer, supervised: Loss) -> None:
    """Make small weights zero, step by step, while the network follows what it was."""
    run, recipe = trainer.run, trainer.recipe
    plain, teacher = float_model(run), float_model(run)
    steps = trainer.steps(recipe.float_.batch, recipe.prune.epochs)
    model = prune_gradually(plain, recipe.prune.sparsity, steps)
    trainer.fit(
        Phase(
            name="prune",
            model=model,
            loss=_follow(teacher, recipe.prune.distillation, recipe.loss.mask_weight, supervised),
            batch=recipe.float_.batch,
            epochs=recipe.prune.epochs,
            groups=((model.trainable_variables, recipe.prune.learning_rate),),
            # Neither averaged, since zeros would not stay zero, nor of an earlier epoch, which is
            # not sparse enough.
            weights=run.pruned_weights,
            plain=plain,
        )
    )


def _quantize(trainer: PhaseTrainer, supervised: Loss) -> None:
    """Calibrate activation ranges on training films, then fine-tune towards the teacher."""
    run, recipe = trainer.run, trainer.recipe
    start = run.pruned_weights if recipe.prune.sparsity else run.float_weights
    with constant_statistics():
        student = quantize_aware(load_network(run, start), recipe.input)
        teacher = float_model(run)
    freeze_batch_norm(student)
    calibrate_ranges(student, _calibration_films(recipe, trainer.films))
    trainer.fit(
        Phase(
            name="qat",
            model=student,
            loss=_follow(teacher, recipe.qat.distillation, recipe.loss.mask_weight, supervised),
            batch=recipe.qat.batch,
            epochs=recipe.qat.epochs,
            groups=((student.trainable_variables, recipe.qat.learning_rate),),
            keep="best",
            weights=run.qat_weights,
        )
    )


def _calibration_films(recipe: Recipe, films: FilmSet) -> Iterator[npt.NDArray[np.float32]]:
    """Yield unaugmented training films in random order: ranges must fit films as they come."""
    rows = np.random.default_rng(recipe.seed).permutation(len(films))
    batch = recipe.qat.batch
    for start in range(0, batch * recipe.qat.calibration_batches, batch):
        # Small training sets are gone through again.
        at = films.rows[np.take(rows, range(start, start + batch), mode="wrap")]
        yield recipe.input.normalise(films.cache.pixels[at])[..., np.newaxis]


def _train_only_heads(model: tf_keras.Model) -> None:
    """Freeze the backbone, its BatchNormalization statistics included."""
    for layer in model.layers:
        layer.trainable = not is_backbone_layer(layer)


def _variables(model: tf_keras.Model, *, backbone: bool) -> list[tf.Variable]:
    """Return what is trained in the backbone, or in the heads."""
    layers = [layer for layer in model.layers if is_backbone_layer(layer) == backbone]
    return [variable for layer in layers for variable in layer.trainable_variables]
