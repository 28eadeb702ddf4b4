"""The dataset layout, splits, and that training sees the device's very bits."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.bundle import LABELS, load_bundle
from edge_runtime.errors import DatasetError, RadiographError
from edge_runtime.preprocess import InputSpec, quantize_input, to_network_pixels
from edge_runtime.radiograph import read_radiograph
from tests.conftest import Trained
from train.config import AugmentConfig, DataConfig
from train.dataset.cache import build_cache
from train.dataset.pipeline import (
    FilmSet,
    balanced_order,
    evaluation_batches,
    group_index,
    training_batches,
)
from train.dataset.schema import label_index, load_dataset
from train.dataset.split import PARTS, split_patients, split_sha256

SHARES = DataConfig(validation=0.2, calibration=0.3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six films of three patients; the last label is unknown."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "dataset.toml").write_text('name = "six"\nsource = "test"\nlicence = "CC0-1.0"\n')
    rows = []
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 255, (90, 120)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"F{number}.png"), noise)
        label = ["no_tumour", "benign", "malignant"][number % 3] if number < 5 else ""
        rows.append(f"F{number},P{number // 2},1,{label}")
    mask = np.zeros((90, 120), np.uint8)
    mask[30:60, 40:80] = 255
    cv2.imwrite(str(tmp_path / "masks" / "F1.png"), mask)
    text = "image_id,patient_id,centre,label\n" + "\n".join(rows) + "\n"
    (tmp_path / "radiographs.csv").write_text(text)
    return tmp_path


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "radiographs.csv"
    path.write_text(path.read_text().replace(old, new, 1))


def test_unknown_stays_unknown(folder: Path) -> None:
    dataset = load_dataset(folder)
    assert label_index(dataset.films).tolist() == [0, 1, 2, 0, 1, -1]
    cache = build_cache(dataset, InputSpec(height=32, width=32), folder / "cache")
    # Known: without tumour (empty), or with a mask file. F2 and F4 are tumours without one.
    assert cache.mask_known.tolist() == [True, True, False, True, False, False]
    assert cache.masks[1].max() == 255
    assert cache.masks[0].max() == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("centre,", "hospital,", r"radiographs\.csv: column missing: centre"),
        ("F2,", "F1,", r"image_id F1 is there twice"),
        ("benign", "banana", r"label 'banana' in line 3 is not known"),
        ("P0,", ",", r"patient_id is blank in line 2"),
    ],
)
def test_a_wrong_table_is_named(folder: Path, old: str, new: str, message: str) -> None:
    edit(folder, old, new)
    with pytest.raises(DatasetError, match=message):
        load_dataset(folder)


def test_missing_files_and_wrong_masks(folder: Path) -> None:
    spec = InputSpec(height=32, width=32)
    cv2.imwrite(str(folder / "masks" / "F2.png"), np.zeros((10, 10), np.uint8))
    with pytest.raises(DatasetError, match=r"F2\.png: the mask has 10 x 10 pixels, its film 120"):
        build_cache(load_dataset(folder), spec, folder / "cache")
    (folder / "masks" / "F2.png").unlink()
    (folder / "images" / "F4.png").unlink()
    with pytest.raises(RadiographError, match=r"F4\.png: no such file"):
        build_cache(load_dataset(folder), spec, folder / "cache")
    with pytest.raises(DatasetError, match=r"no dataset\.toml in this folder"):
        load_dataset(folder / "images")


def test_selecting_films(folder: Path) -> None:
    dataset = load_dataset(folder)
    assert len(dataset.select("label == 'benign'").films) == 2
    with pytest.raises(DatasetError, match="no film satisfies"):
        dataset.select("centre == 9")
    with pytest.raises(DatasetError, match=r"not understood.*Use columns"):
        dataset.select("hospital == 1")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from(LABELS)), min_size=200, max_size=300),
    st.integers(0, 99),
)
def test_no_patient_is_on_two_sides(films: list[tuple[int, str]], seed: int) -> None:
    # Every class in plenty, so that each part can have some of it.
    films = films + [
        (1000 + k, label) for label in LABELS for k in range(LABELS.index(label), 60, 3)
    ]
    frame = pd.DataFrame(films, columns=["patient_id", "label"])
    frame["patient_id"] = "P" + frame["patient_id"].astype(str)
    frame["image_id"], frame["centre"] = [str(k) for k in range(len(frame))], 1
    groups = frame["patient_id"]
    split = split_patients(frame, groups, SHARES, seed)
    assert (split.groupby("patient_id")["part"].nunique() == 1).all()
    assert set(split["part"]) == set(PARTS)
    again = split_patients(frame, groups, SHARES, seed)
    assert split_sha256(split) == split_sha256(again)


def test_a_class_that_cannot_be_in_every_part_is_an_error(folder: Path) -> None:
    with pytest.raises(DatasetError, match="part has no film labelled"):
        films = load_dataset(folder).films
        split_patients(films, films["patient_id"], SHARES, seed=0)


def test_training_and_device_see_the_same_bits(trained: Trained, tmp_path: Path) -> None:
    """What the network is evaluated on, quantized, is what the device's interpreter gets."""
    manifest = load_bundle(trained.bundle).manifest
    spec, tensor = manifest.input_spec, manifest.model.input
    dataset = load_dataset(trained.dataset)
    cache = build_cache(dataset, spec, tmp_path / "cache")
    rows = np.arange(len(dataset.films))
    films = FilmSet(cache, rows, label_index(dataset.films), spec)
    batches = evaluation_batches(films, batch=32).as_numpy_iterator()
    trained_on = np.concatenate([batch["film"] for batch in batches])
    for number, row in dataset.films.iterrows():
        pixels, _ = to_network_pixels(read_radiograph(dataset.image_path(row)).display, spec)
        device = quantize_input(pixels, spec, tensor.scale, tensor.zero_point)
        assert np.array_equal(spec.normalise(pixels), trained_on[number, :, :, 0])
        exact = tensor.dequantize(device)[0, :, :, 0]
        assert np.array_equal(exact, trained_on[number, :, :, 0]), "int8 input loses nothing"


