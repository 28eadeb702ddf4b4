"""tf.data batches from the decoded cache."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edge_runtime.preprocess import InputSpec
from train.config import AugmentConfig
from train.dataset.augment import augment
from train.dataset.cache import FilmCache

# The mask head has one cell for 4 x 4 input pixels.
MASK_STRIDE = 4


@dataclass(frozen=True)
class FilmSet:
    """The films of one part: a cache, the rows that belong to the part, and their labels (n,)."""

    cache: FilmCache
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    spec: InputSpec

    def __len__(self) -> int:
        return len(self.rows)


def training_batches(
    films: FilmSet, config: AugmentConfig, *, batch: int, seed: int, epoch: int
) -> tf.data.Dataset:
    """Return one epoch of augmented batches, in an order that (seed, epoch) fixes.

    Yields
    ------
    dict
        `film` (n, h, w, 1) normalised float32; `label` (n,) int32, -1 unknown; `mask`
        (n, h/4, w/4, 1) float32 coverage 0..1; `mask_known` (n,) float32 0 or 1.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(films))
    # A last batch of one or two films would disturb the BatchNorm statistics.
    drop = len(order) > batch
    dataset = tf.data.Dataset.from_tensor_slices(order.astype(np.int64))
    dataset = dataset.batch(batch, drop_remainder=drop).enumerate()

    def load(number: tf.Tensor, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, masks, labels, known = _gather(films, rows)
        batch_seed = tf.stack([tf.cast(number, tf.int32), seed * 100_003 + epoch])
        pixels, masks = augment(pixels, masks, config, batch_seed)
        return _batch(pixels, masks, labels, known, films.spec)

    return dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(4)


def evaluation_batches(films: FilmSet, *, batch: int) -> tf.data.Dataset:
    """Return the films once, in order, unchanged: what :func:`training_batches` yields."""
    dataset = tf.data.Dataset.range(len(films)).batch(batch)

    def load(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        return _batch(*_gather(films, rows), films.spec)

    return dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def _gather(films: FilmSet, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    def read(
        chosen: npt.NDArray[np.int64],
    ) -> tuple[
        npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.float32]
    ]:
        at = films.rows[chosen]
        return (
            films.cache.pixels[at],
            films.cache.masks[at],
            films.labels[chosen],
            films.cache.mask_known[at].astype(np.float32),
        )

    pixels, masks, labels, known = tf.numpy_function(
        read, [rows], (tf.uint8, tf.uint8, tf.int32, tf.float32)
    )
    shape = (None, films.spec.height, films.spec.width)
    pixels.set_shape(shape)
    masks.set_shape(shape)
    labels.set_shape((None,))
    known.set_shape((None,))
    return (
        tf.cast(pixels[..., tf.newaxis], tf.float32),
        tf.cast(masks[..., tf.newaxis], tf.float32),
        labels,
        known,
    )


def _batch(
    pixels: tf.Tensor, masks: tf.Tensor, labels: tf.Tensor, known: tf.Tensor, spec: InputSpec
) -> dict[str, tf.Tensor]:
    # Rounded, because the device has whole grey levels only.
    film = (tf.round(pixels) - spec.mean) / spec.divisor
    coverage = tf.nn.avg_pool2d(masks / 255.0, MASK_STRIDE, MASK_STRIDE, "VALID")
    return {"film": film, "label": labels, "mask": coverage, "mask_known": known}
