"""The float networks: what goes in, what comes out, and what the heads promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tf_keras

from edge_runtime.errors import ConfigError
from train.model.heads import build_model, is_backbone_layer, logits_from_cam


@pytest.fixture(scope="module")
def model() -> tf_keras.Model:
    return build_model("mobilenet_v2", 96, 64, alpha=0.35, dropout=0.5, weights="none")


@pytest.mark.parametrize(
    ("backbone", "alpha"), [("efficientnet_lite0", 1.0), ("mobilenet_v2", 0.5)]
)
def test_outputs_are_maps_at_stride_32_and_4(backbone: str, alpha: float) -> None:
    model = build_model(backbone, 96, 64, alpha=alpha, weights="none")
    outputs = model(np.zeros((2, 96, 64, 1), np.float32))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "cam": (2, 3, 2, 3),
        "mask": (2, 24, 16, 1),
    }
    assert model.input_names == ["film"]
    assert model.output_names == ["cam", "mask"]


def test_further_heads_are_maps_too() -> None:
    size = {"alpha": 0.35, "weights": "none"}
    model = build_model("mobilenet_v2", 96, 64, subtypes=5, regions=3, embedding=True, **size)
    outputs = model(np.zeros((2, 96, 64, 1), np.float32))
    shapes = {name: tuple(output.shape) for name, output in outputs.items()}
    assert shapes["subtype"] == (2, 3, 2, 5)
    assert shapes["region"] == (2, 3, 2, 3)
    assert shapes["embedding"] == (2, 3, 2, 1280)
    assert not is_backbone_layer(model.get_layer("subtype"))


def test_graph_is_flat_and_of_layers_that_quantize(model: tf_keras.Model) -> None:
    kinds = {type(layer).__name__ for layer in model.layers}
    assert kinds <= {
        "InputLayer", "ZeroPadding2D", "Conv2D", "DepthwiseConv2D", "BatchNormalization", "ReLU",
        "Add", "UpSampling2D", "SpatialDropout2D",
    }  # fmt: skip


def test_each_batch_norm_stands_behind_a_convolution(model: tf_keras.Model) -> None:
    norms = [la for la in model.layers if isinstance(la, tf_keras.layers.BatchNormalization)]
    sources = {type(norm.inbound_nodes[0].inbound_layers).__name__ for norm in norms}
    assert sources == {"Conv2D", "DepthwiseConv2D"}


def test_logits_are_the_spatial_mean_of_the_map() -> None:
    cam = np.zeros((1, 2, 3, 3), np.float32)
    cam[0, 1, 2] = [6.0, 12.0, -18.0]
    np.testing.assert_allclose(logits_from_cam(cam), [[1.0, 2.0, -3.0]], rtol=1e-6)


def test_dropout_drops_whole_channels_in_training_only(model: tf_keras.Model) -> None:
    layer = model.get_layer("head_dropout")
    features = np.ones((4, 3, 2, 1280), np.float32)
    kept = layer(features, training=True).numpy()
    assert (kept == kept[:, :1, :1]).all(), "a channel is dropped everywhere or nowhere"
    assert 0.4 < (kept[:, 0, 0] == 0.0).mean() < 0.6
    np.testing.assert_array_equal(layer(features, training=False), features)


def test_backbone_and_heads_are_told_apart(model: tf_keras.Model) -> None:
    trained = {layer.name for layer in model.layers if layer.weights}
    heads = {name for name in trained if not is_backbone_layer(model.get_layer(name))}
    assert {"cam", "mask", "head_lateral32_conv", "head_mix4_bn"} <= heads
    backbone = tf_keras.applications.MobileNetV2((96, 96, 3), 0.35, False, None)
    assert trained - heads == {layer.name for layer in backbone.layers if layer.weights}


def test_imagenet_weights_reach_the_backbone_and_only_it() -> None:
    published = [build_model("efficientnet_lite0", 64, 64, weights="imagenet") for _ in range(2)]
    for layer, other in zip(published[0].layers, published[1].layers, strict=True):
        same = all(
            np.array_equal(a, b)
            for a, b in zip(layer.get_weights(), other.get_weights(), strict=True)
        )
        assert same or not is_backbone_layer(layer)
    heads = [model.get_layer("cam").get_weights()[0] for model in published]
    assert not np.array_equal(*heads)


@pytest.mark.parametrize(
    ("backbone", "height", "alpha", "message"),
    [
        ("mobilenet_v2", 100, 1.0, "100 x 96 pixels. Choose a height and a width"),
        ("resnet50", 96, 1.0, "no backbone 'resnet50'"),
        ("efficientnet_lite0", 96, 0.5, "Choose efficientnet_lite0..2 with alpha"),
    ],
)
def test_what_cannot_be_built_is_refused(
    backbone: str, height: int, alpha: float, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(backbone, height, 96, alpha=alpha, weights="none")


def test_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.pth"):
        build_model("efficientnet_lite0", 64, 64, weights=tmp_path / "absent.pth")


def test_mixed_precision_computes_in_bfloat16_and_answers_in_float32(tmp_path: Path) -> None:
    size = {"alpha": 0.35, "weights": "none"}
    mixed = build_model("mobilenet_v2", 64, 64, precision="mixed_bfloat16", **size)
    assert mixed.get_layer("Conv1").compute_dtype == "bfloat16"
    assert all(variable.dtype == "float32" for variable in mixed.trainable_variables)
    film = np.random.default_rng(0).normal(0, 0.5, (2, 64, 64, 1)).astype(np.float32)
    coarse = mixed(film)
    assert {output.dtype.name for output in coarse.values()} == {"float32"}
    mixed.save_weights(tmp_path / "mixed.weights.h5")
    exact = build_model("mobilenet_v2", 64, 64, **size)
    exact.load_weights(tmp_path / "mixed.weights.h5")
    assert exact.get_layer("Conv1").compute_dtype == "float32", "the policy was only lent"
    fine = exact(film)["cam"].numpy()
    assert np.abs(coarse["cam"].numpy() - fine).max() < 0.1 * np.abs(fine).max() + 0.02
