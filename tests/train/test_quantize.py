"""Quantization-aware networks: faithful before the first step, and what the integer file does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter

from edge_runtime.errors import ConfigError
from edge_runtime.preprocess import InputSpec, quantize_input
from train.model.backbones import convolution, depthwise
from train.model.heads import build_model, logits_from_cam
from train.quantize import calibrate_ranges, freeze_batch_norm, quantize_aware

SPEC = InputSpec(height=96, width=96)
# A channel of the stem that does nothing, as the published networks have some.
DEAD = 3
Films = npt.NDArray[np.uint8]


def films(count: int, seed: int) -> Films:
    """Return limb-like phantoms, uint8, shape (count, 96, 96): shafts and blobs on black."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:96, 0:96].astype(np.float64)
    pictures = []
    for _ in range(count):
        angle, offset = random.uniform(0, np.pi), random.uniform(-15, 15)
        across = (x - 48) * np.cos(angle) + (y - 48) * np.sin(angle) - offset
        picture = 110 * np.exp(-((across / random.uniform(15, 30)) ** 4))
        picture += 90 * np.exp(-(((np.abs(across) - random.uniform(5, 10)) / 3) ** 2))
        centre = random.uniform(25, 70, 2)
        distance = np.hypot(x - centre[0], y - centre[1])
        picture += random.uniform(-60, 80) * np.exp(-((distance / random.uniform(4, 14)) ** 2))
        pictures.append(picture + random.normal(0, 4, picture.shape))
    levels: Films = np.clip(np.rint(np.stack(pictures)), 0, 255).astype(np.uint8)
    return levels


def batches(seed: int, count: int = 8) -> list[npt.NDArray[np.float32]]:
    pixels = films(16 * count, seed)[..., np.newaxis]
    return [SPEC.normalise(pixels[i * 16 : i * 16 + 16]) for i in range(count)]


def outputs_of(model: tf_keras.Model, pixels: Films) -> dict[str, npt.NDArray[np.float32]]:
    outputs = model(SPEC.normalise(pixels[..., np.newaxis]), training=False)
    return {name: output.numpy() for name, output in outputs.items()}


