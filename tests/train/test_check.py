"""`osteoedge data check`: every finding where it belongs, and only there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.progress import Progress

from edge_runtime.errors import ConfigError, DatasetError, GateError
from tests.conftest import osteoedge
from train.dataset.check import (
    CheckResult,
    check_dataset,
    duplicate_groups,
    patient_groups,
    to_json,
    write_reports,
)
from train.dataset.check.duplicates import CORRELATION, Pair
from train.dataset.check.phash import BITS, SYMMETRIES, hashes, low_frequencies
from train.dataset.schema import load_dataset

Image = npt.NDArray[np.uint8]
HOSTILE = '--></svg><script>alert("$x")</script>'


def film(seed: int) -> Image:
    """A smooth shape with fine texture on black: no two seeds are alike."""
    generator = np.random.default_rng(seed)
    coarse = cv2.resize(generator.normal(0, 1, (7, 7)), (160, 160), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(generator.normal(0, 1, (160, 160)), (0, 0), 2.0)
    pixels = 110 + 45 * coarse + 60 * fine
    pixels[:20] = pixels[-20:] = pixels[:, :20] = pixels[:, -20:] = 0
    return pixels.clip(0, 255).astype(np.uint8)


def table(count: int = 120) -> pd.DataFrame:
    """Two films a patient, two centres, classes in turn."""
    patient = np.arange(count) // 2
    return pd.DataFrame(
        {
            "image_id": [f"F{k:03d}" for k in range(count)],
            "patient_id": [f"P{k:03d}" for k in patient],
            "centre": patient % 4 // 2,
            "label": np.where(patient % 2 == 0, "no_tumour",
                              np.where(patient % 3 == 0, "benign", "malignant")),
        }
    )  # fmt: skip


def write(folder: Path, films: pd.DataFrame, images: dict[int, Image] | None = None) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "dataset.toml").write_text('name = "made"\nsource = "test"\nlicence = "CC0-1.0"\n')
    films.to_csv(folder / "radiographs.csv", index=False)
    for number, name in enumerate(films["image_id"]):
        pixels = (images or {}).get(number)
        cv2.imwrite(
            str(folder / "images" / f"{name}.png"), film(number) if pixels is None else pixels
        )
    return folder


def check(folder: Path, split: str | None = None) -> CheckResult:
    with Progress(disable=True) as progress:
        return check_dataset(load_dataset(folder), split, progress)


def found(result: CheckResult) -> set[str]:
    return {finding.check for finding in result.findings}


def test_a_sound_dataset_has_no_findings(tmp_path: Path) -> None:
    films = table()
    films["fold_split"] = np.where(np.arange(120) // 2 % 5 == 0, "validation", "train")
    result = check(write(tmp_path / "d", films))
    assert result.findings == ()
    assert result.pairs == ()
    result.refuse_leaks()
    assert {each.probe for each in result.probes} == {
        "border", "grey histogram and sharpness", "file size and shape",
    }  # fmt: skip


def test_patients_across_a_split_are_a_leak_with_its_share(tmp_path: Path) -> None:
    films = table(40)
    films["my_split"] = "train"
    # F003 (patient 1, a tumour) and F004, F005 (patient 2, none): one of the three leaks.
    films.loc[[3, 4, 5], "my_split"] = "test"
    result = check(write(tmp_path / "d", films))
    (overlap,) = result.overlaps
    assert (overlap.part, overlap.other, overlap.films, overlap.of_films) == ("test", "train", 1, 3)
    assert overlap.tumour_share == 1.0
    leak = result.findings[0]
    assert (leak.severity, leak.check, leak.films) == ("leak", "patients_across_split", ("F003",))
    assert "33% of the films in 'test' (1 of 3)" in leak.what
    with pytest.raises(GateError, match=r"made: a split leaks: my_split: 33%"):
        result.refuse_leaks()


def test_blank_means_outside_the_split(tmp_path: Path) -> None:
    films = table(40)
    films["my_split"] = ["train", None] * 20
    assert "patients_across_split" not in found(check(write(tmp_path / "d", films)))


@pytest.mark.parametrize("as_run", [True, False])
def test_the_split_of_a_run(tmp_path: Path, as_run: bool) -> None:
    folder, run = write(tmp_path / "d", table(40)), tmp_path / "run7"
    run.mkdir()
    split = table(40)[["image_id", "patient_id"]].assign(part=["train", "calibration"] * 20)
    split.to_csv(run / "split.csv", index=False)
    result = check(folder, str(run if as_run else run / "split.csv"))
    assert result.findings[0].what.startswith("run7: 100% of the films in 'calibration'")
    split.loc[0, "image_id"] = "other"
    split.to_csv(run / "split.csv", index=False)
    with pytest.raises(DatasetError, match=r"split\.csv: 1 film not in the dataset"):
        check(folder, str(run))
    split.drop(columns="part").to_csv(run / "split.csv", index=False)
    with pytest.raises(DatasetError, match="not a split"):
        check(folder, str(run))
    with pytest.raises(ConfigError, match=r"no column of radiographs\.csv, no run folder"):
        check(folder, "nowhere")


def jpeg(pixels: Image) -> Image:
    coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)


@pytest.mark.parametrize(
    ("kind", "change", "copy"),
    [
        ("exact", "", lambda a: a),
        ("near", "", jpeg),
        ("near", "", lambda a: cv2.resize(a, (90, 110), interpolation=cv2.INTER_AREA)),
        ("near", "", lambda a: cv2.LUT(a, (255 * (np.arange(256) / 255) ** 0.7).astype(np.uint8))),
        ("near", "", lambda a: np.roll(a, 4, axis=1)),
        ("near", "mirrored", lambda a: a[:, ::-1]),
        ("near", "upside down", lambda a: a[::-1]),
        ("near", "turned by 180°", lambda a: a[::-1, ::-1]),
        ("near", "turned by 90°", np.rot90),
        ("near", "inverted", lambda a: 255 - a),
        ("near", "mirrored, inverted", lambda a: 255 - a[:, ::-1]),
    ],
)
def test_copies_are_found(
    tmp_path: Path, kind: str, change: str, copy: Callable[[Image], Any]
) -> None:
    films = table(12).assign(test_split=["train"] * 6 + ["test"] * 6)
    folder = write(tmp_path / "d", films, {9: np.ascontiguousarray(copy(film(2)))})
    result = check(folder)
    (pair,) = result.pairs
    assert (pair.first, pair.second, pair.kind, pair.change) == (2, 9, kind, change)
    assert pair.correlation >= CORRELATION
    assert {f"{kind}_duplicates_across_split", "patients_with_two_ids"} <= found(result)
    assert result.groups[9] == result.groups[2] == "P001"
    assert result.groups.nunique() == films["patient_id"].nunique() - 1


def test_limbs_on_black_are_not_all_alike(tmp_path: Path) -> None:
    """One shape with other texture: the hashes agree, the films differ."""
    shape = cv2.GaussianBlur(film(999).astype(np.float64), (0, 0), 8)
    images = {}
    for number in range(8):
        generator = np.random.default_rng(number)
        texture = cv2.GaussianBlur(generator.normal(0, 40, (160, 160)), (0, 0), 1.0)
        images[number] = (shape + texture).clip(0, 255).astype(np.uint8)
    coded = hashes(np.stack([low_frequencies(images[n]) for n in range(8)]))
    assert ((BITS - coded @ coded.T) / 2).max() <= 10
    assert check(write(tmp_path / "d", table(8), images)).pairs == ()


def test_opposite_labels_and_blank_films(tmp_path: Path) -> None:
    # F000 has no tumour, F002 has one; F005 and F006 are black and no copies of each other.
    black = np.zeros((160, 160), np.uint8)
    result = check(write(tmp_path / "d", table(8), {2: film(0), 5: black, 6: black}))
    (conflict,) = [f for f in result.findings if f.check == "duplicates_with_opposite_labels"]
    assert conflict.films == ("F000", "F002")
    assert "F000 no_tumour, F002 malignant" in conflict.what
    (blank,) = [f for f in result.findings if f.check == "blank_film"]
    assert blank.films == ("F005", "F006")


def test_columns_that_give_the_label_away(tmp_path: Path) -> None:
    films = table()
    tumour = films["label"] != "no_tumour"
    generator = np.random.default_rng(0)
    films["note"] = np.where(tumour, "seen", None)
    films["dose"] = generator.normal(0, 1, 120) + 4 * tumour
    films["acquired_on"] = np.where(tumour, "2021-03-", "2019-07-") + films["centre"].map(
        {0: "01", 1: "02"}
    )
    films["file_name"] = [f"{'t' if t else 'n'}_{k}" for k, t in enumerate(tumour)]
    films["age"] = generator.integers(5, 80, 120)
    films["sex"] = generator.choice(["F", "M"], 60).repeat(2)
    films["subtype"] = np.where(tumour, "osteosarcoma", None)
    result = check(write(tmp_path / "d", films))
    flagged = [f for f in result.findings if f.check == "giveaway_column"]
    named = {re.findall("'(.*?)'", f.what)[0] for f in flagged if f.severity == "warning"}
    assert named == {"note", "dose", "acquired_on", "file_name"}
    (note,) = [f.what for f in flagged if "'note'" in f.what]
    assert "blank for 0% of 'tumour' and 100% of 'none'" in note
    assert "1.000 at centre 0, 1.000 at centre 1" in note
    why = {each.column: each.why for each in result.untested}
    assert why["subtype"] == why["label"] == "derived from the label"
    assert "age + sex (context alone)" in {each.column for each in result.columns}


def test_a_patient_is_not_learnt_from_its_own_films(tmp_path: Path) -> None:
    """A column that names the patient says nothing of other patients."""
    films = table()
    films["ward"] = films["patient_id"].str.replace("P", "")
    result = check(write(tmp_path / "d", films))
    assert all(each.found.within.low < 0.6 for each in result.columns if each.column == "ward")


@pytest.mark.parametrize("where", ["border", "grey histogram and sharpness"])
def test_pixels_that_give_the_label_away(tmp_path: Path, where: str) -> None:
    films, images = table(), {}
    for number, label in enumerate(films["label"]):
        pixels = film(number)
        if label != "no_tumour" and where == "border":
            pixels[:6] = 90
        elif label != "no_tumour":
            pixels[pixels > 0] //= 2
        images[number] = pixels
    result = check(write(tmp_path / "d", films, images))
    warned = [f.what for f in result.findings if f.check == "pixel_probe"]
    start = {"border": "The outer border", "grey histogram and sharpness": "The grey histogram"}
    assert any(what.startswith(start[where]) for what in warned)


def test_a_centre_with_one_class_and_a_patient_of_two_sexes(tmp_path: Path) -> None:
    films = table(40).assign(sex="F")
    films.loc[films["centre"] == 1, "label"] = "no_tumour"
    films.loc[5, "sex"] = "M"
    result = check(write(tmp_path / "d", films))
    assert {"centre_with_one_class", "patient_of_two_sexes"} <= found(result)
    row = next(row for row in result.composition if (row.variable, row.value) == ("sex", "M"))
    assert [cell.films for cell in row.cells.values()] == [0, 1]


def test_a_class_missing_from_a_part(tmp_path: Path) -> None:
    films = table(40)
    films["a_split"] = np.where(films["label"] == "benign", "train", "test")
    assert "class_missing_in_part" in found(check(write(tmp_path / "d", films)))


def test_the_command(tmp_path: Path) -> None:
    """Exit 1 names broken films, 3 is a leak, 2 a wrong option; reports are written."""
    films = table(12)
    folder = write(tmp_path / "d", films)
    (folder / "images" / "F003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = osteoedge("data", "check", folder, "--out", tmp_path / "out", "--json")
    assert result.returncode == 1, result.stderr
    assert "Error F003.png: the picture is truncated or damaged" in result.stderr
    document = json.loads(result.stdout)
    assert document == json.loads((tmp_path / "out" / "check.json").read_text())
    assert document["format"] == "osteoedge.check/1"
    assert len(document["unreadable"]) == 1
    assert "Nothing was found" in (tmp_path / "out" / "report.html").read_text()
    assert "12 films checked, 1 unreadable" in (tmp_path / "out" / "report.txt").read_text()
    films.assign(x_split=["a", "b"] * 6).to_csv(folder / "radiographs.csv", index=False)
    leak = osteoedge("data", "check", folder)
    assert leak.returncode == 3
    assert "a split leaks: x_split" in leak.stderr
    assert "Traceback" not in leak.stderr
    assert osteoedge("data", "check", folder, "--split", "no").returncode == 2


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_report_is_one_safe_file(tmp_path: Path) -> None:
    films = table(60)
    films[HOSTILE] = films["label"]
    films.loc[0, "patient_id"] = HOSTILE
    films["view"] = HOSTILE
    result = check(write(tmp_path / "d", films, {7: film(0)}))
    write_reports(result, tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in html
    assert "data:image/jpeg;base64," in html
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "SYNTHETIC" not in html
    assert json.loads(to_json(result))["duplicates"][0]["second"] == "F007"


def test_groups_are_kept_and_renewed(tmp_path: Path) -> None:
    folder, cache = write(tmp_path / "d", table(8), {5: film(0)}), tmp_path / "cache"
    with Progress(disable=True) as progress:
        groups = duplicate_groups(load_dataset(folder), cache, progress)
        assert groups.tolist() == ["P000", "P000", "P001", "P001", "P000", "P000", "P003", "P003"]
        (folder / "images" / "F005.png").unlink()
        kept = duplicate_groups(load_dataset(folder), cache, progress)
        assert kept.equals(groups)
        other = load_dataset(folder).select("centre == 0")
        assert duplicate_groups(other, cache, progress).tolist() == ["P000"] * 2 + ["P001"] * 2


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 12), min_size=2, max_size=30),
    st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=20),
)
def test_groups_join_patients_and_duplicates_and_nothing_else(
    patients: list[int], links: list[tuple[int, int]]
) -> None:
    films = pd.DataFrame({"patient_id": [f"P{number:02d}" for number in patients]})
    inside = [(a, b) for a, b in links if max(a, b) < len(films)]
    groups = patient_groups(films, [Pair(a, b, "near", "", 1.0) for a, b in inside])
    assert (groups.groupby(films["patient_id"]).nunique() == 1).all()
    assert all(groups[a] == groups[b] for a, b in inside)
    assert (groups <= films["patient_id"]).all()
    merged = films["patient_id"].nunique() - groups.nunique()
    assert merged <= len(inside)
    if not inside:
        assert (groups == films["patient_id"]).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(SYMMETRIES))
def test_one_transform_gives_the_hash_of_every_turned_film(seed: int, symmetry: Any) -> None:
    image = cv2.resize(film(seed), (128, 128), interpolation=cv2.INTER_AREA)
    turned = np.ascontiguousarray(symmetry.apply(image))
    (derived,) = hashes(symmetry.apply_to_coefficients(low_frequencies(image)[None]))
    (direct,) = hashes(low_frequencies(turned)[None])
    # A coefficient that ties with the median may fall on either side of it.
    assert (derived != direct).sum() <= 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 1.0), st.integers(0, 60))
def test_the_hash_does_not_know_exposure(seed: int, contrast: float, brightness: int) -> None:
    image = np.clip(film(seed), 0, 190)
    exposed = (image * contrast + brightness).round().astype(np.uint8)
    a, b = hashes(np.stack([low_frequencies(image), low_frequencies(exposed)]))
    assert (a != b).sum() <= 4
    (inverted,) = hashes(low_frequencies(255 - image)[None])
    assert (a == inverted).sum() <= 2


@pytest.mark.data
def test_btxrd(local_data: Path) -> None:
    """The official split leaks, `anatomy` and the border give the label away, pairs are found."""
    result = check(local_data / "btxrd")
    films = result.dataset.films
    (overlap,) = result.overlaps
    assert overlap.split == "official_split"
    assert overlap.share > 0.2
    assert overlap.tumour_share is not None
    assert overlap.tumour_share > 0.45
    exact = [pair for pair in result.pairs if pair.kind == "exact"]
    assert 10 <= len(exact) <= 21
    label = films["label"]
    assert sum(label[pair.first] != label[pair.second] for pair in exact) == 2
    assert len(result.pairs) - len(exact) <= 20, "limbs on black are not copies"
    tumour = [each for each in (*result.columns, *result.probes)
              if each.question == "tumour or none"]  # fmt: skip
    scored = {getattr(each, "column", getattr(each, "probe", "")): each.found for each in tumour}
    assert scored["anatomy"].across["2"].value > 0.99
    assert scored["border"].within.value == pytest.approx(0.77, abs=0.02)
    assert scored["grey histogram and sharpness"].within.value == pytest.approx(0.79, abs=0.03)
    warned = {f.what.split("'")[1] for f in result.findings
              if f.check == "giveaway_column" and f.severity == "warning"}  # fmt: skip
    assert warned == {"anatomy"}
