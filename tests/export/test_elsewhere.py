"""Models that were trained elsewhere: every way in, what comes out, and what is refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter
from rich.progress import Progress

from edge_runtime.batch import screening_json
from edge_runtime.bundle import HALF_MODEL, load_bundle, write_bundle
from edge_runtime.errors import BundleError, GateError, ModelError
from edge_runtime.radiograph import read_radiograph
from edge_runtime.screener import Screener
from edge_runtime.screening import Screening
from export.elsewhere import ForeignModel, open_model
from export.flatbuffer import pack, unpack
from export.pack import export_foreign
from tests.conftest import must, osteoedge
from tests.train.drawn import draw_dataset
from train.config import Recipe, load_recipe
from train.dataset.schema import load_dataset
from train.evaluate.metrics import evaluate
from train.evaluate.models import BundleModel
from train.evaluate.screenings import answer_dataset
from train.evaluate.store import AnswerStore
from train.fit import open_run

SIDE = 64
# Three kinds of squares do not fill the range of a head.
SETTINGS = [f"input.height={SIDE}", f"input.width={SIDE}", "export.min_levels=8",
            "export.conformal_alpha=0.2"]  # fmt: skip


def squares_network(
    k: ModuleType, *, ending: str | None = "softmax", channels: int = 1, mask: bool = False
) -> Any:
    """Tell drawn squares by their area, with weights that nobody had to train."""
    film = k.Input((SIDE, SIDE, channels))
    smooth = k.layers.Conv2D(1, 3, padding="same", activation="relu", name="bright")(film)
    area = k.layers.GlobalAveragePooling2D()(smooth)
    hinges = k.layers.Dense(2, activation="relu", name="hinges")(area)
    logits = k.layers.Dense(3, name="classes", activation=ending)(hinges)
    outputs = [logits]
    if mask:
        cells = k.layers.AveragePooling2D(4)(smooth)
        outputs.append(k.layers.Conv2D(1, 1, activation="sigmoid", name="cells")(cells))
    model = k.Model(film, outputs)
    kernel = np.full((3, 3, channels, 1), 200.0 / 9 / channels)
    weights = {
        "bright": (kernel, [-90.0]),
        "hinges": ([[1.0, 1.0]], [0.0, -1.8]),
        "classes": ([[-3.0, 2.0, 0.0], [0.0, -6.0, 4.0]], [1.0, 0.0, -1.0]),
        "cells": (np.full((1, 1, 1, 1), 0.3), [-4.0]),
    }
    for layer in model.layers:
        if layer.name in weights:
            layer.set_weights([np.array(part, np.float32) for part in weights[layer.name]])
    return model


def save_keras_3(folder: Path, **options: Any) -> Path:
    squares_network(keras, **options).save(folder / "model.keras")
    return folder / "model.keras"


def save_hdf5(folder: Path, **options: Any) -> Path:
    squares_network(tf_keras, **options).save(folder / "model.h5")
    return folder / "model.h5"


def save_saved_model(folder: Path, **options: Any) -> Path:
    tf.saved_model.save(squares_network(tf_keras, **options), str(folder / "model"))
    return folder / "model"


def save_tflite(folder: Path, model: Any = None, **options: Any) -> Path:
    """Write a file as most people do: batch left open, no names worth the name."""
    path = folder / "model.tflite"
    network = model or squares_network(tf_keras, **options)
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    return path


WAYS = [
    ("keras", save_keras_3),
    ("keras", save_hdf5),
    ("saved_model", save_saved_model),
    ("tflite", save_tflite),
]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("squares") / "data", 120)


def settings(*overrides: str) -> Recipe:
    return load_recipe(Path("elsewhere"), [*SETTINGS, *overrides])


def export(foreign: ForeignModel, squares: Path, out: Path, *overrides: str, **extras: Any) -> Path:
    dataset, quiet = load_dataset(squares), Progress(disable=True)
    run = open_run(dataset, out.with_suffix(".run"), settings(*overrides), quiet)
    export_foreign(foreign, run, out, lambda step: None, **extras)
    return out


def screen(bundle: Path, squares: Path) -> dict[str, Screening]:
    screener, dataset = Screener(load_bundle(bundle)), load_dataset(squares)
    # Squares in noise are no films, and the quality check rightly says so: it is not asked here.
    with patch("edge_runtime.screener.check_quality", return_value=()):
        return {
            str(film["image_id"]): screener.screen(read_radiograph(dataset.image_path(film)))
            for _, film in dataset.films.iterrows()
        }


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("format", "save"), WAYS, ids=lambda way: getattr(way, "__name__", way))
def test_every_way_in_gives_the_logits_before_the_softmax(
    format: Any, save: Callable[..., Path], channels: int, tmp_path: Path
) -> None:
    foreign = open_model(save(tmp_path, channels=channels), format)
    assert foreign.shape == (SIDE, SIDE, channels)
    film = np.random.default_rng(0).random((1, SIDE, SIDE, 1), np.float32)
    film[0, :20, :20] = 0.7
    film = np.repeat(film, channels, axis=3)
    interpreter = tf.lite.Interpreter(model_content=foreign.model)
    outputs = interpreter.get_signature_runner()(film=film)
    expected = squares_network(tf_keras, channels=channels, ending=None)(film).numpy()
    assert set(outputs) == {"cam"}
    np.testing.assert_allclose(outputs["cam"], expected, atol=1e-3)


def test_a_classifier_becomes_a_bundle_like_any_other(squares: Path, tmp_path: Path) -> None:
    path = save_hdf5(tmp_path, channels=3)
    bundle = export(open_model(path, "keras"), squares, tmp_path / "theirs.osteo")
    loaded = load_bundle(bundle)
    manifest = loaded.manifest
    assert (manifest.model.variant, manifest.model.backbone) == ("ptq-int8", "model.h5")
    assert manifest.model.representative is not None
    assert manifest.calibration.mask_threshold is None
    assert manifest.provenance.train_films is None
    assert manifest.provenance.model_sha256 == open_model(path, "keras").sha256
    assert "Trained | elsewhere" in loaded.members["card.md"].decode()

    dataset = load_dataset(squares)
    labels = dataset.films.set_index("image_id")["label"]
    screenings = screen(bundle, squares)
    for name, screening in screenings.items():
        assert max(screening.probabilities, key=screening.probabilities.get) == labels[name]
        assert (screening.lesions, screening.mask) == ((), None)
        assert screening.decision == "not_flagged" or labels[name] != "no_tumour"
    flagged = sum(screening.decision != "not_flagged" for screening in screenings.values())
    assert flagged >= 0.9 * (labels != "no_tumour").sum()
    assert b'"lesions": []' in screening_json(screening)

    with AnswerStore(tmp_path / "answers", loaded.sha256) as store:
        answered = answer_dataset(BundleModel.open(bundle), dataset, store)
    metrics = evaluate(answered.predictions, manifest.calibration.at("image"))
    assert metrics["auc_macro"].value == pytest.approx(1.0)
    assert metrics["dice_tumour"].value is None
    assert not answered.errors


def test_a_mask_comes_along(squares: Path, tmp_path: Path) -> None:
    foreign = open_model(save_tflite(tmp_path, mask=True), "tflite")
    bundle = export(foreign, squares, tmp_path / "theirs.osteo")
    assert set(load_bundle(bundle).manifest.model.outputs) == {"cam", "mask"}
    dataset = load_dataset(squares)
    found = screen(bundle, squares)
    hits = 0
    for _, film in dataset.films[dataset.films["label"] == "malignant"].iterrows():
        rows, columns = np.nonzero(dataset.mask(film, (128, 96)))
        for lesion in found[str(film["image_id"])].lesions:
            x0, y0, x1, y1 = lesion.box
            hits += x0 < columns.mean() < x1 and y0 < rows.mean() < y1
    assert hits >= 0.9 * (dataset.films["label"] == "malignant").sum()


def test_float_networks_come_along_where_they_are_asked_for(squares: Path, tmp_path: Path) -> None:
    foreign = open_model(save_tflite(tmp_path, mask=True), "tflite")
    file = tmp_path / "float" / "theirs.tflite"
    plain = load_bundle(export(foreign, squares, tmp_path / "plain.osteo", float32=file))
    film = np.random.default_rng(0).uniform(0, 1, (1, SIDE, SIDE, 1)).astype(np.float32)
    exact, given = (
        Interpreter(model_content=model).get_signature_runner()(film=film)
        for model in (file.read_bytes(), foreign.model)
    )
    assert all(np.array_equal(exact[head], given[head]) for head in ("cam", "mask"))
    assert exact["cam"].dtype == np.float32
    with zipfile.ZipFile(file) as described:
        assert described.read("cam_labels.txt") == b"no_tumour\nbenign\nmalignant\n"
    assert HALF_MODEL not in plain.members
    bundle = load_bundle(export(foreign, squares, tmp_path / "half.osteo", fp16=True))
    assert bundle.manifest.half is not None
    assert all(head.snr_db > 40.0 for head in bundle.manifest.half.heads.values())
    assert bundle.manifest.half.auc_macro.value == pytest.approx(0.0, abs=1e-6)
    assert "In half precision" in bundle.members["card.md"].decode()
    interpreter = Interpreter(model_content=bundle.members[HALF_MODEL])
    interpreter.allocate_tensors()
    kinds = {tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    assert {np.float16, np.float32} <= kinds
    with zipfile.ZipFile(io.BytesIO(bundle.members[HALF_MODEL])) as described:
        assert described.read("cam_labels.txt") == b"no_tumour\nbenign\nmalignant\n"

    members = bundle.content
    del members[HALF_MODEL]
    write_bundle(tmp_path / "stripped.osteo", bundle.manifest, members)
    with pytest.raises(BundleError, match="and the manifest contradict"):
        load_bundle(tmp_path / "stripped.osteo")


def test_weights_beyond_half_precision_stop_the_export(squares: Path, tmp_path: Path) -> None:
    """Float16 ends at 65504: such a network would answer infinity on a GPU."""
    network = squares_network(tf_keras, ending=None)
    scale = 1e6
    for name, factor in (("bright", scale), ("hinges", 1.0 / scale)):
        layer = network.get_layer(name)
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * factor, bias * (factor if name == "bright" else 1.0)])
    foreign = open_model(save_tflite(tmp_path, network), "tflite")
    with pytest.raises(GateError, match="half precision head cam gives no number"):
        export(foreign, squares, tmp_path / "half.osteo", fp16=True)


def test_the_same_file_is_exported_to_the_same_bytes(squares: Path, tmp_path: Path) -> None:
    foreign = open_model(save_tflite(tmp_path), "tflite")
    out = tmp_path / "theirs.osteo"
    first = export(foreign, squares, out).read_bytes()
    out.unlink()
    assert export(foreign, squares, out).read_bytes() == first


def test_classes_in_another_order_are_noticed(squares: Path, tmp_path: Path) -> None:
    network = squares_network(tf_keras, ending=None)
    layer = network.get_layer("classes")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel[:, [2, 0, 1]], bias[[2, 0, 1]]])
    foreign = open_model(save_tflite(tmp_path, network), "tflite")
    with pytest.raises(GateError, match="seem to be malignant, no_tumour, benign"):
        export(foreign, squares, tmp_path / "theirs.osteo")
    assert not (tmp_path / "theirs.osteo").exists()


def test_grey_levels_are_the_callers_to_say(squares: Path, tmp_path: Path) -> None:
    """The network that takes 0..1, given -1..1: it sees no film as it was made for."""
    foreign = open_model(save_tflite(tmp_path), "tflite")
    with pytest.raises(GateError, match="same on all films"):
        export(foreign, squares, tmp_path / "x.osteo", "input.mean=127.5", "input.divisor=1275")


def two_inputs(folder: Path) -> Path:
    films = [tf_keras.Input((SIDE, SIDE, 1)) for _ in range(2)]
    x = tf_keras.layers.Conv2D(3, 1)(tf_keras.layers.Add()(films))
    return save_tflite(folder, tf_keras.Model(films, x))


def five_classes(folder: Path) -> Path:
    film = tf_keras.Input((SIDE, SIDE, 1))
    x = tf_keras.layers.GlobalAveragePooling2D()(tf_keras.layers.Conv2D(5, 1)(film))
    return save_tflite(folder, tf_keras.Model(film, x))


def channels_first(folder: Path) -> Path:
    film = tf_keras.Input((3, SIDE, SIDE))
    x = tf_keras.layers.Permute((2, 3, 1))(film)
    x = tf_keras.layers.GlobalAveragePooling2D()(tf_keras.layers.Conv2D(3, 1)(x))
    return save_tflite(folder, tf_keras.Model(film, x))


def no_classes(folder: Path) -> Path:
    film = tf_keras.Input((SIDE, SIDE, 1))
    return save_tflite(folder, tf_keras.Model(film, tf_keras.layers.Conv2D(1, 1)(film)))


def crooked_mask(folder: Path) -> Path:
    film = tf_keras.Input((SIDE, SIDE, 1))
    x = tf_keras.layers.Conv2D(3, 5)(film)
    mask = tf_keras.layers.Conv2D(1, 1)(x)
    return save_tflite(folder, tf_keras.Model(film, [x, mask]))


def quantized_already(folder: Path) -> Path:
    convert = tf.lite.TFLiteConverter.from_keras_model(squares_network(tf_keras))
    convert.optimizations = [tf.lite.Optimize.DEFAULT]
    convert.representative_dataset = lambda: ([np.zeros((1, SIDE, SIDE, 1), np.float32)],)
    convert.inference_input_type = convert.inference_output_type = tf.int8
    (folder / "model.tflite").write_bytes(convert.convert())
    return folder / "model.tflite"


def truncated(folder: Path) -> Path:
    path = save_tflite(folder)
    path.write_bytes(path.read_bytes()[:300])
    return path


def no_model(folder: Path) -> Path:
    (folder / "model.tflite").write_text("image_id,label\n")
    return folder / "model.tflite"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (two_inputs, "2 inputs. One film"),
        (five_classes, r"gives a tensor \(1, 5\)"),
        (channels_first, "channels last"),
        (no_classes, "Three class logits are needed"),
        (crooked_mask, "60 x 60 cells, which does not divide"),
        (quantized_already, "before quantization"),
        (truncated, "cannot be opened or converted"),
        (no_model, "cannot be opened or converted"),
        (lambda folder: folder / "absent.tflite", "no such model"),
    ],
    ids=["two inputs", "five classes", "channels first", "no classes", "crooked mask", "int8",
         "truncated", "a table", "absent"],
)  # fmt: skip
def test_what_is_refused(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(ModelError, match=words) as refused:
        open_model(path, "tflite")
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("format", ["keras", "saved_model"])
def test_another_format_is_named_in_one_line(format: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be opened or converted") as refused:
        open_model(save_tflite(tmp_path), format)
    assert "\n" not in str(refused.value)


def test_operators_that_tflite_lacks_are_named(tmp_path: Path) -> None:
    film = tf_keras.Input((SIDE, SIDE, 1))
    pooled = tf_keras.layers.GlobalAveragePooling2D()(tf_keras.layers.Conv2D(3, 1)(film))
    tf.saved_model.save(tf_keras.Model(film, tf.math.digamma(pooled)), str(tmp_path / "model"))
    with pytest.raises(ModelError, match="Digamma"):
        open_model(tmp_path / "model", "saved_model")


def test_constants_behind_the_flatbuffer_are_taken_in(tmp_path: Path) -> None:
    """Newer writers put them there; an old reader would find none."""
    model = pack(unpack(save_tflite(tmp_path).read_bytes()))
    root = unpack(model)
    behind = b""
    largest = max(root.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    data, largest.data = bytes(largest.data), None
    # Its place is known once the rest is written, which takes the same room whatever it says.
    largest.offset, largest.size = 1 << 20, len(data)
    largest.offset = len(pack(root))
    behind = pack(root) + data
    assert pack(unpack(behind)) == model


def test_the_command(squares: Path, tmp_path: Path) -> None:
    model, out = save_tflite(tmp_path), tmp_path / "theirs.osteo"
    given = [argument for setting in SETTINGS[2:] for argument in ("--set", setting)]
    said = must(osteoedge("export", squares, "--from-tflite", model, "--out", out, *given)).stdout
    assert "cam against model.tflite, float" in " ".join(said.split())
    assert "elsewhere" in must(osteoedge("bundle", "show", out)).stdout
    twice = osteoedge(
        "export", squares, "--from-tflite", model, "--from-keras", model, "--out", out
    )
    assert twice.returncode == 2
    assert "Give one of --from-keras" in " ".join(twice.stderr.split())
    named = osteoedge("export", "run", "--out", out, "--float32", "float.osteo")
    assert named.returncode == 2
    assert "--float32 float.osteo is no .tflite file" in " ".join(named.stderr.split())