def test_batches_repeat_by_seed_and_differ_by_epoch(folder: Path) -> None:
    spec = InputSpec(height=32, width=32)
    dataset = load_dataset(folder)
    cache = build_cache(dataset, spec, folder / "cache")
    films = FilmSet(cache, np.arange(6), label_index(dataset.films), spec)

    def films_of(epoch: int) -> np.ndarray:
        batches = training_batches(films, AugmentConfig(noise=0.1), batch=3, seed=1, epoch=epoch)
        return np.concatenate([batch["film"] for batch in batches.as_numpy_iterator()])

    assert np.array_equal(films_of(0), films_of(0))
    assert not np.array_equal(films_of(0), films_of(1))
    assert films_of(0).min() >= -127 / 128
    assert films_of(0).max() <= 1.0


def test_no_augmentation_changes_nothing_but_the_order(folder: Path) -> None:
    spec = InputSpec(height=32, width=32)
    dataset = load_dataset(folder)
    cache = build_cache(dataset, spec, folder / "cache")
    films = FilmSet(cache, np.arange(6), label_index(dataset.films), spec)
    off = AugmentConfig(**dict.fromkeys(AugmentConfig.model_fields, 0.0))
    (batch,) = training_batches(films, off, batch=6, seed=1, epoch=0).as_numpy_iterator()
    for film, label in zip(batch["film"], batch["label"], strict=True):
        distances = np.abs(spec.normalise(cache.pixels) - film[..., 0]).max(axis=(1, 2))
        assert distances.min() < 1e-6
        assert films.labels[distances.argmin()] == label


def test_masks_move_with_their_films(folder: Path) -> None:
    """A film that is its own mask stays its own mask under every augmentation in space."""
    spec = InputSpec(height=64, width=64)
    dataset = load_dataset(folder)
    cache = build_cache(dataset, spec, folder / "cache")
    object.__setattr__(cache, "pixels", cache.masks)
    films = FilmSet(cache, np.array([1] * 8), np.ones(8, np.int32), spec)
    space_only = AugmentConfig(gamma=0, contrast=0, brightness=0, rotation_degrees=40, scale=0.3)
    (batch,) = training_batches(films, space_only, batch=8, seed=3, epoch=0).as_numpy_iterator()
    grey = (batch["film"][..., 0] * spec.divisor + spec.mean) / 255.0
    pooled = grey.reshape(8, 16, 4, 16, 4).mean(axis=(2, 4))
    assert np.abs(pooled - batch["mask"][..., 0]).max() < 0.01
    assert len({round(float(m.sum()), 2) for m in batch["mask"]}) > 1


