"""`osteoedge screen --write sr,sc,seg`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from edge_runtime import Screener, load_bundle, read_radiograph
from edge_runtime.decision import to_film
from edge_runtime.preprocess import place
from edge_runtime.reports import codes as own
from edge_runtime.screening import STANDING_SENTENCE
from tests.conftest import Trained, must, osteoedge
from tests.edge_runtime.films import save
from tests.edge_runtime.screenings import check, hospital_film, texts


@pytest.fixture(scope="module")
def films(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of which at least one is marked, a picture, and a film that cannot be read."""
    folder = tmp_path_factory.mktemp("films")
    phantoms = sorted((trained.dataset / "images").glob("*.dcm"))
    with Screener(load_bundle(trained.bundle)) as screener:
        marked = next(path for path in phantoms if screener.screen(read_radiograph(path)).lesions)
    shutil.copy(marked, folder / "marked.dcm")
    shutil.copy(next(path for path in phantoms if path != marked), folder / "other.dcm")
    save(hospital_film(NumberOfFrames=7), folder / "cine.dcm")
    return folder


@pytest.fixture(scope="module")
def out(films: Path, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    result = osteoedge("screen", films, "--bundle", trained.bundle, "--out", folder,
                       "--write", "json,sr,sc,seg")  # fmt: skip
    assert result.returncode == 1
    assert "cine.dcm: a multi-frame image" in result.stderr
    assert "2 screened, 1 failed" in result.stdout
    return folder


def document(out: Path, name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    return read


def test_each_film_has_valid_results(out: Path) -> None:
    for name in ("marked", "other"):
        for kind in ("sr", "sc"):
            check(out / f"{name}.{kind}.dcm")
    check(out / "marked.seg.dcm")
    check(out / "cine.sr.dcm")
    assert not list(out.glob("cine.sc.dcm")) and not list(out.glob("cine.seg.dcm"))


def test_the_report_is_the_document_as_dicom(out: Path) -> None:
    told = document(out, "marked")
    content = hd.sr.srread(out / "marked.sr.dcm").content
    (film,) = content.get_image_measurement_groups()
    for label, probability in told["probabilities"].items():
        (measurement,) = film.get_measurements(own.PROBABILITIES[label])
        assert measurement.value == pytest.approx(probability, abs=1e-6)
    (decision,) = film.get_qualitative_evaluations(own.DECISION)
    assert decision.value == own.DECISIONS[told["decision"]]
    areas = content.get_planar_roi_measurement_groups()
    assert len(areas) == len(told["lesions"]) > 0
    for area, lesion in zip(areas, told["lesions"], strict=True):
        x0, y0 = area.roi.value.min(axis=0)
        x1, y1 = area.roi.value.max(axis=0)
        assert (x0, y0, x1, y1) == pytest.approx(lesion["box"], abs=1e-3)
    report = dcmread(out / "marked.sr.dcm")
    assert report.SeriesDescription.startswith("SYNTHETIC"), "the tiny model learned from drawings"
    assert any(STANDING_SENTENCE in words for words in texts(report))


def test_the_report_tells_the_summary_of_the_document(out: Path) -> None:
    for name in ("marked", "other", "cine"):
        (told,) = (
            item.TextValue
            for item in dcmread(out / f"{name}.sr.dcm").ContentSequence
            if item.ConceptNameCodeSequence[0].CodeMeaning == "Summary"
        )
        assert told.split("\r\n") == document(out, name)["summary"]["text"]["en"]


def test_the_segmentation_is_the_mask(films: Path, out: Path, trained: Trained) -> None:
    film = read_radiograph(films / "marked.dcm")
    with Screener(load_bundle(trained.bundle)) as screener:
        mask = screener.screen(film).mask
        spec = screener.bundle.manifest.input_spec
    rows, columns = film.display.shape
    assert mask is not None
    segmentation = hd.seg.segread(out / "marked.seg.dcm")
    assert np.array_equal(
        segmentation.pixel_array, to_film(mask, place((rows, columns), spec), spec)
    )


def test_screening_again_gives_the_same_uids(
    films: Path, out: Path, trained: Trained, tmp_path: Path
) -> None:
    must(osteoedge("screen", films / "marked.dcm", "--bundle", trained.bundle, "--out", tmp_path,
                   "--write", "sr,sc,seg"))  # fmt: skip
    for kind in ("sr", "sc", "seg"):
        one, two = (
            dcmread(folder / f"marked.{kind}.dcm", stop_before_pixels=True)
            for folder in (out, tmp_path)
        )
        assert one.SOPInstanceUID == two.SOPInstanceUID
        assert one.SeriesInstanceUID == two.SeriesInstanceUID


def test_a_film_that_cannot_be_read_has_a_report_that_says_so(out: Path) -> None:
    report = dcmread(out / "cine.sr.dcm")
    assert own.DECISIONS["unable"].meaning in texts(report)
    assert any("multi-frame" in words for words in texts(report))


def test_a_picture_has_no_dicom_results_and_all_the_others(
    trained: Trained, tmp_path: Path
) -> None:
    import cv2

    noise = np.random.default_rng(0).integers(0, 255, (200, 160)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "film.png"), noise)
    result = osteoedge("screen", tmp_path / "film.png", "--bundle", trained.bundle,
                       "--out", tmp_path / "out", "--write", "json,png,sr,seg")  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.count("Error") == 1
    assert "film.png: a PNG or JPEG film has no DICOM header, which sr, seg" in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["film.json", "film.png"]


def test_triage_gives_no_figure_in_any_format(
    films: Path, trained: Trained, tmp_path: Path
) -> None:
    must(osteoedge("screen", films / "marked.dcm", "--bundle", trained.bundle, "--out", tmp_path,
                   "--write", "json,sr,sc,seg", "--intended-use", "triage"))  # fmt: skip
    assert not (tmp_path / "marked.seg.dcm").exists()
    report = dcmread(tmp_path / "marked.sr.dcm")
    kinds = {element.value for element in report.iterall() if element.keyword == "ValueType"}
    assert not kinds & {"NUM", "SCOORD"}
    assert document(tmp_path, "marked")["lesions"] == []
