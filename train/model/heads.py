"""The networks that are trained: a backbone and its heads, one output tensor each.

Neither softmax nor pooling is in the graph. An 8-bit tensor holds 256 levels; a map that is
averaged in float afterwards keeps distinct scores distinct, and is the explanation for free.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tensorflow as tf
import tf_keras

from edge_runtime.errors import ConfigError
from train.config import Precision
from train.model.backbones import (
    EFFICIENTNET_LITE,
    Features,
    convolution,
    depthwise,
    efficientnet_lite,
    mobilenet_v2,
)
from train.model.weights import load_imagenet

CLASSES = ("no_tumour", "benign", "malignant")
"""Order of the channels of ``cam``."""

_OUTPUTS = ("cam", "mask", "subtype", "region")
# Lesions cover a few per cent of a film: start there, not at one half (Lin et al., ICCV 2017,
# arXiv:1708.02002, section 4.1), or the first epochs go into painting less.
_MASK_PRIOR = -3.0


def build_model(
    backbone: str,
    height: int,
    width: int,
    *,
    alpha: float = 1.0,
    dropout: float = 0.2,
    mask_channels: int = 48,
    subtypes: int = 0,
    regions: int = 0,
    embedding: bool = False,
    weights: Literal["imagenet", "none"] | Path = "imagenet",
    precision: Precision = "float32",
) -> tf_keras.Model:
    """Build the float network.

    Parameters
    ----------
    backbone
        A key of :data:`train.model.backbones.EFFICIENTNET_LITE`, or ``mobilenet_v2``.
    height, width
        Of the input in pixels, multiples of 32.
    alpha
        Width multiplier of ``mobilenet_v2``; the others have none.
    dropout
        Share of the stride-32 channels that ``cam`` must do without in a training step, 0..1.
    mask_channels
        Width of the mask decoder.
    subtypes, regions
        Channels of these heads; 0 for no such head.
    embedding
        Whether the features under ``cam`` are an output too.
    weights
        ``imagenet``: the published weights; ``none``: random; a path: the published weights from
        that file, see :func:`train.model.weights.load_imagenet`.
    precision
        ``mixed_bfloat16``: weights in float32, layers in bfloat16, outputs in float32. Its weights
        load into a float32 network; quantization needs one.

    Returns
    -------
    tf_keras.Model
        Input ``film``: float32, shape (batch, height, width, 1), from ``InputSpec.normalise``.
        Outputs, a dictionary of float32 logits: ``cam`` of shape (batch, height/32, width/32, 3)
        in the order of :data:`CLASSES`, see :func:`logits_from_cam`; ``mask`` of shape
        (batch, height/4, width/4, 1), above 0 where a lesion is more likely than not; ``subtype``
        and ``region``, maps like ``cam`` of as many channels as asked for; ``embedding``, relu6
        features of shape (batch, height/32, width/32, n), whose mean is the film's.

    Raises
    ------
    ConfigError
        For an unknown backbone, a size that is no multiple of 32, or weights that do not load.
    MissingExtraError
        Where the package with the ImageNet weights is not installed.
    """
    if height % 32 or width % 32:
        raise ConfigError(
            f"the network's input is {height} x {width} pixels",
            "Choose a height and a width that are multiples of 32",
        )
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(precision)
    try:
        film = tf_keras.Input((height, width, 1), name="film")
        features = _features(film, backbone, alpha)
        maps = {"cam": len(CLASSES), "subtype": subtypes, "region": regions}
        outputs = _heads(features, maps, dropout, mask_channels)
        if embedding:
            outputs["embedding"] = features[32]
        model = tf_keras.Model(film, outputs, name="osteoedge")
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
    if weights != "none":
        load_imagenet(
            model, backbone, path=None if weights == "imagenet" else Path(weights), alpha=alpha
        )
    return model


def _features(film: tf.Tensor, backbone: str, alpha: float) -> Features:
    if backbone in EFFICIENTNET_LITE and alpha == 1.0:
        return efficientnet_lite(film, backbone)
    if backbone == "mobilenet_v2":
        return mobilenet_v2(film, alpha)
    raise ConfigError(
        f"there is no backbone {backbone!r} of width {alpha}",
        "Choose efficientnet_lite0..2 with alpha = 1.0, or mobilenet_v2",
    )


def _heads(
    features: Features, maps: dict[str, int], dropout: float, mask_channels: int
) -> dict[str, tf.Tensor]:
    # Dropping a whole channel of the map is dropping one of the pooled features.
    kept = tf_keras.layers.SpatialDropout2D(dropout, name="head_dropout")(features[32])
    # Outputs and losses are float32, also where the layers before compute in less.
    outputs = {
        name: tf_keras.layers.Conv2D(channels, 1, dtype="float32", name=name)(kept)
        for name, channels in maps.items()
        if channels
    }
    outputs["mask"] = tf_keras.layers.Conv2D(
        1,
        1,
        bias_initializer=tf_keras.initializers.Constant(_MASK_PRIOR),
        dtype="float32",
        name="mask",
    )(_decode(features, mask_channels))
    return outputs


def logits_from_cam(cam: tf.Tensor) -> tf.Tensor:
    """Return the class logits, shape (batch, 3): the spatial mean of the map ``cam``."""
    return tf.reduce_mean(cam, axis=(1, 2))


def attended_logits(activation: tf.Tensor, attention: tf.Tensor) -> tf.Tensor:
    """Return logits (batch, channels): the mean of a map, weighed by ``attention``.

    What :func:`edge_runtime.decision.subtype_logits` does on the device.

    Parameters
    ----------
    activation
        (batch, rows, columns, channels).
    attention
        (batch, k * rows, k * columns, 1), 0..1.
    """
    side = attention.shape[1] // activation.shape[1]
    weights = tf.nn.avg_pool2d(attention, side, side, "VALID") + 1e-6
    return tf.reduce_sum(activation * weights, axis=(1, 2)) / tf.reduce_sum(weights, axis=(1, 2))


def is_backbone_layer(layer: tf_keras.layers.Layer) -> bool:
    """Tell whether a layer of a float network belongs to the backbone, not to the heads."""
    return layer.name not in _OUTPUTS and not layer.name.startswith("head_")


def _decode(features: Features, channels: int) -> tf.Tensor:
    """Append a top-down decoder (Lin et al., CVPR 2017, arXiv:1612.03144) down to stride 4."""
    x = convolution(features[32], "head_lateral32", channels)
    for stride in (16, 8, 4):
        x = tf_keras.layers.UpSampling2D(2, name=f"head_up{stride}")(x)
        lateral = convolution(features[stride], f"head_lateral{stride}", channels, relu6=False)
        x = tf_keras.layers.Add(name=f"head_add{stride}")([x, lateral])
        x = depthwise(x, f"head_smooth{stride}", 3)
        x = convolution(x, f"head_mix{stride}", channels)
    return x