def correlation(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def settle(model: tf_keras.Model, is_settled: Callable[[tf_keras.layers.Layer], bool]) -> None:
    """Give the chosen BatchNormalization layers the statistics of the phantoms."""
    for layer in model.layers:
        layer.trainable = is_settled(layer)
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for batch in batches(seed=1):
        model(batch, training=True)


@pytest.fixture(scope="module")
def imagenet() -> tf_keras.Model:
    """Return a network with real filters, whose ranges are the hard ones."""
    tf_keras.utils.set_random_seed(7)
    model = build_model("efficientnet_lite0", 96, 96)
    settle(model, lambda layer: layer.name.startswith("head_"))
    return model


def build_small() -> tf_keras.Model:
    """Return every kind of layer that our networks have, once: the toolkit takes a minute for 50.

    Filters differ a hundredfold between channels, as those of real networks do.
    """
    layers = tf_keras.layers
    film = tf_keras.Input((96, 96, 1), name="film")
    stem = convolution(film, "stem", 16, kernel=3, stride=2)
    x = depthwise(stem, "block0_depthwise", 3)
    x = layers.Add(name="block0_add")([stem, convolution(x, "block0_project", 16, relu6=False)])
    deep = depthwise(x, "block1_depthwise", 3, stride=2)
    deep = convolution(deep, "head_lateral", 16)
    kept = layers.SpatialDropout2D(0.2, name="head_dropout")(deep)
    wide = layers.Add(name="head_add")([layers.UpSampling2D(2, name="head_up")(deep), x])
    outputs = {
        "cam": layers.Conv2D(3, 1, name="cam")(kept),
        "mask": layers.Conv2D(1, 1, name="mask")(wide),
    }
    model = tf_keras.Model(film, outputs)
    for layer in model.layers:
        if isinstance(layer, layers.DepthwiseConv2D):
            kernel = layer.get_weights()[0]
            channels = np.geomspace(0.01, 1.0, kernel.shape[2])
            layer.set_weights([kernel * channels[:, np.newaxis]])
    return model


@pytest.fixture(scope="module")
def small() -> tf_keras.Model:
    tf_keras.utils.set_random_seed(7)
    model = build_small()
    kernel = model.get_layer("stem_conv").kernel
    kernel.assign(kernel * np.where(np.arange(16) == DEAD, 1e-8, 1.0))
    model.get_layer("stem_bn").beta.assign(np.where(np.arange(16) == DEAD, -5.0, 0.0))
    settle(model, lambda layer: True)
    return model


@pytest.fixture(scope="module")
def calibrated(small: tf_keras.Model) -> tf_keras.Model:
    quantized = quantize_aware(small, SPEC)
    calibrate_ranges(quantized, batches(seed=2))
    return quantized


def test_calibration_makes_the_start_faithful_to_float(imagenet: tf_keras.Model) -> None:
    quantized = quantize_aware(imagenet, SPEC)
    unseen = films(32, seed=3)
    exact = outputs_of(imagenet, unseen)
    before = outputs_of(quantized, unseen)
    calibrate_ranges(quantized, batches(seed=2))
    after = outputs_of(quantized, unseen)
    for outputs in (exact, before, after):
        outputs["logits"] = logits_from_cam(outputs["cam"]).numpy()
    for name, least in (("cam", 0.99), ("mask", 0.97), ("logits", 0.99)):
        assert correlation(exact[name], after[name]) > least
        assert correlation(exact[name], before[name]) < 0.7, "without calibration it is ruined"
    assert np.abs(exact["logits"] - after["logits"]).max() < exact["logits"].std()


@pytest.fixture(scope="module")
def rebuilt(calibrated: tf_keras.Model, tmp_path_factory: pytest.TempPathFactory) -> tf_keras.Model:
    """Return the calibrated network, built anew and loaded from its file."""
    path = tmp_path_factory.mktemp("run") / "qat.weights.h5"
    calibrated.save_weights(path)
    quantized = quantize_aware(build_small(), SPEC)
    quantized.load_weights(path)
    return quantized


@pytest.fixture
def scratch(rebuilt: tf_keras.Model, calibrated: tf_keras.Model) -> tf_keras.Model:
    """Return a calibrated network that a test may change."""
    rebuilt.set_weights(calibrated.get_weights())
    return rebuilt


def convert(quantized: tf_keras.Model) -> bytes:
    """Return the int8 TFLite file of a quantization-aware network."""
    signature = [tf.TensorSpec((1, 96, 96, 1), tf.float32, name="film")]
    serve = tf.function(lambda film: quantized(film, training=False), input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], quantized
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    file: bytes = converter.convert()
    return file


def interpret(file: bytes) -> Interpreter:
    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    return interpreter


@pytest.fixture(scope="module")
def interpreter(calibrated: tf_keras.Model) -> Interpreter:
    return interpret(convert(calibrated))


def ranges_of(model: tf_keras.Model) -> dict[str, float]:
    """Return the ends of all activation ranges by the name of their variable."""
    ends = ("output_min:0", "output_max:0", "post_activation_min:0", "post_activation_max:0")
    return {
        f"{layer.name}/{weight.name}": float(weight)
        for layer in model.layers
        for weight in layer.weights
        if weight.name.endswith(ends)
    }


def test_calibration_keeps_batch_norm_statistics(
    small: tf_keras.Model, calibrated: tf_keras.Model
) -> None:
    for layer in small.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            wrapped = calibrated.get_layer(f"quant_{layer.name}").layer
            np.testing.assert_array_equal(wrapped.moving_mean, layer.moving_mean)
            np.testing.assert_array_equal(wrapped.moving_variance, layer.moving_variance)


def test_calibration_covers_what_films_give_and_no_more(calibrated: tf_keras.Model) -> None:
    ranges = ranges_of(calibrated)
    assert len(ranges) == 2 * 9
    # Ranges are born at -6 and 6; relu6 reaches 6 where a film does.
    lower = [value for name, value in ranges.items() if "min" in name]
    assert -6.0 not in lower
    assert all(value <= 0.0 for value in lower)
    for name, value in ranges.items():
        if "_relu/" in name:
            assert value == 0.0 if "min" in name else 0.0 < value <= 6.0


def test_training_goes_on_from_the_calibrated_ranges(scratch: tf_keras.Model) -> None:
    before = ranges_of(scratch)
    scratch(np.full((2, 96, 96, 1), -0.9921875, np.float32), training=True)
    after = ranges_of(scratch)
    assert before != after, "ranges follow training"
    for name, value in before.items():
        assert abs(after[name] - value) <= 0.01 * max(1.0, abs(value)), "and do so slowly"


def test_every_weight_learns(scratch: tf_keras.Model) -> None:
    with tf.GradientTape() as tape:
        outputs = scratch(batches(seed=4, count=1)[0], training=True)
        loss = tf.reduce_mean(outputs["cam"] ** 2) + tf.reduce_mean(outputs["mask"] ** 2)
    gradients = tape.gradient(loss, scratch.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    assert np.mean([bool(tf.reduce_any(gradient != 0)) for gradient in gradients]) > 0.9


def test_frozen_batch_norm_keeps_its_statistics_in_training(scratch: tf_keras.Model) -> None:
    def statistics() -> list[npt.NDArray[np.float32]]:
        return [weight.numpy() for weight in scratch.weights if "/moving_" in weight.name]

    black = np.full((2, 96, 96, 1), -0.9921875, np.float32)
    before = statistics()
    scratch(black, training=True)
    assert not all(map(np.array_equal, before, statistics()))
    freeze_batch_norm(scratch)
    before = statistics()
    scratch(black, training=True)
    assert all(map(np.array_equal, before, statistics()))


@pytest.mark.parametrize("frozen", [False, True])
def test_rebuilt_network_gives_the_same_outputs(
    frozen: bool, rebuilt: tf_keras.Model, small: tf_keras.Model, tmp_path: Path
) -> None:
    quantized = quantize_aware(small, SPEC)
    calibrate_ranges(quantized, batches(seed=2, count=1))
    if frozen:
        freeze_batch_norm(quantized)
    quantized.save_weights(tmp_path / "qat.weights.h5")
    rebuilt.load_weights(tmp_path / "qat.weights.h5")
    unseen = films(4, seed=5)
    expected, outputs = outputs_of(quantized, unseen), outputs_of(rebuilt, unseen)
    for head, values in expected.items():
        np.testing.assert_array_equal(outputs[head], values)


def test_input_has_one_step_for_each_grey_level(interpreter: Interpreter) -> None:
    (film,) = interpreter.get_input_details()
    scale, zero_point = film["quantization"]
    assert film["dtype"] is np.int8
    assert abs(scale - 1 / 128) < 1e-9
    assert zero_point == -1


def test_input_range_does_not_drift(scratch: tf_keras.Model) -> None:
    quantize_input_layer = scratch.layers[1]
    levels = SPEC.normalise(np.arange(256, dtype=np.uint8)).reshape(1, 16, 16, 1)
    for factor in (1.0, 3.0):
        quantize_input_layer(levels * factor, training=True)
    np.testing.assert_array_equal(quantize_input_layer(levels, training=False), levels)


def assert_int8_throughout(interpreter: Interpreter) -> None:
    tensors = {detail["dtype"] for detail in interpreter.get_tensor_details()}
    assert tensors == {np.int8, np.int32}, "activations and weights int8, biases int32"
    # What the interpreter itself delegates to XNNPACK shows as one more operation. No QUANTIZE:
    # nothing is rounded twice.
    names = {detail["op_name"] for detail in interpreter._get_ops_details()} - {"DELEGATE"}
    assert names == {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "RESIZE_NEAREST_NEIGHBOR"}


def test_integer_file_is_int8_throughout(interpreter: Interpreter) -> None:
    assert_int8_throughout(interpreter)


@pytest.mark.nightly
@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "mobilenet_v2"])
def test_whole_network_is_int8_throughout(backbone: str) -> None:
    model = build_model(backbone, 96, 96, weights="none")
    quantized = quantize_aware(model, SPEC)
    calibrate_ranges(quantized, batches(seed=2, count=1))
    file = convert(quantized)
    assert_int8_throughout(interpret(file))
    assert len(file) < 6_000_000


