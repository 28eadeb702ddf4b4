"""What training minimises. Unknown labels and unknown masks count for nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edge_runtime.bundle import LABELS
from train.config import LossConfig
from train.model.heads import logits_from_cam

Batch = dict[str, tf.Tensor]
Outputs = dict[str, tf.Tensor]


def class_weights(labels: npt.NDArray[np.int32], balance: float) -> npt.NDArray[np.float32]:
    """Return a weight per class, mean 1 over the known films.

    Parameters
    ----------
    labels
        (n,), -1 for unknown.
    balance
        0: all classes weigh the same per film; 1: all classes weigh the same in total.
    """
    counts = np.bincount(labels[labels >= 0], minlength=len(LABELS)).astype(np.float64)
    weights = np.maximum(counts, 1.0) ** -balance
    return np.asarray(weights * counts.sum() / (weights * counts).sum(), np.float32)


def supervised_loss(
    outputs: Outputs, batch: Batch, weights: tf.Tensor, config: LossConfig
) -> tf.Tensor:
    """Return weighted cross-entropy plus the mask loss, a scalar."""
    known = tf.cast(batch["label"] >= 0, tf.float32)
    label = tf.maximum(batch["label"], 0)
    target = tf.one_hot(label, len(LABELS))
    target = target * (1.0 - config.label_smoothing) + config.label_smoothing / len(LABELS)
    entropy = tf.nn.softmax_cross_entropy_with_logits(target, logits_from_cam(outputs["cam"]))
    entropy = _mean(entropy * tf.gather(weights, label), known)
    return entropy + config.mask_weight * mask_loss(outputs["mask"], batch, config.dice_share)


def mask_loss(logits: tf.Tensor, batch: Batch, dice_share: float) -> tf.Tensor:
    """Return BCE on every film whose mask is known, plus Dice on those that hold a lesion.

    BCE alone teaches films without tumour to stay empty; Dice on them would be all or nothing
    (Dice-only training paints 90 % of films without tumour, see the published comparison of losses
    on BTXRD, lehngoc/BTXRD-LViT).
    """
    target = batch["mask"]
    bce = tf.nn.sigmoid_cross_entropy_with_logits(target, logits)
    bce = tf.reduce_mean(bce, axis=[1, 2, 3])
    probability = tf.sigmoid(logits)
    overlap = tf.reduce_sum(probability * target, axis=[1, 2, 3])
    total = tf.reduce_sum(probability + target, axis=[1, 2, 3])
    dice = 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)
    lesion = tf.cast(tf.reduce_max(target, axis=[1, 2, 3]) > 0.0, tf.float32)
    known = batch["mask_known"]
    return (1.0 - dice_share) * _mean(bce, known) + dice_share * _mean(dice, known * lesion)


def distillation_loss(outputs: Outputs, teacher: Outputs, mask_weight: float) -> tf.Tensor:
    """Return how far a student is from its teacher: KL of the classes plus BCE of the masks.

    Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015, at temperature 1.
    Each differs from it by the teacher's own entropy, which has no gradient.
    """
    target = tf.nn.softmax(logits_from_cam(teacher["cam"]))
    classes = tf.nn.softmax_cross_entropy_with_logits(target, logits_from_cam(outputs["cam"]))
    masks = tf.nn.sigmoid_cross_entropy_with_logits(tf.sigmoid(teacher["mask"]), outputs["mask"])
    return tf.reduce_mean(classes) + mask_weight * tf.reduce_mean(masks)


def _mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights))
