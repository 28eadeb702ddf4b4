"""The backbones: flat Keras graphs from a film to features at four strides.

Flat, because the quantization toolkit refuses models inside models; without Rescaling, Multiply,
squeeze-excite or hard-swish, because it refuses those as well and the integer kernels are poor.
Each BatchNormalization stands directly behind its convolution, where conversion folds it in.
"""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras

Features = dict[int, tf.Tensor]
"""Feature maps by stride 4, 8, 16 and 32, each of shape (batch, height/stride, width/stride, n)."""

# Repeats, kernel, stride, expansion and filters of each stage of EfficientNet-B0.
_B0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# Factors of width and depth.
EFFICIENTNET_LITE = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}


def convolution(
    x: tf.Tensor, name: str, filters: int, kernel: int = 1, stride: int = 1, relu6: bool = True
) -> tf.Tensor:
    """Append a convolution, its BatchNormalization and, unless it is a linear one, a relu6."""
    x = tf_keras.layers.Conv2D(
        filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = tf_keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return tf_keras.layers.ReLU(6.0, name=f"{name}_relu")(x) if relu6 else x


def depthwise(x: tf.Tensor, name: str, kernel: int, stride: int = 1) -> tf.Tensor:
    """Append a depthwise convolution, its BatchNormalization and a relu6."""
    x = tf_keras.layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = tf_keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return tf_keras.layers.ReLU(6.0, name=f"{name}_relu")(x)


def efficientnet_lite(inputs: tf.Tensor, variant: str) -> Features:
    """Append EfficientNet-Lite to ``inputs``.

    EfficientNet (Tan and Le, ICML 2019, arXiv:1905.11946, table 1 and section 3.3) without
    squeeze-excite and with relu6 in place of swish, as published for edge devices: stem, top and
    the depths of the first and last stage stay those of the smallest.

    Parameters
    ----------
    inputs
        float32, shape (batch, height, width, channels), normalised by
        :class:`edge_runtime.preprocess.InputSpec`.
    variant
        A key of :data:`EFFICIENTNET_LITE`.

    Returns
    -------
    dict
        Block outputs at strides 4, 8 and 16, and the 1280 relu6 features at stride 32.
    """
    width, depth = EFFICIENTNET_LITE[variant]
    features: Features = {}
    x = convolution(inputs, "stem", 32, kernel=3, stride=2)
    total_stride, block = 2, 0
    for stage, (repeats, kernel, first_stride, expansion, filters) in enumerate(_B0_STAGES):
        scaled = 0 < stage < len(_B0_STAGES) - 1
        for repeat in range(math.ceil(repeats * depth) if scaled else repeats):
            stride = first_stride if repeat == 0 else 1
            if stride == 2:
                features[total_stride] = x
                total_stride *= 2
            name = f"block{block}"
            x = _inverted_residual(x, name, kernel, stride, expansion, _scaled(filters, width))
            block += 1
    # Nothing is decoded at full stem resolution.
    del features[2]
    features[32] = convolution(x, "top", 1280)
    return features


def mobilenet_v2(inputs: tf.Tensor, alpha: float) -> Features:
    """Append MobileNetV2 (Sandler et al., CVPR 2018, arXiv:1801.04381) to ``inputs``.

    Parameters
    ----------
    inputs
        As for :func:`efficientnet_lite`.
    alpha
        Width multiplier: 0.35, 0.5, 0.75, 1.0, 1.3 or 1.4 where ImageNet weights are wanted.

    Returns
    -------
    dict
        Block outputs at strides 4, 8 and 16, and the last relu6 features at stride 32.
    """
    network = tf_keras.applications.MobileNetV2(
        input_tensor=inputs, include_top=False, weights=None, alpha=alpha
    )
    last_layers = {4: "block_2_add", 8: "block_5_add", 16: "block_12_add", 32: "out_relu"}
    return {stride: network.get_layer(name).output for stride, name in last_layers.items()}


def _scaled(filters: int, width: float) -> int:
    """Return a number of filters times ``width``: a multiple of 8, at most a tenth less."""
    scaled = max(8, int(filters * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * filters * width else scaled


def _inverted_residual(
    inputs: tf.Tensor, name: str, kernel: int, stride: int, expansion: int, filters: int
) -> tf.Tensor:
    channels = inputs.shape[-1]
    x = inputs
    if expansion != 1:
        x = convolution(x, f"{name}_expand", channels * expansion)
    x = depthwise(x, f"{name}_depthwise", kernel, stride)
    x = convolution(x, f"{name}_project", filters, relu6=False)
    if stride == 1 and channels == filters:
        x = tf_keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x
