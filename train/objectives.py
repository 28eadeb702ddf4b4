"""What training minimises. Unknown labels and unknown masks count for nothing.

On several devices each sees its share of a batch. A loss is then this device's summand of the mean
over the whole batch: how many films are known is counted on all of them. So the sum over devices,
and its gradient, is what one device would find.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edge_runtime.bundle import LABELS
from train.config import LossConfig
from train.distribute import over_replicas
from train.model.heads import attended_logits, logits_from_cam

Batch = dict[str, tf.Tensor]
Outputs = dict[str, tf.Tensor]
Weights = dict[str, tf.Tensor]


def class_weights(
    labels: npt.NDArray[np.int32], config: LossConfig, classes: int = len(LABELS)
) -> npt.NDArray[np.float32]:
    """Return a weight per class, shape (classes,), mean 1 over the known films.

    Parameters
    ----------
    labels
        (n,), -1 for unknown.
    classes
        How many there are.
    config
        ``class_weights = "frequency"`` weighs a class of n films by n^-b. ``"effective_number"``
        weighs it by (1 - b) / (1 - b^n) (Cui et al., CVPR 2019, arXiv:1901.05555, equation 2).
        In both, b = 0 gives every film the same weight, and b = 1 every class.
    """
    counts = np.maximum(np.bincount(labels[labels >= 0], minlength=classes), 1).astype(float)
    balance = config.class_balance
    if config.class_weights == "effective_number" and balance < 1.0:
        weights = (1.0 - balance) / (1.0 - balance**counts)
    elif config.class_weights == "effective_number":
        weights = 1.0 / counts
    else:
        weights = counts**-balance
    return np.asarray(weights * counts.sum() / (weights * counts).sum(), np.float32)


def supervised_loss(
    outputs: Outputs, batch: Batch, weights: Weights, config: LossConfig
) -> tf.Tensor:
    """Return the weighted cross-entropy of each classifying head plus the mask loss, a scalar.

    A film counts for (1 - p)^gamma in the head of classes, where p is the probability of the
    film's class (Lin et al., ICCV 2017, arXiv:1708.02002, equation 4).

    Parameters
    ----------
    weights
        Of the classes of `label`, `subtype` and `region`, as far as there are such heads.
    """
    smoothing = config.label_smoothing
    logits = logits_from_cam(outputs["cam"])
    loss = _entropy(logits, batch["label"], weights["label"], smoothing, config.focal_gamma)
    loss += config.mask_weight * mask_loss(outputs["mask"], batch, config.dice_share)
    if "subtype" in outputs:
        # Half where the lesion is and half where the device will look for it.
        seen = tf.stop_gradient(tf.sigmoid(outputs["mask"]))
        known = tf.reshape(batch["mask_known"], (-1, 1, 1, 1))
        attention = seen + 0.5 * known * (batch["mask"] - seen)
        subtype = attended_logits(outputs["subtype"], attention)
        entropy = _entropy(subtype, batch["subtype"], weights["subtype"], smoothing)
        loss += config.subtype_weight * entropy
    if "region" in outputs:
        region = logits_from_cam(outputs["region"])
        entropy = _entropy(region, batch["region"], weights["region"], smoothing)
        loss += config.region_weight * entropy
    return loss


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
    """Return how far a student is from its teacher: KL of each head's classes, BCE of the masks.

    Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015, at temperature 1.
    Each differs from it by the teacher's own entropy, which has no gradient.
    """
    teacher_mask = tf.sigmoid(teacher["mask"])
    masks = tf.nn.sigmoid_cross_entropy_with_logits(teacher_mask, outputs["mask"])
    loss = mask_weight * tf.reduce_mean(masks)
    for head in ("cam", "subtype", "region"):
        if head in outputs:
            # Subtypes mean something where the lesion is; the other maps are averaged as a whole.
            attention = teacher_mask if head == "subtype" else tf.ones_like(teacher_mask)
            target = tf.nn.softmax(attended_logits(teacher[head], attention))
            logits = attended_logits(outputs[head], attention)
            loss += tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits))
    films = tf.cast(tf.shape(masks)[0], tf.float32)
    return films / over_replicas(films) * loss


def _entropy(
    logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, smoothing: float, gamma: float = 0.0
) -> tf.Tensor:
    """Return the mean cross-entropy of the films whose label is known."""
    known = tf.cast(labels >= 0, tf.float32)
    label, classes = tf.maximum(labels, 0), logits.shape[-1]
    hard = tf.one_hot(label, classes)
    target = hard * (1.0 - smoothing) + smoothing / classes
    entropy = tf.nn.softmax_cross_entropy_with_logits(target, logits) * tf.gather(weights, label)
    if gamma:
        missing = 1.0 - tf.reduce_sum(hard * tf.nn.softmax(logits), axis=-1)
        entropy *= tf.maximum(missing, 1e-6) ** gamma
    return _mean(entropy, known)


def _mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    total = over_replicas(tf.reduce_sum(weights))
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), total)
