"""Random changes of films that another unit or another technologist would also make.

One batch at a time inside tf.data, with stateless random numbers: the same seed gives the same
films, also after a run was killed and resumed.
"""

from __future__ import annotations

import math

import tensorflow as tf

from train.config import AugmentConfig


def augment(
    pixels: tf.Tensor, masks: tf.Tensor, config: AugmentConfig, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Change films and masks alike in geometry, and films alone in grey levels.

    Parameters
    ----------
    pixels, masks
        (n, height, width, 1) float32, 0..255.
    seed
        (2,) int32.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
    both = tf.concat([pixels, masks], axis=-1)
    both = _move(both, config, seeds[0])
    pixels, masks = both[..., :1], both[..., 1:]
    return _tone(pixels, config, seeds[1], seeds[2], seeds[3]), masks


def _move(images: tf.Tensor, config: AugmentConfig, seed: tf.Tensor) -> tf.Tensor:
    """Flip, rotate, scale and shift by one affine map a film; outside is black."""
    shape = tf.shape(images)
    count, height, width = shape[0], tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)
    draws = tf.random.stateless_uniform((count, 6), seed, -1.0, 1.0)
    angle = draws[:, 0] * (config.rotation_degrees * math.pi / 180.0)
    scale = tf.exp(-draws[:, 1] * math.log(1.0 + config.scale))
    shift_x, shift_y = draws[:, 2] * config.shift * width, draws[:, 3] * config.shift * height
    flip_x = tf.where(draws[:, 4] < 2.0 * config.flip_horizontal - 1.0, -1.0, 1.0)
    flip_y = tf.where(draws[:, 5] < 2.0 * config.flip_vertical - 1.0, -1.0, 1.0)
    a, b = tf.cos(angle) * scale * flip_x, -tf.sin(angle) * scale * flip_x
    c, d = tf.sin(angle) * scale * flip_y, tf.cos(angle) * scale * flip_y
    centre_x, centre_y = (width - 1.0) / 2.0, (height - 1.0) / 2.0
    zero = tf.zeros_like(a)
    transforms = tf.stack(
        [
            a,
            b,
            centre_x - a * centre_x - b * centre_y + shift_x,
            c,
            d,
            centre_y - c * centre_x - d * centre_y + shift_y,
            zero,
            zero,
        ],
        axis=1,
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def _tone(
    pixels: tf.Tensor,
    config: AugmentConfig,
    seed: tf.Tensor,
    noise_seed: tf.Tensor,
    inversion_seed: tf.Tensor,
) -> tf.Tensor:
    """Change gamma, contrast, brightness and noise, and invert a share of the films."""
    count = tf.shape(pixels)[0]
    draws = tf.random.stateless_uniform((3, count, 1, 1, 1), seed, -1.0, 1.0)
    unit = tf.clip_by_value(pixels / 255.0, 0.0, 1.0)
    unit = tf.pow(unit + 1e-6, tf.exp(draws[0] * math.log(1.0 + config.gamma)))
    unit = (unit - 0.5) * (1.0 + draws[1] * config.contrast) + 0.5 + draws[2] * config.brightness
    noise = tf.random.stateless_normal(tf.shape(unit), noise_seed) * config.noise
    unit = unit + noise
    inverted = tf.random.stateless_uniform((count, 1, 1, 1), inversion_seed) < config.inversion
    unit = tf.where(inverted, 1.0 - unit, unit)
    return tf.clip_by_value(unit, 0.0, 1.0) * 255.0
