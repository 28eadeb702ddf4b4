"""BTXRD, FracAtlas and COCO, in the form in which they are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from rich.progress import Progress

from edge_runtime.errors import ConfigError, DatasetError
from tests.conftest import must, osteoedge
from train.dataset.importers import btxrd, fracatlas
from train.dataset.importers.coco import CocoSource, coco_outline, import_coco
from train.dataset.importers.labelme import labelme_mask
from train.dataset.schema import load_dataset

ROWS, COLUMNS = 90, 120
QUIET = Progress(disable=True)
SQUARE = [[30.0, 20.0], [70.0, 20.0], [70.0, 60.0], [30.0, 60.0]]


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (ROWS, COLUMNS)).astype(np.uint8)
    # OpenCV does not know the suffix .jpeg of every build: encode, then write.
    path.write_bytes(cv2.imencode(".jpg", noise)[1].tobytes())


def labelme(
    *shapes: tuple[str, list[list[float]]], size: tuple[int, int] = (ROWS, COLUMNS)
) -> bytes:
    return json.dumps(
        {
            "version": "5.4.1",
            "flags": {},
            "shapes": [
                {"label": "other mt", "points": points, "group_id": None, "shape_type": kind}
                for kind, points in shapes
            ],
            "imagePath": "IMG.jpeg",
            "imageData": None,
            "imageHeight": size[0],
            "imageWidth": size[1],
        }
    ).encode()


def cells(out: Path) -> pd.DataFrame:
    """Return the table as text, blank where it is blank."""
    text = pd.read_csv(out / "radiographs.csv", dtype=str, keep_default_na=False)
    return text.set_index("image_id", drop=False)


# LabelMe


def test_polygons_are_filled_and_boxes_are_not() -> None:
    mask = labelme_mask(
        labelme(("polygon", SQUARE), ("rectangle", [[70, 60], [30, 20]])), (ROWS, COLUMNS), "x"
    )
    assert mask is not None
    assert mask[40, 50] == 255 and mask[10, 10] == 0
    assert np.count_nonzero(mask) == 41 * 41
    assert set(np.unique(mask)) == {0, 255}


def test_a_lesion_without_outline_leaves_the_mask_unknown() -> None:
    far = ("rectangle", [[90.0, 70.0], [110.0, 85.0]])
    for shapes in ([far], [("polygon", SQUARE), far], []):
        assert labelme_mask(labelme(*shapes), (ROWS, COLUMNS), "x") is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "no LabelMe annotation"),
        (b"{}", "no LabelMe annotation"),
        (labelme(("polygon", SQUARE), size=(COLUMNS, ROWS)), "drawn on a picture of 90 x 120"),
        (labelme(("circle", [[1, 1], [2, 2]])), "'circle' with 2 points is no area"),
        (labelme(("polygon", SQUARE[:2])), "'polygon' with 2 points is no area"),
    ],
)
def test_a_wrong_annotation_is_named(data: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        labelme_mask(data, (ROWS, COLUMNS), "IMG.json")


# BTXRD


def btxrd_row(name: str, *ones: str, **cells: Any) -> dict[str, Any]:
    zeros = dict.fromkeys(
        (*btxrd.BONES, *btxrd.CLASSES, *btxrd.SUBTYPES, *btxrd.REGIONS, *btxrd.VIEWS), 0
    )
    facts = {"image_id": name, "center": 1, "age": 12, "gender": "F"} | cells
    return {column: (facts | zeros | dict.fromkeys(ones, 1))[column] for column in btxrd.COLUMNS}


@pytest.fixture
def btxrd_download(tmp_path: Path) -> Path:
    """Seven films: malignant, benign of two bones, normal (.jpg), and four that cannot be used."""
    source = tmp_path / "BTXRD"
    rows = [
        btxrd_row("IMG000001.jpeg", "tumor", "malignant", "osteosarcoma", "femur", "lower limb",
                  "frontal"),
        btxrd_row("IMG000002.jpeg", "tumor", "benign", "multiple osteochondromas", "tibia",
                  "hip bone", "knee-joint", "lower limb", "lateral", gender="M", age=None,
                  center=3),
        btxrd_row("IMG000003.jpg", "upper limb", "oblique"),
        btxrd_row("IMG000004.jpeg", "tumor", "pelvis"),
        btxrd_row("IMG000005.jpeg", "hand", "upper limb"),
        btxrd_row("IMG000006.jpeg", "pelvis"),
        btxrd_row("IMG000007.jpeg", "tumor", "benign", "osteosarcoma"),
    ]  # fmt: skip
    for number, entry in enumerate(rows):
        picture(source / "images" / entry["image_id"], number)
    (source / "images" / "IMG000006.jpeg").unlink()
    (source / "Annotations").mkdir()
    outline = labelme(("polygon", SQUARE), ("rectangle", [SQUARE[0], SQUARE[2]]))
    for name in ("IMG000001", "IMG000005"):
        (source / "Annotations" / f"{name}.json").write_bytes(outline)
    pd.DataFrame(rows).to_excel(source / "dataset.xlsx", index=False)
    return source


def test_btxrd_has_37_columns() -> None:
    assert len(btxrd.COLUMNS) == len(set(btxrd.COLUMNS)) == 37


def test_btxrd_as_downloaded(btxrd_download: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = osteoedge("data", "btxrd", btxrd_download, out)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error ")]
    assert len(errors) == 4
    assert "IMG000004.jpeg: the row contradicts itself: tumor is 1" in errors[0]
    assert "IMG000005.jpeg: the table says no tumour, and there is an annotation" in errors[1]
    assert "IMG000006.jpeg: no such file" in errors[2]
    assert "IMG000007.jpeg: the row contradicts itself: tumor, benign, osteosarcoma" in errors[3]
    assert f"Next: osteoedge data check {out}" in result.stdout
    dataset = load_dataset(out)
    films = cells(out)
    assert list(films.index) == ["IMG000001", "IMG000002", "IMG000003"]
    assert list(films["label"]) == ["malignant", "benign", "no_tumour"]
    assert list(films["subtype"]) == ["osteosarcoma", "multiple osteochondromas", ""]
    assert list(films["anatomy"]) == ["femur", "tibia;hip_bone;knee", ""]
    assert list(films["region"]) == ["lower_limb", "lower_limb", "upper_limb"]
    assert list(films["view"]) == ["frontal", "lateral", "oblique"]
    assert list(films["age"]) == ["12", "", "12"]
    assert list(films["sex"]) == ["F", "M", "F"]
    assert list(films["centre"]) == ["1", "3", "1"]
    assert "CC BY-NC-ND 4.0" in dataset.card.licence and not dataset.card.may_ship_weights
    masks = [dataset.mask(row, (ROWS, COLUMNS)) for _, row in dataset.films.iterrows()]
    assert masks[0] is not None and np.count_nonzero(masks[0]) == 41 * 41
    assert masks[1] is None, "a tumour without annotation: unknown, not empty"
    assert masks[2] is not None and not masks[2].any()
    copied = dataset.image_path(dataset.films.iloc[0]).read_bytes()
    assert copied == (btxrd_download / "images" / "IMG000001.jpeg").read_bytes()


def test_btxrd_twice_is_the_same(btxrd_download: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    btxrd.import_btxrd(btxrd_download, out, QUIET)
    before = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    table = (out / "radiographs.csv").read_bytes()
    btxrd.import_btxrd(btxrd_download, out, QUIET)
    assert before == {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert (out / "radiographs.csv").read_bytes() == table
    # A mended annotation is new content: that film is done again.
    (btxrd_download / "Annotations" / "IMG000002.json").write_bytes(labelme(("polygon", SQUARE)))
    btxrd.import_btxrd(btxrd_download, out, QUIET)
    assert (out / "masks" / "IMG000002.png").is_file()


def test_btxrd_of_another_form_is_refused(btxrd_download: Path, tmp_path: Path) -> None:
    table = pd.read_excel(btxrd_download / "dataset.xlsx")
    table.drop(columns=["hip bone", "oblique"]).to_excel(
        btxrd_download / "dataset.xlsx", index=False
    )
    with pytest.raises(DatasetError, match="column missing: hip bone, oblique"):
        btxrd.import_btxrd(btxrd_download, tmp_path / "out", QUIET)
    (btxrd_download / "dataset.xlsx").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="the table cannot be read"):
        btxrd.import_btxrd(btxrd_download, tmp_path / "out", QUIET)
    with pytest.raises(ConfigError, match=r"no dataset\.xlsx here"):
        btxrd.import_btxrd(tmp_path, tmp_path / "out", QUIET)


# FracAtlas


def test_fracatlas_as_downloaded(tmp_path: Path) -> None:
    source, out = tmp_path / "FracAtlas", tmp_path / "out"
    lines = [",".join(fracatlas.COLUMNS)]
    films = {
        # hand, leg, hip, shoulder, mixed, hardware, multiscan, fractured, count, then the views
        "IMG0000000.jpg": "0,1,0,0,0,0,0,0,0,1,0,0",
        "IMG0000001.jpg": "1,0,0,1,1,1,1,1,2,1,1,0",
        "IMG0000002.jpg": "0,0,1,0,0,1,0,0,0,0,0,1",
        "IMG0000003.jpg": "0,1,0,0,0,0,0,1,1,1,0,0",
    }
    for number, (name, line) in enumerate(films.items()):
        lines.append(f"{name},{line}")
        folder = "Fractured" if line.split(",")[7] == "1" else "Non_fractured"
        picture(source / "images" / folder / name, number)
    (source / "dataset.csv").write_text("\n".join(lines) + "\n")
    damaged = source / "images" / "Fractured" / "IMG0000003.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    result = osteoedge("data", "fracatlas", source, out)
    assert result.returncode == 1
    assert "IMG0000003.jpg: the picture is truncated or damaged" in result.stderr
    dataset = load_dataset(out)
    table = cells(out)
    assert list(table["label"]) == ["", "", ""], "nobody looked for tumours"
    assert list(table["other_finding"]) == ["", "fracture;implant", "implant"]
    assert list(table["region"]) == ["lower_limb", "upper_limb", "pelvis"]
    assert list(table["anatomy"]) == ["leg", "hand;shoulder", "hip"]
    assert list(table["view"]) == ["frontal", "", "oblique"]
    assert dataset.mask(dataset.films.iloc[0], (ROWS, COLUMNS)) is None
    assert dataset.card.licence == "CC BY 4.0"


# COCO


def runs_of(mask: npt.NDArray[np.uint8]) -> list[int]:
    """Return plain run lengths, column by column, the first of zeros: written independently."""
    flat = mask.T.reshape(-1) > 0
    counts, value, run = [], False, 0
    for pixel in flat:
        if pixel != value:
            counts.append(run)
            value, run = pixel, 0
        run += 1
    return [*counts, run]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 30), st.integers(3, 30))
def test_run_lengths_plain_and_compressed_are_one_mask(seed: int, rows: int, columns: int) -> None:
    mask = (np.random.default_rng(seed).random((rows, columns)) > 0.6).astype(np.uint8)
    compressed = coco_mask.encode(np.asfortranarray(mask))
    size = [rows, columns]
    forms: list[dict[str, object]] = [
        {"size": size, "counts": runs_of(mask)},
        {"size": size, "counts": compressed["counts"]},
        {"size": size, "counts": compressed["counts"].decode()},
    ]
    for form in forms:
        drawn = coco_outline(form, (rows, columns), "x")
        assert drawn is not None
        assert np.array_equal(drawn, mask * 255)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(8, 60), st.integers(8, 60))
def test_polygons_and_run_lengths_agree(left: int, top: int, width: int, height: int) -> None:
    right, bottom = min(left + width, COLUMNS), min(top + height, ROWS)
    polygon = [left, top, right, top, right, bottom, left, bottom]
    drawn = coco_outline([polygon], (ROWS, COLUMNS), "x")
    assert drawn is not None
    box = np.zeros((ROWS, COLUMNS), np.uint8)
    box[top:bottom, left:right] = 255
    assert np.array_equal(drawn, box)
    again = coco_outline({"size": [ROWS, COLUMNS], "counts": runs_of(box)}, (ROWS, COLUMNS), "x")
    assert np.array_equal(drawn, again)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [5, 5], "counts": [25]}, "a mask of 5 x 5 pixels on a film of 120 x 90"),
        ({"size": [ROWS, COLUMNS], "counts": [7]}, "run lengths do not add up"),
        ({"size": [ROWS, COLUMNS]}, "no outline that can be drawn"),
        ({"size": [ROWS, COLUMNS], "counts": ""}, "run lengths do not add up"),
        ({"size": [ROWS, COLUMNS], "counts": "ooo"}, "in the middle of a number"),
        ({"size": [ROWS, COLUMNS], "counts": "PPY0"}, "do not add up|middle of a number"),
        ({"size": [ROWS, COLUMNS], "counts": "\xff"}, "a letter that is no digit"),
        ({"size": [ROWS, COLUMNS], "counts": [-5, ROWS * COLUMNS + 5]}, "do not add up"),
        ({"size": [ROWS, COLUMNS], "counts": 7}, "neither a list nor a string"),
        ([[1, 2, 3, 4]], "a polygon needs three points"),
        ("polygon", "neither polygons nor run lengths"),
    ],
)
def test_a_wrong_outline_is_named(segmentation: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        coco_outline(segmentation, (ROWS, COLUMNS), "a.png")
    assert coco_outline([], (ROWS, COLUMNS), "a.png") is None


@pytest.fixture
def coco_folder(tmp_path: Path) -> Path:
    """Pictures a (two lesions), b (fracture), c (nothing), d (a lesion with only a box)."""
    for number, name in enumerate("abcd"):
        picture(tmp_path / "pictures" / f"{name}.jpg", number)
    flat = [coordinate for point in SQUARE for coordinate in point]
    small = np.zeros((ROWS, COLUMNS), np.uint8)
    small[5:9, 100:104] = 1
    document = {
        "images": [
            {"id": number, "file_name": f"{name}.jpg", "width": COLUMNS, "height": ROWS}
            for number, name in enumerate("abcd")
        ],
        "categories": [
            {"id": 1, "name": "Osteochondroma"},
            {"id": 2, "name": "osteosarcoma"},
            {"id": 3, "name": "Fracture"},
        ],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 2, "segmentation": [flat]},
            {"id": 2, "image_id": 0, "category_id": 1, "iscrowd": 1,
             "segmentation": {"size": [ROWS, COLUMNS], "counts": runs_of(small)}},
            {"id": 3, "image_id": 0, "category_id": 3, "segmentation": [[0, 0, 9, 0, 9, 9]]},
            {"id": 4, "image_id": 1, "category_id": 3, "segmentation": [flat]},
            {"id": 5, "image_id": 3, "category_id": 1, "segmentation": [], "bbox": [1, 2, 3, 4]},
        ],
    }  # fmt: skip
    document["images"][1] |= {"patient_id": "P7", "centre": 2, "age": 31, "sex": "F"}
    (tmp_path / "coco.json").write_text(json.dumps(document))
    return tmp_path


def test_coco_films_get_their_gravest_lesion(coco_folder: Path) -> None:
    out = coco_folder / "out"
    result = must(
        osteoedge("data", "coco", coco_folder / "coco.json", coco_folder / "pictures", out)
    )
    assert "films without annotation, and so without a label: 1" in result.stderr
    dataset = load_dataset(out)
    table = cells(out)
    assert dict(table["label"]) == {"a": "malignant", "b": "", "c": "", "d": "benign"}
    assert dict(table["other_finding"]) == {"a": "fracture", "b": "fracture", "c": "", "d": ""}
    assert list(table.loc["b", ["patient_id", "centre", "age", "sex"]]) == ["P7", "2", "31", "F"]
    masks = [dataset.mask(row, (ROWS, COLUMNS)) for _, row in dataset.films.iterrows()]
    assert masks[0] is not None
    assert np.count_nonzero(masks[0]) == 40 * 40 + 16, "lesions, not the fracture"
    assert masks[1:] == [None, None, None]


def test_coco_without_annotation_is_no_tumour_only_where_the_map_says_so(
    coco_folder: Path,
) -> None:
    words = coco_folder / "words.toml"
    words.write_text('no_tumour = ["unannotated"]\n[dataset]\nname = "N"\nlicence = "L"\n')
    source = CocoSource(coco_folder / "coco.json", coco_folder / "pictures", words)
    result = import_coco(source, coco_folder / "out", QUIET)
    assert len(result.notes) == 1
    dataset = load_dataset(coco_folder / "out")
    assert list(dataset.films["label"].fillna("")) == ["malignant", "", "no_tumour", "benign"]
    assert (dataset.card.name, dataset.card.licence) == ("N", "L")


def test_coco_with_unknown_categories_or_of_another_form(coco_folder: Path) -> None:
    path, out = coco_folder / "coco.json", coco_folder / "out"
    text = path.read_text()
    path.write_text(text.replace("Fracture", "Fraktur"))
    result = osteoedge("data", "coco", path, coco_folder / "pictures", out)
    assert result.returncode == 2
    assert "'Fraktur' (2)" in result.stderr
    assert not out.exists()
    for broken in (
        '{"images": []}',
        "[]",
        "{",
        text.replace('"category_id": 3', '"category_id": 9'),
    ):
        path.write_text(broken)
        with pytest.raises(ConfigError, match=r"coco\.json: (no COCO instances|not valid JSON)"):
            import_coco(CocoSource(path, coco_folder / "pictures"), out, QUIET)


def test_coco_names_cannot_leave_the_folder_or_collide(coco_folder: Path) -> None:
    path = coco_folder / "coco.json"
    picture(coco_folder / "outside.jpg", 9)
    text = path.read_text().replace('"b.jpg"', '"../outside.jpg"').replace('"c.jpg"', '"a.jpg"')
    path.write_text(text.replace('"d.jpg"', '"d.dcm"'))
    source = CocoSource(path, coco_folder / "pictures")
    result = import_coco(source, coco_folder / "out", QUIET)
    assert result.films == 1
    assert [failure.what for failure in result.failures] == [
        "lies outside the folder of pictures",
        "another picture has the same name",
        "is no PNG or JPEG",
    ]
