"""The procedural radiographs: reproducible, honest about what they are, and no easy prey."""

import csv
import hashlib
import tomllib
from collections import defaultdict

import cv2
import numpy as np
import pydicom
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edge_runtime.errors import DatasetError
from train.dataset.phantom import COLUMNS, generate

COUNT = 180


def display(ds):
    """Return what a viewer shows, float32 0 (black) to 1 (white), by PS3.3 C.11.2.1.2.1."""
    centre, width = float(ds.WindowCenter), float(ds.WindowWidth)
    shown = (ds.pixel_array.astype(np.float32) - (centre - 0.5)) / (width - 1) + 0.5
    shown = np.clip(shown, 0.0, 1.0)
    return 1.0 - shown if ds.PhotometricInterpretation == "MONOCHROME1" else shown


def rows_of(folder):
    with (folder / "radiographs.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "films"
    calls = []
    generate(folder, COUNT, 11, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (COUNT, COUNT)
    assert calls == sorted(calls)
    return folder


@pytest.fixture(scope="module")
def rows(dataset):
    return rows_of(dataset)


@pytest.fixture(scope="module")
def films(dataset, rows):
    return {row["image_id"]: pydicom.dcmread(dataset / row["path"]) for row in rows}


@pytest.fixture(scope="module")
def shown(films):
    return {name: display(ds) for name, ds in films.items()}


def test_same_seed_same_bytes_whatever_the_workers(tmp_path):
    generate(tmp_path / "one", 7, 3, workers=1)
    generate(tmp_path / "two", 7, 3, workers=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_other_seed_other_films_and_names(tmp_path):
    generate(tmp_path / "one", 3, 3)
    generate(tmp_path / "two", 3, 4)
    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    assert not set(one.values()) & set(two.values())
    assert not {r["patient_id"] for r in rows_of(tmp_path / "one")} & {
        r["patient_id"] for r in rows_of(tmp_path / "two")
    }


def test_a_larger_dataset_continues_a_smaller_one(tmp_path):
    generate(tmp_path / "few", 3, 3)
    generate(tmp_path / "more", 6, 3)
    few, more = digests(tmp_path / "few"), digests(tmp_path / "more")
    films = [name for name in few if name.startswith("images/")]
    assert len(films) == 3
    assert all(few[name] == more[name] for name in films)
    assert rows_of(tmp_path / "few") == rows_of(tmp_path / "more")[:3]


def test_an_existing_dataset_is_not_overwritten(tmp_path):
    generate(tmp_path, 1, 0)
    before = digests(tmp_path)
    with pytest.raises(DatasetError, match="already"):
        generate(tmp_path, 1, 1)
    assert digests(tmp_path) == before


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-3, 0), (1, -1)])
def test_senseless_numbers_are_refused(tmp_path, count, seed):
    with pytest.raises(DatasetError):
        generate(tmp_path, count, seed)
    assert not any(tmp_path.iterdir())


def test_layout(dataset, rows):
    card = tomllib.loads((dataset / "dataset.toml").read_text(encoding="utf-8"))
    assert card["source"] == "procedural, osteoedge data phantom, seed 11"
    assert card["licence"] == "CC0-1.0" and card["purpose"] == "demo"
    assert card["synthetic"] is True and card["may_ship_weights"] is True
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == COUNT == len({row["image_id"] for row in rows})
    assert {row["path"] for row in rows} == {
        f"images/{p.name}" for p in (dataset / "images").iterdir()
    }
    assert {row["centre"] for row in rows} == {"1", "2", "3"}
    assert {row["region"] for row in rows} == {"lower_limb", "upper_limb"}
    assert {row["view"] for row in rows} == {"frontal", "lateral"}


def test_class_mix(rows):
    label = {row["patient_id"]: row["label"] for row in rows}
    share = {k: list(label.values()).count(k) / len(label) for k in set(label.values())}
    assert share == pytest.approx({"no_tumour": 0.45, "benign": 0.30, "malignant": 0.25}, abs=0.06)
    subtypes = defaultdict(set)
    for row in rows:
        subtypes[row["label"]].add(row["subtype"])
    assert subtypes == {
        "no_tumour": {""},
        "benign": {"geographic_lytic", "osteochondroma"},
        "malignant": {"permeative", "sunburst"},
    }
    healthy = {row["other_finding"] for row in rows if row["label"] == "no_tumour"}
    assert healthy == {"", "fracture", "bone_island"}


def test_a_patient_has_one_study_one_label_and_up_to_three_views(rows, films):
    patients = defaultdict(list)
    for row in rows:
        patients[row["patient_id"]].append(row)
    assert {len(group) for group in patients.values()} == {1, 2, 3}
    shared = ("study_id", "label", "subtype", "centre", "age", "sex", "region", "laterality")
    for group in patients.values():
        for column in shared:
            assert len({row[column] for row in group}) == 1
        headers = [films[row["image_id"]] for row in group]
        assert len({ds.StudyInstanceUID for ds in headers}) == 1
        assert len({ds.SOPInstanceUID for ds in headers}) == len(group)
        assert [int(ds.InstanceNumber) for ds in headers] == list(range(1, len(group) + 1))


