"""tf.data batches from the decoded cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from edge_runtime.errors import ConfigError, DatasetError
from edge_runtime.preprocess import InputSpec
from train.config import AugmentConfig
from train.dataset.augment import augment
from train.dataset.cache import FilmCache
from train.distribute import WHOLE, Share

# The mask head has one cell for 4 x 4 input pixels.
MASK_STRIDE = 4


@dataclass(frozen=True)
class FilmSet:
    """The films of one part.

    Attributes
    ----------
    cache
        Films of the whole dataset.
    rows
        (n,) which of them belong to the part.
    labels
        (n,) 0, 1, 2, or -1 for unknown.
    groups
        (n,) number of the group that each film belongs to, 0..g-1: groups are seen equally often
        in training. None: films are.
    heads
        (n,) channel of each film by the name of a further head, -1 for unknown.
    malignant_subtypes
        Which channels of the head `subtype` are malignant.
    context
        Per film, what is known beside the pixels: :func:`edge_runtime.context.context_words`.
        Empty where the recipe takes nothing but pixels.
    """

    cache: FilmCache
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    spec: InputSpec
    groups: npt.NDArray[np.int64] | None = None
    heads: Mapping[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    malignant_subtypes: tuple[int, ...] = ()
    context: tuple[Mapping[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def labelled(self) -> FilmSet:
        """Return the films whose label is known."""
        known = self.labels >= 0
        return replace(
            self,
            rows=self.rows[known],
            labels=self.labels[known],
            groups=None if self.groups is None else self.groups[known],
            heads={head: channels[known] for head, channels in self.heads.items()},
            context=tuple(compress(self.context, known)),
        )


def training_batches(
    films: FilmSet,
    config: AugmentConfig,
    *,
    batch: int,
    seed: int,
    epoch: int,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Return one epoch of augmented batches, in an order that (seed, epoch) fixes.

    Parameters
    ----------
    batch
        Films per step, on all devices together.
    share
        The part of each batch that is returned, for one of several devices.

    Yields
    ------
    dict
        `film` (n, h, w, 1) normalised float32; `label` (n,) int32, -1 unknown; `mask`
        (n, h/4, w/4, 1) float32 coverage 0..1; `mask_known` (n,) float32 0 or 1; and (n,) int32
        for each of ``films.heads``.

    Raises
    ------
    ConfigError
        There are more devices than films in a batch.
    """
    if share.count > min(batch, len(films)):
        raise ConfigError(
            f"{share.count} devices cannot share a batch of {min(batch, len(films))} films",
            "Raise float.batch and qat.batch, or train on fewer devices",
        )
    groups = np.zeros(len(films), np.int64) if films.groups is None else films.groups
    order = balanced_order(groups, seed=seed, epoch=epoch)
    # A last batch of one or two films would disturb the BatchNorm statistics.
    drop = len(order) > batch
    dataset = tf.data.Dataset.from_tensor_slices(order.astype(np.int64))
    dataset = dataset.batch(batch, drop_remainder=drop).enumerate()

    def load(number: tf.Tensor, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.shape(rows)[0]
        first, last = (count * (share.index + end) // share.count for end in (0, 1))
        rows = rows[first:last]
        pixels, masks, labels, known = _gather(films, rows)
        draw = tf.cast(number, tf.int32) * share.count + share.index
        batch_seed = tf.stack([draw, seed * 100_003 + epoch])
        pixels, masks = augment(pixels, masks, config, batch_seed)
        return _batch(pixels, masks, labels, known, films.spec) | _further(films, rows)

    return dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(4)


def balanced_order(
    groups: npt.NDArray[np.int64], *, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """Return an order in which every group is seen equally often, to one film.

    Parameters
    ----------
    groups
        (n,) group of each film, 0..g-1.

    Returns
    -------
    numpy.ndarray
        (n,) int64. Films of a large group take turns over the epochs; those of a small one come
        several times an epoch, each before any comes again.
    """
    rng = np.random.default_rng((seed, epoch))
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    shares = np.diff(np.linspace(0, len(groups), len(members) + 1).astype(int))
    drawn = [
        np.concatenate([rng.permutation(own) for _ in range(-(-share // len(own)))])[:share]
        for own, share in zip(members, shares, strict=True)
    ]
    return rng.permutation(np.concatenate(drawn)).astype(np.int64)


def group_index(films: pd.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """Return the group of each film, 0..g-1: films with the same values in all of ``columns``.

    A blank is a value of its own. Without columns there are no groups.

    Raises
    ------
    DatasetError
        The table lacks a column.
    """
    missing = [column for column in columns if column not in films.columns]
    if missing:
        raise DatasetError(
            f"no column is called {', '.join(missing)}, which data.balance names",
            f"Use columns of radiographs.csv: {', '.join(map(str, films.columns))}",
        )
    if not columns:
        return None
    groups = films.groupby(list(columns), dropna=False).ngroup()
    return np.asarray(groups, np.int64)


def evaluation_batches(films: FilmSet, *, batch: int) -> tf.data.Dataset:
    """Return the films once, in order, unchanged: what :func:`training_batches` yields."""
    dataset = tf.data.Dataset.range(len(films)).batch(batch)

    def load(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        return _batch(*_gather(films, rows), films.spec) | _further(films, rows)

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


def _further(films: FilmSet, rows: tf.Tensor) -> dict[str, tf.Tensor]:
    return {head: tf.gather(channels, rows) for head, channels in films.heads.items()}


def _batch(
    pixels: tf.Tensor, masks: tf.Tensor, labels: tf.Tensor, known: tf.Tensor, spec: InputSpec
) -> dict[str, tf.Tensor]:
    # Rounded, because the device has whole grey levels only.
    film = (tf.round(pixels) - spec.mean) / spec.divisor
    coverage = tf.nn.avg_pool2d(masks / 255.0, MASK_STRIDE, MASK_STRIDE, "VALID")
    return {"film": film, "label": labels, "mask": coverage, "mask_known": known}
