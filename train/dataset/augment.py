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
    """Change films and masks alike in geometry, and films alone in everything else.

    In the order in which a film comes about: the patient lies otherwise, the collimator is set,
    the detector sees less or more, the file is made smaller. A lesion that is known is never
    covered, because its film keeps its label.

    Parameters
    ----------
    pixels, masks
        (n, height, width, 1) float32, 0..255.
    seed
        (2,) int32.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 8))
    both = tf.concat([pixels, masks], axis=-1)
    if config.close_up:
        both = _close_up(both, config.close_up, seeds[7])
    both = _move(both, config, seeds[0])
    pixels, masks = both[..., :1], both[..., 1:]
    if config.collimation:
        pixels = _collimate(pixels, masks, config.collimation, seeds[4])
    if config.erase:
        pixels = _erase(pixels, masks, config.erase, seeds[5])
    if config.blur:
        pixels = _blur(pixels, config.blur, seeds[6])
    pixels = _tone(pixels, config, seeds[1], seeds[2], seeds[3])
    if config.jpeg:
        pixels = _compress(pixels, config.jpeg, seeds[3])
    return pixels, masks


def _close_up(both: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Magnify half of the films up to 1 + ``largest``, with every lesion in view.

    A lesion fills five times more of a film that a colleague crops for a case collection, or that
    a technologist collimates to the complaint, than of a film of a whole limb.

    Parameters
    ----------
    both
        (n, height, width, 2): film and mask.
    """
    draws = tf.random.stateless_uniform((3, tf.shape(both)[0], 1), seed)
    side = tf.exp(-math.log(1.0 + largest) * tf.nn.relu(2.0 * draws[0] - 1.0))
    top, bottom = _extent(both[..., 1:], axis=2)
    left, right = _extent(both[..., 1:], axis=1)
    # The window must hold the lesion and some of what is around it.
    lesion = tf.maximum(bottom - top, right - left)
    side = tf.minimum(1.0, tf.maximum(side, 1.25 * lesion))
    y = _window_start(draws[1], side, top, bottom)
    x = _window_start(draws[2], side, left, right)
    windows = tf.concat([y, x, y + side, x + side], axis=1)
    shape = tf.shape(both)
    # crop_and_resize places corners on pixel centres, as ImageProjectiveTransform does.
    return tf.image.crop_and_resize(both, windows, tf.range(shape[0]), shape[1:3])


def _window_start(draw: tf.Tensor, side: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Return where a window of width ``side`` begins so that it holds ``start``..``stop``."""
    first = tf.clip_by_value(stop - side, 0.0, 1.0 - side)
    last = tf.clip_by_value(start, first, 1.0 - side)
    return first + draw * (last - first)


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


def _collimate(pixels: tf.Tensor, masks: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Blacken each side up to a share ``largest`` of the film, but no lesion."""
    count, height, width = tf.unstack(tf.shape(pixels)[:3])
    draws = tf.random.stateless_uniform((4, count, 1), seed, 0.0, largest)
    top, bottom = _extent(masks, axis=2)
    left, right = _extent(masks, axis=1)
    seen_rows = _between(tf.minimum(draws[0], top), tf.maximum(1.0 - draws[1], bottom), height)
    seen_columns = _between(tf.minimum(draws[2], left), tf.maximum(1.0 - draws[3], right), width)
    seen = seen_rows[:, :, tf.newaxis] & seen_columns[:, tf.newaxis, :]
    return tf.where(seen[..., tf.newaxis], pixels, 0.0)


def _erase(pixels: tf.Tensor, masks: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Fill a rectangle of up to a quarter of each side with the film's mean, where no lesion is.

    Random erasing (Zhong et al., AAAI 2020, arXiv:1708.04896): markers and labels come and go.
    """
    count, height, width = tf.unstack(tf.shape(pixels)[:3])
    draws = tf.random.stateless_uniform((5, count, 1), seed)
    top, left = draws[0], draws[1]
    inside_rows = _between(top, top + 0.05 + 0.2 * draws[2], height)
    inside_columns = _between(left, left + 0.05 + 0.2 * draws[3], width)
    inside = inside_rows[:, :, tf.newaxis] & inside_columns[:, tf.newaxis, :]
    inside = inside[..., tf.newaxis] & (draws[4] < share)[:, :, tf.newaxis, tf.newaxis]
    harmless = tf.logical_not(tf.reduce_any(inside & (masks > 0.0), axis=[1, 2, 3], keepdims=True))
    return tf.where(
        inside & harmless, tf.reduce_mean(pixels, axis=[1, 2, 3], keepdims=True), pixels
    )


def _blur(pixels: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Blur each film by a Gaussian of its own, sigma 0..``largest`` pixels."""
    count = tf.shape(pixels)[0]
    sigma = tf.random.stateless_uniform((1, count), seed, 1e-3, largest)
    reach = math.ceil(3.0 * largest)
    offsets = tf.range(-reach, reach + 1, dtype=tf.float32)[:, tf.newaxis]
    kernel = tf.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= tf.reduce_sum(kernel, axis=0, keepdims=True)
    # Films as channels: a depthwise convolution gives each its own kernel.
    films = tf.transpose(pixels, (3, 1, 2, 0))
    films = tf.pad(films, [[0, 0], [reach, reach], [reach, reach], [0, 0]], mode="SYMMETRIC")
    for shape in ((-1, 1), (1, -1)):
        window = tf.reshape(kernel, (*shape, count, 1))
        films = tf.nn.depthwise_conv2d(films, window, (1, 1, 1, 1), "VALID")
    return tf.transpose(films, (3, 1, 2, 0))


def _compress(pixels: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Send a share of the films through JPEG of quality 30..95."""
    count = tf.shape(pixels)[0]
    draws = tf.random.stateless_uniform((2, count), seed)
    quality = tf.cast(30.0 + 65.0 * draws[1], tf.int32)

    def encode(film: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        unit, chosen, level = film
        return tf.cond(chosen, lambda: tf.image.adjust_jpeg_quality(unit, level), lambda: unit)

    films = (pixels / 255.0, draws[0] < share, quality)
    return tf.map_fn(encode, films, fn_output_signature=pixels.dtype) * 255.0


def _between(start: tf.Tensor, stop: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Return which of ``length`` pixel centres lie in start..stop, shares (n, 1): (n, length)."""
    centres = (tf.range(tf.cast(length, tf.float32)) + 0.5) / tf.cast(length, tf.float32)
    return (centres >= start) & (centres < stop)


def _extent(masks: tf.Tensor, axis: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where the lesions of each film begin and end, along rows (axis 2) or columns (1).

    Shares of the film, (n, 1) each; 1 and 0 where there are none.
    """
    hit = tf.reduce_any(masks[..., 0] > 0.0, axis=axis)
    length = tf.cast(tf.shape(hit)[1], tf.float32)
    edges = tf.range(length + 1.0) / length
    start = tf.reduce_min(tf.where(hit, edges[:-1], 1.0), axis=1, keepdims=True)
    stop = tf.reduce_max(tf.where(hit, edges[1:], 0.0), axis=1, keepdims=True)
    return start, stop