def test_masks_exactly_for_tumours(dataset, rows, films):
    written = {path.stem for path in (dataset / "masks").iterdir()}
    assert written == {row["image_id"] for row in rows if row["label"] != "no_tumour"}
    for row in rows:
        fraction = float(row["mask_fraction"])
        if row["label"] == "no_tumour":
            assert fraction == 0.0
            continue
        mask = cv2.imread(str(dataset / "masks" / f"{row['image_id']}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == films[row["image_id"]].pixel_array.shape
        assert set(np.unique(mask)) == {0, 255}
        assert fraction == pytest.approx((mask > 0).mean(), abs=1e-6)
        assert 0.0005 < fraction < 0.25


def test_lesions_lie_on_the_limb(dataset, rows, shown):
    # Where the beam met nothing, the film is black; a mask that slid off its lesion shows there.
    for row in rows:
        if row["label"] != "no_tumour":
            mask = cv2.imread(str(dataset / "masks" / f"{row['image_id']}.png"), -1) > 0
            assert np.median(shown[row["image_id"]][mask]) > 0.15


def test_film_sizes_and_spacing(films):
    for ds in films.values():
        assert 540 <= ds.Rows <= 720 and 420 <= ds.Columns <= 560
        assert ds.PixelSpacing == ds.ImagerPixelSpacing
        assert 0.1 < float(ds.PixelSpacing[0]) < 0.6


def test_header_and_table_agree(rows, films):
    for row in rows:
        ds = films[row["image_id"]]
        assert ds.PatientID == row["patient_id"]
        assert int(ds.PatientAge[:3]) == int(row["age"])
        assert ds.PatientSex == row["sex"]
        assert ds.ImageLaterality == row["laterality"]
        assert ds.ViewPosition == {"frontal": "AP", "lateral": "LL"}[row["view"]]
        assert (ds.Manufacturer, ds.ManufacturerModelName) == (row["manufacturer"], row["model"])
        lower = ds.BodyPartExamined in ("KNEE", "ANKLE")
        assert row["region"] == ("lower_limb" if lower else "upper_limb")


def test_both_senses_and_depths_are_present(films):
    kinds = {(ds.PhotometricInterpretation, ds.BitsStored) for ds in films.values()}
    assert kinds >= {("MONOCHROME1", 12), ("MONOCHROME1", 14), ("MONOCHROME2", 12)}
    for ds in films.values():
        assert ds.pixel_array.max() < 1 << ds.BitsStored


def test_every_film_says_synthetic(rows, films, shown):
    for row in rows:
        ds = films[row["image_id"]]
        assert row["synthetic"] == "yes"
        assert ds.SyntheticData == "YES"
        assert str(ds.PatientName) == "SYNTHETIC^PHANTOM"
        assert ds.ImageComments.startswith("SYNTHETIC")
        assert ds.DerivationDescription.startswith("SYNTHETIC")
        assert says_synthetic(shown[row["image_id"]])


def says_synthetic(film):
    """Tell whether the word stands in the film's upper or lower edge, light on dark or not."""
    scale = 0.0007 * film.shape[0]
    (width, height), _ = cv2.getTextSize("SYNTHETIC", cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    word = np.zeros((height + 6, width + 4), np.uint8)
    cv2.putText(
        word, "SYNTHETIC", (2, height + 3), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1, cv2.LINE_AA
    )
    template = word.astype(np.float32)
    edges = np.vstack([film[: height + 10], film[-height - 10 :]]).astype(np.float32)
    match = cv2.matchTemplate(edges, template, cv2.TM_CCOEFF_NORMED)
    return np.abs(match).max() > 0.8


def test_the_word_detector_can_fail(shown):
    film = next(iter(shown.values())).copy()
    film[:30] = 0
    film[-30:] = 0
    assert not says_synthetic(film)


def probe(features, rows):
    """Return the tumour AUC of a linear model on ``features``, across patients."""
    tumour = np.array([row["label"] != "no_tumour" for row in rows])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
    scores = cross_val_predict(
        model,
        np.array(features, np.float64),
        tumour,
        groups=[row["patient_id"] for row in rows],
        cv=GroupKFold(5),
        method="decision_function",
    )
    return roc_auc_score(tumour, scores)


def border(film):
    small = cv2.resize(film, (64, 64), interpolation=cv2.INTER_AREA)
    frame = np.ones(small.shape, bool)
    frame[5:-5, 5:-5] = False
    return small[frame]


SHORTCUTS = {
    "brightness": lambda film: [film.mean(), film.std()],
    "grey histogram": lambda film: np.histogram(film, 32, (0, 1))[0] / film.size,
    "border": border,
    "thumbnail": lambda film: cv2.resize(film, (16, 16), interpolation=cv2.INTER_AREA).ravel(),
    "size": lambda film: film.shape,
}


@pytest.mark.parametrize("shortcut", sorted(SHORTCUTS))
def test_no_shortcut_to_the_label(shortcut, rows, shown):
    # Chance is 0.5 with a standard error of 0.05 at this size; a leak would score far above.
    assert probe([SHORTCUTS[shortcut](shown[row["image_id"]]) for row in rows], rows) < 0.70


def test_the_probe_would_find_a_leak(rows, shown):
    def leaky(row):
        film = shown[row["image_id"]].copy()
        film[-20:] += 0.1 * (row["label"] == "malignant")
        film[:20] += 0.1 * (row["label"] == "benign")
        return border(film)

    assert probe([leaky(row) for row in rows], rows) > 0.8
