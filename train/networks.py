"""The networks of a run: built, with weights from its folder, and asked about films."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras

from edge_runtime.decision import average_mirrored
from edge_runtime.errors import RunError
from train.config import Precision
from train.dataset.pipeline import FilmSet, evaluation_batches
from train.model.heads import build_model
from train.quantize import freeze_batch_norm, quantize_aware
from train.run import Run

PREDICTION_BATCH = 64


def build_network(run: Run, weights: str, precision: Precision = "float32") -> tf_keras.Model:
    """Return the run's network in float.

    Parameters
    ----------
    weights
        'imagenet', 'none', or a weights file for the backbone.
    """
    recipe, words = run.recipe, run.vocabulary
    source: Literal["imagenet", "none"] | Path
    source = weights if weights in ("imagenet", "none") else Path(weights)  # type: ignore[assignment]
    return build_model(
        recipe.model.backbone,
        recipe.input.height,
        recipe.input.width,
        alpha=recipe.model.alpha,
        dropout=recipe.model.dropout,
        mask_channels=recipe.model.mask_channels,
        subtypes=len(words.subtypes),
        regions=len(words.regions),
        embedding="embedding" in recipe.model.heads,
        weights=source,
        precision=precision,
    )


def load_network(run: Run, weights: Path) -> tf_keras.Model:
    """Return the run's network in float with weights from a file."""
    model = build_network(run, weights="none")
    model.load_weights(weights)
    return model


def float_model(run: Run) -> tf_keras.Model:
    """Return the run's float network, as it was before any pruning."""
    return load_network(run, run.float_weights)


def qat_model(run: Run) -> tf_keras.Model:
    """Return the run's quantization-aware network.

    Raises
    ------
    RunError
        The run is not finished.
    """
    if "qat" not in run.done:
        raise RunError(
            "training is not finished",
            "Go on with 'osteoedge train DATASET --out RUN', same recipe",
            str(run.folder),
        )
    model = quantize_aware(build_network(run, weights="none"), run.recipe.input)
    freeze_batch_norm(model)
    model.load_weights(run.qat_weights)
    return model


def predict(
    model: tf_keras.Model, films: FilmSet, *, mirror: bool = False
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the outputs of a network for all films, in order: float32, by head.

    ``mirror`` averages them with those of the films mirrored, as a device may do.
    """
    return predict_both(model, films, mirror=mirror)[1]


def predict_both(
    model: tf_keras.Model, films: FilmSet, *, mirror: bool
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, npt.NDArray[np.float32]]]:
    """Return the outputs of :func:`predict` without ``mirror``, and with it where it is wanted."""
    devices = model.distribute_strategy.num_replicas_in_sync
    outputs, shown = [], []
    for batch in evaluation_batches(films, batch=PREDICTION_BATCH):
        count = batch["film"].shape[0]
        # A device without a film would fail: the first ones come again until all have the same.
        shared = tf.gather(batch["film"], np.arange(-(-count // devices) * devices) % count)
        answers = model.predict_on_batch(shared)
        outputs.append({head: answer[:count] for head, answer in answers.items()})
        if mirror:
            averaged = average_mirrored(answers, model.predict_on_batch(shared[:, :, ::-1]))
            shown.append({head: answer[:count] for head, answer in averaged.items()})
    plain = _joined(outputs)
    return plain, _joined(shown) if mirror else plain


def _joined(
    batches: list[dict[str, npt.NDArray[np.float32]]],
) -> dict[str, npt.NDArray[np.float32]]:
    return {head: np.concatenate([batch[head] for batch in batches]) for head in batches[0]}