def test_a_run_records_its_data(trained: Trained) -> None:
    document = json.loads((trained.run / "run.json").read_text())
    assert document["card"]["licence"] == "CC0-1.0"
    assert document["done"] == ["warmup", "float", "qat"]
    history = [json.loads(line) for line in (trained.run / "history.jsonl").open()]
    assert all(line["films_per_second"] > 0 for line in history if line["epoch"] > 0)
    assert all(line["pipeline_films_per_second"] > 0 for line in history if line["epoch"] > 0)
    split = pd.read_csv(trained.run / "split.csv")
    assert (split.groupby("patient_id")["part"].nunique() == 1).all()


@settings(deadline=None)
@given(
    groups=st.lists(st.integers(0, 4), min_size=1, max_size=120),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 9),
)
def test_groups_are_seen_equally_often(groups: list[int], seed: int, epoch: int) -> None:
    index = np.array(groups)
    order = balanced_order(index, seed=seed, epoch=epoch)
    assert len(order) == len(groups)
    seen = [np.bincount(order, minlength=len(groups))[index == group] for group in set(groups)]
    totals = [int(times.sum()) for times in seen]
    assert max(totals) - min(totals) <= 1
    assert all(times.max() - times.min() <= 1 for times in seen), "each before any comes again"
    assert np.array_equal(order, balanced_order(index, seed=seed, epoch=epoch))


def test_groups_are_the_values_of_columns_and_blank_is_one() -> None:
    films = pd.DataFrame({"centre": [1, 1, 2, 2], "label": ["benign", None, "benign", "benign"]})
    assert group_index(films, ()) is None
    groups = group_index(films, ("centre", "label"))
    assert groups is not None
    assert len(set(groups)) == 3
    assert groups[2] == groups[3]
    with pytest.raises(DatasetError, match="no column is called vendor"):
        group_index(films, ("vendor",))


def clinic(count: int = 240) -> pd.DataFrame:
    """Films of two centres, two a patient; every twelfth patient was seen in both."""
    number = np.arange(count)
    patient = number // 2
    both = (patient % 12 == 0) & (number % 2 == 1)
    return pd.DataFrame(
        {
            "image_id": [f"F{k}" for k in number],
            "patient_id": [f"P{k}" for k in patient],
            "centre": np.where(both, 2, 1 + (patient // 3 % 3 == 1)),
            "label": [LABELS[k % 3] for k in patient],
        }
    )


def test_held_out_films_are_the_test_and_their_patients_are_nowhere_else() -> None:
    films = clinic()
    config = DataConfig(validation=0.2, calibration=0.3, hold_out="centre == 2")
    part = split_patients(films, films["patient_id"], config, seed=0)["part"]
    assert ((part == "test") == (films["centre"] == 2)).all()
    seen = films.assign(part=part).groupby("patient_id")["part"].agg(set)
    assert all(parts == {"test"} or "test" not in parts or parts == {"test", "left_out"}
               for parts in seen)  # fmt: skip
    assert (part == "left_out").sum() > 0
    with pytest.raises(DatasetError, match="no film satisfies 'centre == 9'"):
        wrong = DataConfig(hold_out="centre == 9")
        split_patients(films, films["patient_id"], wrong, seed=0)


def test_folds_share_out_all_films_once_and_alike_for_every_seed() -> None:
    films = clinic()
    tests = []
    for fold in range(4):
        config = DataConfig(validation=0.2, calibration=0.3, folds=4, fold=fold)
        split, other = (
            split_patients(films, films["patient_id"], config, seed=seed) for seed in (0, 1)
        )
        assert (split.groupby("patient_id")["part"].nunique() == 1).all()
        assert ((split["part"] == "test") == (other["part"] == "test")).all()
        assert not split["part"].equals(other["part"]), "seeds share out the rest otherwise"
        assert set(films["label"][split["part"] == "test"]) == set(LABELS)
        tests.append((split["part"] == "test").to_numpy())
    assert (np.sum(tests, axis=0) == 1).all()
    sizes = [test.sum() for test in tests]
    assert max(sizes) - min(sizes) <= 0.2 * len(films)


def test_copies_stay_together() -> None:
    films = clinic()
    joined = films["patient_id"].replace({"P5": "P4", "P9": "P4"})
    for seed in range(6):
        split = split_patients(films, joined, SHARES, seed=seed)
        assert (split.groupby(joined)["part"].nunique() == 1).all()


def test_a_fold_beside_a_condition_is_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        DataConfig(folds=3, hold_out="centre == 2")
    with pytest.raises(ValueError, match="a fold below folds"):
        DataConfig(folds=3, fold=3)