def test_integer_file_has_a_scale_for_each_depthwise_channel(interpreter: Interpreter) -> None:
    tensors = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    for operation in interpreter._get_ops_details():
        if operation["op_name"] == "DEPTHWISE_CONV_2D":
            kernel = tensors[operation["inputs"][1]]
            assert len(kernel["quantization_parameters"]["scales"]) == kernel["shape"][-1]


def test_bias_of_a_dead_channel_does_not_overflow(interpreter: Interpreter) -> None:
    for operation in interpreter._get_ops_details():
        if operation["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            bias = interpreter.get_tensor(operation["inputs"][2]).astype(np.int64)
            assert np.abs(bias).max() < 2**30


def test_integer_file_agrees_with_the_fake_quantized_network(
    interpreter: Interpreter, calibrated: tf_keras.Model
) -> None:
    run = interpreter.get_signature_runner()
    details = run.get_output_details()
    (film,) = interpreter.get_input_details()
    unseen = films(16, seed=6)
    expected = outputs_of(calibrated, unseen)
    integers = [run(film=quantize_input(pixels, SPEC, *film["quantization"])) for pixels in unseen]
    for name in ("cam", "mask"):
        scale, zero_point = details[name]["quantization"]
        values = np.concatenate([output[name] for output in integers]).astype(np.float32)
        steps = np.abs((values - zero_point) - expected[name] / scale)
        print(
            f"{name}: {steps.mean():.2f} output steps apart on average, {steps.max():.0f} at most"
        )
        assert steps.mean() < 0.5
        assert np.percentile(steps, 99) <= 2.0
        assert correlation(values, expected[name]) > 0.999


def test_mixed_precision_is_refused() -> None:
    film = tf_keras.Input((96, 96, 1))
    conv = tf_keras.layers.Conv2D(3, 1, dtype="mixed_float16")
    with pytest.raises(ConfigError, match="Build it in float32"):
        quantize_aware(tf_keras.Model(film, conv(film)), SPEC)


def test_calibration_needs_films(calibrated: tf_keras.Model) -> None:
    with pytest.raises(ConfigError, match="no films to calibrate on"):
        calibrate_ranges(calibrated, [])
