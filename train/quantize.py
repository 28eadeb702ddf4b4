"""Quantization-aware form of a trained network, by the default 8-bit scheme of the tfmot toolkit.

The toolkit starts every activation range at +-6 and moves it by a thousandth a step, so a short
fine-tuning spends itself on ranges: :func:`calibrate_ranges` sets them from films first. It only
knows batch-independent fake quantization in float32; mixed precision is for the float phases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import quant_ops
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_configs as configs,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_registry as registries,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_scheme as schemes,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import (
    QuantizeLayer,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import (
    QuantizeWrapper,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import (
    FixedQuantizer,
    LastValueQuantizer,
    MovingAverageQuantizer,
    Quantizer,
)

from edge_runtime.errors import ConfigError
from edge_runtime.preprocess import InputSpec

Means = dict[str, tf.Tensor]
"""Mean of each channel by layer name, each of shape (channels,)."""


def quantize_aware(model: tf_keras.Model, spec: InputSpec) -> tf_keras.Model:
    """Return a copy of a float network that computes as its 8-bit form will.

    Weights, activations and outputs are fake-quantized (Jacob et al., CVPR 2018,
    arXiv:1712.05877). The input covers exactly the 256 grey levels of ``spec``, one level a step,
    whatever films come: at 127 and 128, scale 1/128 and zero point -1.

    Parameters
    ----------
    model
        A network of :func:`train.model.heads.build_model` in float32. Left as it is.
    spec
        The preprocessing of its films.

    Returns
    -------
    tf_keras.Model
        Same inputs and outputs. Its weights load only into a model that was built the same way.
        Its ranges mean nothing before :func:`calibrate_ranges`.

    Raises
    ------
    ConfigError
        For a model in mixed precision, which fake quantization does not support.
    """
    if any(layer.compute_dtype != "float32" for layer in model.layers):
        raise ConfigError(
            "the network to quantize is in mixed precision",
            "Build it in float32 and give it the weights that were trained",
        )
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    with tfmot.quantization.keras.quantize_scope():
        quantized = tfmot.quantization.keras.quantize_apply(annotated, _Scheme())
    (quantize_input,) = (layer for layer in quantized.layers if isinstance(layer, QuantizeLayer))
    # The toolkit widens the input's range with every film it sees; grey levels have one range.
    quantize_input.quantizer = FixedQuantizer(
        num_bits=8,
        init_min=(0.0 - spec.mean) / spec.divisor,
        init_max=(255.0 - spec.mean) / spec.divisor,
        narrow_range=False,
    )
    return quantized


def calibrate_ranges(
    qat_model: tf_keras.Model, batches: Iterable[npt.NDArray[np.float32]], decay: float = 0.8
) -> None:
    """Set the ranges of all weights and activations, as a start for training or in place of it.

    Weights get the range that they have now. Activations get the moving average over ``batches``
    of their smallest and largest value, starting from the first batch. The offset of each
    BatchNormalization and of each biased convolution moves so that the mean of each channel is
    what it was in float (Nagel et al., ICCV 2019, arXiv:1906.04721): rounding shifts a filter's
    response to flat areas, and a radiograph is mostly flat. All in inference mode: no dropout,
    and the moving statistics of BatchNormalization stay as they are.

    Parameters
    ----------
    qat_model
        A model of :func:`quantize_aware`. Changed in place.
    batches
        Inputs from ``InputSpec.normalise``, each of shape (batch, height, width, 1); some twenty
        batches of real films do.
    decay
        Weight of the past in the moving average, 0..1.

    Raises
    ------
    ConfigError
        Where there are no batches.
    """
    films = list(batches)
    if not films:
        raise ConfigError("there are no films to calibrate on", "Name a dataset with films in it")
    wrappers = [layer for layer in qat_model.layers if isinstance(layer, QuantizeWrapper)]
    layers = [wrapper.layer for wrapper in wrappers if _offset(wrapper.layer) is not None]
    for wrapper in wrappers:
        for weight, quantizer, ranges in wrapper._weight_vars:
            quantizer(weight, True, ranges)

    # All films in float come first: correcting an offset changes what float means.
    exact = _NoQuantizer()
    float_means: list[Means] = [{} for _ in films]
    with _replaced([*_weights_by(exact, wrappers), *_activations_by(exact, wrappers)]):
        for batch, means in zip(films, float_means, strict=True):
            with _after_each(layers, partial(_note_mean, means)):
                qat_model(batch, training=False)

    observer = _RangeObserver()
    with _replaced(_activations_by(observer, wrappers)):
        for seen, (batch, means) in enumerate(zip(films, float_means, strict=True)):
            with _after_each(layers, partial(_restore_mean, means, 1.0 / (seen + 1))):
                qat_model(batch, training=False)
            observer.decay = decay


def freeze_batch_norm(model: tf_keras.Model) -> None:
    """Let every BatchNormalization use its moving statistics in training steps as well.

    They are what the integer model folds into its weights, so fine-tuning must see them. Scale
    and offset stay trainable in a quantization-aware model. Its ``.weights.h5`` files load into
    it frozen or not; the older ``.h5`` format refuses a frozen one.
    """
    for layer in model.layers:
        inner = layer.layer if isinstance(layer, QuantizeWrapper) else layer
        if isinstance(inner, tf_keras.layers.BatchNormalization):
            inner.trainable = False


class _Scheme(schemes.Default8BitQuantizeScheme):  # type: ignore[misc]
    """The default scheme, with three kinds of layer quantized as the integer kernels need it."""

    def get_quantize_registry(self) -> registries.Default8BitQuantizeRegistry:
        registry = registries.Default8BitQuantizeRegistry()
        kinds = registry._layer_quantize_map
        kinds[tf_keras.layers.Conv2D] = _KernelConfig("kernel", channel_axis=3)
        kinds[tf_keras.layers.DepthwiseConv2D] = _KernelConfig("depthwise_kernel", channel_axis=2)
        # Repeating numbers needs no range of its own, and a second one would be another rounding.
        kinds[tf_keras.layers.UpSampling2D] = configs.NoOpQuantizeConfig()
        return registry


class _KernelConfig(registries.Default8BitQuantizeConfig):  # type: ignore[misc]
    """How to quantize a convolution."""

    def __init__(self, kernel: str, channel_axis: int) -> None:
        super().__init__([kernel], ["activation"], False)
        self.weight_quantizer = _KernelQuantizer(channel_axis)


class _KernelQuantizer(LastValueQuantizer):  # type: ignore[misc]
    """Quantizes each output channel of a kernel by its own largest weight.

    Zero stays zero, also in training: what was pruned before stays pruned.

    The toolkit takes the last axis for the channels. In a depthwise kernel that is 1 long: one
    range for channels whose ImageNet weights differ a hundredfold.
    """

    # One channel in 160 of the published EfficientNet-Lite0 is dead, with weights of 1e-8. By its
    # own range its bias overflows int32, and 0 becomes 6. No live channel is below a thousandth.
    SMALLEST_RANGE = 1e-3

    def __init__(self, channel_axis: int) -> None:
        super().__init__(num_bits=8, per_axis=True, symmetric=True, narrow_range=True)
        self.channel_axis = channel_axis

    def build(self, tensor_shape: tf.TensorShape, name: str, layer: tf_keras.layers.Layer) -> Any:
        def end(suffix: str, initial: float) -> tf.Variable:
            return layer.add_weight(
                f"{name}_{suffix}",
                shape=(tensor_shape[self.channel_axis],),
                initializer=tf_keras.initializers.Constant(initial),
                trainable=False,
                # Every device holds the same kernel, so all find the same range.
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

        return {"min_var": end("min", -6.0), "max_var": end("max", 6.0)}

    def __call__(
        self, inputs: tf.Tensor, training: bool, weights: dict[str, tf.Variable]
    ) -> tf.Tensor:
        rows, columns = inputs.shape[:2]
        by_channel = tf.reshape(inputs, (rows, columns, -1, inputs.shape[self.channel_axis]))
        if training:
            # A weight that is exactly zero was pruned. Without a gradient it stays so.
            pruned = by_channel == 0.0
            by_channel = tf.where(pruned, tf.stop_gradient(by_channel), by_channel)
            reach = tf.reduce_max(tf.abs(by_channel), axis=(0, 1, 2))
            reach = tf.maximum(reach, self.SMALLEST_RANGE * tf.reduce_max(reach))
            weights["min_var"].assign(-reach)
            weights["max_var"].assign(reach)
        quantized = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            by_channel, weights["min_var"], weights["max_var"], num_bits=8, narrow_range=True
        )
        return tf.reshape(quantized, inputs.shape)


class _RangeObserver(MovingAverageQuantizer):  # type: ignore[misc]
    """Moves ranges in inference mode, by its own decay, and quantizes by what it has seen."""

    def __init__(self) -> None:
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        # The first batch replaces the +-6 that ranges are born with.
        self.decay = 0.0

    def __call__(
        self, inputs: tf.Tensor, training: bool, weights: dict[str, tf.Variable]
    ) -> tf.Tensor:
        return quant_ops.MovingAvgQuantize(
            inputs, weights["min_var"], weights["max_var"], ema_decay=self.decay
        )


class _NoQuantizer(Quantizer):  # type: ignore[misc]
    """Leaves numbers as they are."""

    def build(self, tensor_shape: object, name: str, layer: object) -> None:
        """Need no variables."""

    def __call__(self, inputs: tf.Tensor, training: bool, weights: object) -> tf.Tensor:
        return tf.identity(inputs)

    def get_config(self) -> dict[str, object]:
        return {}


def _offset(layer: tf_keras.layers.Layer) -> Any:
    """Return the variable that a layer adds to each channel, or None."""
    if isinstance(layer, tf_keras.layers.BatchNormalization):
        return layer.beta
    return getattr(layer, "bias", None)


def _note_mean(means: Means, layer: tf_keras.layers.Layer, outputs: tf.Tensor) -> tf.Tensor:
    """Note the mean of each channel, and pass the outputs on."""
    means[layer.name] = tf.reduce_mean(outputs, axis=(0, 1, 2))
    return outputs


def _restore_mean(
    means: Means, share: float, layer: tf_keras.layers.Layer, outputs: tf.Tensor
) -> tf.Tensor:
    """Move the offset by ``share`` of what is missing to ``means``, and the outputs with it.

    So the layers behind this one see it corrected. All corrected at once would overshoot.
    """
    shift = share * (means[layer.name] - tf.reduce_mean(outputs, axis=(0, 1, 2)))
    _offset(layer).assign_add(shift)
    return outputs + shift


@contextmanager
def _replaced(replacements: list[tuple[object, str, object]]) -> Iterator[None]:
    """Give objects other attributes for a while."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replacements]
    try:
        for owner, name, value in replacements:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _weights_by(
    quantizer: Quantizer, wrappers: list[QuantizeWrapper]
) -> list[tuple[object, str, object]]:
    """Return what makes ``quantizer`` quantize every weight."""
    return [
        (wrapper, "_weight_vars", [(weight, quantizer, ranges) for weight, _, ranges in own])
        for wrapper in wrappers
        if (own := wrapper._weight_vars)
    ]


def _activations_by(
    quantizer: Quantizer, wrappers: list[QuantizeWrapper]
) -> list[tuple[object, str, object]]:
    """Return what makes ``quantizer`` quantize every activation."""
    return [
        (wrapper, "_output_quantizers", [quantizer])
        for wrapper in wrappers
        if wrapper._output_quantizers
    ] + [
        (activation, "quantizer", quantizer)
        for wrapper in wrappers
        for activation in wrapper._quantize_activations
    ]


@contextmanager
def _after_each(
    layers: list[tf_keras.layers.Layer],
    hook: Callable[[tf_keras.layers.Layer, tf.Tensor], tf.Tensor],
) -> Iterator[None]:
    """Let ``hook`` see, and replace, what each of ``layers`` returns."""

    def hooked(layer: tf_keras.layers.Layer) -> Callable[..., tf.Tensor]:
        original = layer.call

        def call(inputs: tf.Tensor, training: bool) -> tf.Tensor:
            # Convolutions take no `training`; in inference nothing else depends on it.
            return hook(layer, original(inputs))

        return call

    for layer in layers:
        layer.call = hooked(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call
