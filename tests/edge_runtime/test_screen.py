"""`osteoedge screen`, as a user runs it: results, refusals, exit codes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from edge_runtime.bundle import load_bundle
from edge_runtime.context import PatientContext
from edge_runtime.errors import UnsupportedRadiographError
from edge_runtime.phrases import LANGUAGES
from edge_runtime.preprocess import to_network_pixels
from edge_runtime.radiograph import read_radiograph
from edge_runtime.screener import Screener, source_of
from edge_runtime.screening import STANDING_SENTENCE
from tests.conftest import Trained, must, osteoedge
from tests.edge_runtime.films import film, save

VERDICTS = ("normal", "clear", "no finding")


@pytest.fixture(scope="session")
def films(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantoms as DICOM, one of them also as PNG and JPEG."""
    folder = tmp_path_factory.mktemp("films")
    for path in sorted((trained.dataset / "images").iterdir())[:3]:
        shutil.copy(path, folder / path.name)
    display = read_radiograph(path).display
    grey = np.rint(display / 257).astype(np.uint8)
    cv2.imwrite(str(folder / "picture.png"), grey)
    cv2.imwrite(str(folder / "photo.jpg"), grey, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return folder


@pytest.fixture(scope="session")
def screened(films: Path, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    result = osteoedge("screen", films, "--bundle", trained.bundle, "--out", out)
    assert result.returncode == 0, result.stderr
    assert "5 screened, 0 failed" in result.stdout
    assert STANDING_SENTENCE in result.stdout
    assert "Traceback" not in result.stderr
    return out


def test_a_document_and_a_picture_for_each_film(films: Path, screened: Path) -> None:
    for path in films.iterdir():
        document = json.loads((screened / f"{path.stem}.json").read_text())
        assert document["schema"] == "osteoedge.screening/1"
        assert document["source"]["file"] == path.name
        assert document["notice"] == STANDING_SENTENCE
        assert document["synthetic"] is True
        assert document["decision"] in {"urgent_review", "routine_review", "not_flagged", "unable"}
        assert sum(document["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
        tumour = 1.0 - document["probabilities"]["no_tumour"]
        assert document["tumour_probability"] == pytest.approx(tumour, abs=1e-5)
        assert sum(document["region_probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
        subtypes = document["subtype_probabilities"]
        if document["decision"] == "not_flagged":
            assert subtypes is None, "what a film without a flag may show would be a flag"
        else:
            assert sum(subtypes.values()) == pytest.approx(1.0, abs=1e-5)
        assert document["delegate"]["name"] == "cpu"
        assert document["bundle"]["data_licence"] == "CC0-1.0"
        stages = {"read", "decode", "preprocess", "invoke", "postprocess", "total"}
        assert set(document["timings_ms"]) == stages
        picture = cv2.imread(str(screened / f"{path.stem}.png"))
        assert max(picture.shape) >= 1024


def test_each_document_has_its_summary_in_six_languages(films: Path, screened: Path) -> None:
    for path in films.iterdir():
        document = json.loads((screened / f"{path.stem}.json").read_text())
        told = document["summary"]
        assert set(told["text"]) == set(LANGUAGES)
        assert {len(lines) for lines in told["text"].values()} == {len(told["phrases"])}
        english = told["text"]["en"]
        assert english[-1] == f"{STANDING_SENTENCE}."
        assert any("SYNTHETIC" in line for line in english)
        percent = f"Probability of a bone tumour: {100 * document['tumour_probability']:.1f}%"
        tumour = [point for point in document["operating_points"] if point["score"] == "tumour"]
        if document["decision"] != "unable" and 0.001 < document["tumour_probability"] < 0.999:
            assert sum(line.startswith(percent) for line in english) == len(tumour)
        shown = sum(line.startswith("Marked area:") for line in english)
        assert shown == min(len(document["lesions"]), 3)
        rows, columns = read_radiograph(path).display.shape
        assert (document["film"]["rows"], document["film"]["columns"]) == (rows, columns)


def test_the_terminal_tells_the_summary_in_the_language_asked_for(
    films: Path, trained: Trained, tmp_path: Path
) -> None:
    """Of a single film always; of several where a language is asked for."""
    (tmp_path / "broken.png").write_bytes((films / "picture.png").read_bytes()[:5000])
    command = ("--bundle", trained.bundle, "--out", tmp_path / "out", "--write", "")
    one = must(osteoedge("screen", films / "picture.png", *command)).stdout
    assert one.startswith("picture\nPreliminary result of a software check")
    assert f"\n{STANDING_SENTENCE}.\n" in one
    several = [films / "picture.png", films / "photo.jpg", tmp_path / "broken.png"]
    assert "Preliminary" not in osteoedge("screen", *several, *command).stdout
    swahili = osteoedge("screen", *several, *command, "--language", "sw").stdout
    assert swahili.count("Matokeo ya awali") == 3
    assert "Sababu: picha imekatika au imeharibika." in swahili
    assert "Cha kufanya: itoe tena kutoka chanzo chake." in swahili
    refused = osteoedge("screen", *several, *command, "--language", "de")
    assert refused.returncode == 2 and "--language" in refused.stderr


def test_the_decision_is_the_operating_points_on_the_probabilities(screened: Path) -> None:
    for path in screened.glob("*.json"):
        document = json.loads(path.read_text())
        scores = {
            "tumour": document["tumour_probability"],
            "malignant": document["probabilities"]["malignant"],
        }
        reached = {
            point["action"]
            for point in document["operating_points"]
            if scores[point["score"]] >= point["threshold"]
        }
        expected = next(
            (a for a in ("urgent_review", "routine_review") if a in reached), "not_flagged"
        )
        assert document["decision"] == expected
        if expected == "not_flagged":
            assert document["lesions"] == []


def test_no_verdict_sounds_like_an_all_clear(screened: Path) -> None:
    for path in screened.glob("*.json"):
        text = path.read_text().lower().replace(STANDING_SENTENCE.lower(), "")
        assert not [word for word in VERDICTS if word in text]


def test_png_and_dicom_of_one_film_agree(films: Path, screened: Path, trained: Trained) -> None:
    """Eight bits for twelve cost the network's input one grey level, and little of the score."""
    spec = load_bundle(trained.bundle).manifest.input_spec
    last = films / f"{sorted(path.stem for path in films.glob('*.dcm'))[-1]}.dcm"
    dicom, png = (
        to_network_pixels(read_radiograph(path).display, spec)[0].astype(int)
        for path in (last, films / "picture.png")
    )
    assert np.abs(png - dicom).max() <= 1
    of_dicom, of_png, of_jpeg = (
        json.loads((screened / f"{stem}.json").read_text())["tumour_probability"]
        for stem in (last.stem, "picture", "photo")
    )
    # Seen on 60 films of one tiny model: 0.013 on average, 0.068 at most.
    assert of_png == pytest.approx(of_dicom, abs=0.15)
    assert of_jpeg == pytest.approx(of_dicom, abs=0.15)


def test_the_rest_of_a_batch_is_done(films: Path, trained: Trained, tmp_path: Path) -> None:
    batch = tmp_path / "batch"
    shutil.copytree(films, batch)
    (batch / "notes.dcm").write_text("not a film")
    good = (batch / "picture.png").read_bytes()
    (batch / "cut.png").write_bytes(good[: len(good) // 2])
    save(film(Modality="CT"), batch / "ct.dcm")
    save(film(NumberOfFrames=3), batch / "frames.dcm")
    red = np.full((90, 90, 3), (200, 0, 0), np.uint8)
    save(film(red, PhotometricInterpretation="RGB"), batch / "rgb.dcm")
    (batch / "readme.txt").write_text("ignored: no film by name or content")
    (tmp_path / "empty").mkdir()
    result = osteoedge(
        "screen", batch, tmp_path / "empty", tmp_path / "absent.dcm",
        "--bundle", trained.bundle, "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.returncode == 1
    assert "5 screened, 7 failed" in result.stdout
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(lines) == 7
    for name in ("notes.dcm", "cut.png", "ct.dcm", "frames.dcm", "rgb.dcm", "empty", "absent.dcm"):
        assert any(f"{name}: " in line for line in lines), name
    assert "Traceback" not in result.stderr
    assert "Secret" not in result.stderr + result.stdout
    documents = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "out").glob("*.json")}
    unable = {stem for stem, d in documents.items() if d["probabilities"] is None}
    assert unable == {"cut", "ct", "frames", "rgb"}, "images that a person must look at"
    assert len(documents) == 5 + len(unable)
    for stem in unable:
        assert documents[stem]["decision"] == "unable"
        assert documents[stem]["notice"] == STANDING_SENTENCE
        assert not (tmp_path / "out" / f"{stem}.png").exists()
    assert documents["ct"]["reasons"] == [
        "modality CT, not a radiograph: send plain films only (CR, DX, RG)"
    ]
    assert documents["ct"]["source"]["sop_instance_uid"], "what the result must be matched by"


def test_films_of_one_name_do_not_overwrite_each_other(
    films: Path, trained: Trained, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(films / "picture.png", tmp_path / folder / "film.png")
    result = osteoedge(
        "screen", tmp_path / "a", tmp_path / "b", "--bundle", trained.bundle,
        "--out", tmp_path / "out", "--write", "json",
    )  # fmt: skip
    assert result.returncode == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["film-2.json", "film.json"]


def test_json_lines_for_scripts(films: Path, trained: Trained, tmp_path: Path) -> None:
    result = osteoedge(
        "screen", films / "picture.png", "--bundle", trained.bundle,
        "--out", tmp_path, "--write", "", "--json",
    )  # fmt: skip
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["schema"] == "osteoedge.screening/1"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--write", "pdf"], 2, "--write knows no format 'pdf'"),
        (["--delegate", "npu"], 1, "no delegate is called 'npu'"),
        (["--bundle", "absent.osteo"], 1, "absent.osteo: the bundle cannot be read"),
        (["--threads", "0"], 2, "threads"),
    ],
)
def test_usage_errors(
    films: Path, trained: Trained, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    command = ["screen", films, "--bundle", trained.bundle, "--out", tmp_path / "out", *arguments]
    result = osteoedge(*command, cwd=tmp_path)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_blank_film_is_unable_and_says_what_to_do(tiny_bundle: Path) -> None:
    blank = film(np.full((300, 200), 500, np.uint16), WindowCenter=512, WindowWidth=1024)
    screening = Screener(load_bundle(tiny_bundle)).screen(read_radiograph(blank))
    assert screening.decision == "unable"
    assert "retake" in screening.reasons[0]
    assert screening.probabilities is not None, "counted in evaluation all the same"
    assert screening.lesions == ()


@pytest.mark.data
def test_real_films_are_screened(local_data: Path, trained: Trained, tmp_path: Path) -> None:
    """The model has never seen a film; what is tested is that every lossless coding agrees."""
    folder = local_data / "dicom" / "radiographs"
    result = osteoedge("screen", folder, "--bundle", trained.bundle, "--out", tmp_path)
    assert result.returncode == 1, "a mammogram, one of 16 x 16 pixels and one without any"
    assert "13 screened, 3 failed" in result.stdout
    hips = {
        coding: json.loads((tmp_path / f"WG04_{coding}.json").read_text())["probabilities"]
        for coding in ("REF_RG2_UNC", "J2KR_RG2_J2KR", "JLSL_RG2_JLSL", "JPLL_RG2_JPLL",
                       "RLE_RG2_RLE")
    }  # fmt: skip
    assert len({tuple(p.values()) for p in hips.values()}) == 1


def test_triage_tells_the_decision_and_nothing_of_how_sure(
    films: Path, trained: Trained, tmp_path: Path
) -> None:
    result = must(
        osteoedge("screen", films, "--bundle", trained.bundle, "--out", tmp_path,
                  "--write", "json,png,mask,cam", "--intended-use", "triage")
    )  # fmt: skip
    assert not re.search(r"0\.|%", result.stdout), "no probability in the table either"
    documents = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert len(documents) == 5
    for document in documents:
        assert document["intended_use"] == "triage"
        assert document["lesions"] == []
        for key in ("probabilities", "tumour_probability", "subtype_probabilities",
                    "region_probabilities", "prediction_set"):  # fmt: skip
            assert document[key] is None
        assert not re.search(r"\d\.\d", " ".join(document["reasons"]))
    assert not list(tmp_path.glob("*.mask.png")) and not list(tmp_path.glob("*.cam.png"))
    with Screener(load_bundle(trained.bundle)) as localising:
        told = {
            path.stem: localising.screen(read_radiograph(path)).decision for path in films.iterdir()
        }
    assert {Path(d["source"]["file"]).stem: d["decision"] for d in documents} == told


def test_boxes_in_millimetres_and_pictures_of_mask_and_map(
    trained: Trained, tmp_path: Path
) -> None:
    files = sorted((trained.dataset / "images").iterdir())[:40]
    must(
        osteoedge("screen", *files, "--bundle", trained.bundle, "--out", tmp_path,
                  "--write", "json,mask,cam")
    )  # fmt: skip
    marked = 0
    for file in files:
        radiograph = read_radiograph(file)
        assert radiograph.pixel_spacing_mm is not None
        down, across = radiograph.pixel_spacing_mm
        document = json.loads((tmp_path / f"{file.stem}.json").read_text())
        for lesion in document["lesions"]:
            marked += 1
            x0, y0, x1, y1 = lesion["box"]
            scaled = (x0 * across, y0 * down, x1 * across, y1 * down)
            assert lesion["box_mm"] == pytest.approx(scaled, abs=0.1)
        mask = cv2.imread(str(tmp_path / f"{file.stem}.mask.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == radiograph.display.shape
        assert set(np.unique(mask)) <= {0, 255}
        assert (mask > 0).any() == bool(document["lesions"])
        assert cv2.imread(str(tmp_path / f"{file.stem}.cam.png")) is not None
    assert marked


def test_what_is_known_beside_the_film_wins_over_its_header(trained: Trained) -> None:
    radiograph = read_radiograph(sorted((trained.dataset / "images").iterdir())[0])
    with Screener(load_bundle(trained.bundle)) as screener:
        assert screener.screen(radiograph, PatientContext()) is not None
        plain = screener.screen(radiograph).context
        told = screener.screen(radiograph, PatientContext(age_years=15, sex="F", body_part="KNEE"))
    takes = set(plain.used) | set(plain.missing)
    assert set(told.context.used) == takes & {"age", "sex", "region"}


@pytest.mark.data
def test_no_output_of_fractures_and_implants_sounds_like_an_all_clear(
    local_data: Path, trained: Trained, tmp_path: Path
) -> None:
    """A film without a tumour is not a film without a finding."""
    table = pd.read_csv(local_data / "fracatlas" / "fracatlas.csv")
    chosen = table[(table["fractured"] == 1) | (table["hardware"] == 1)]
    images = local_data / "fracatlas" / "images"
    films = [images / f"{name}.jpg" for name in chosen["image_id"]]
    out = tmp_path / "out"
    result = osteoedge(
        "screen", *films, "--bundle", trained.bundle, "--out", out, "--write", "json"
    )
    said = result.stdout + "".join(path.read_text() for path in out.glob("*.json"))
    assert len(list(out.glob("*.json"))) == len(films)
    text = said.lower().replace(STANDING_SENTENCE.lower(), "")
    assert not [word for word in VERDICTS if re.search(rf"\b{word}\b", text)]


def test_what_cannot_be_read_or_drawn_stops_nothing(
    films: Path, trained: Trained, tmp_path: Path
) -> None:
    """A file without bytes has no document; a film without picture has no file to look at."""
    (tmp_path / "loop.dcm").symlink_to("loop.dcm")
    result = osteoedge(
        "screen", tmp_path / "loop.dcm", films / "picture.png", "--bundle", trained.bundle,
        "--out", tmp_path / "out", "--write", "cam,mask", "--intended-use", "triage",
    )  # fmt: skip
    assert result.returncode == 1
    assert "loop.dcm: cannot be read" in result.stderr
    assert "1 screened, 1 failed" in result.stdout
    assert "Traceback" not in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bomb_is_refused_and_named_without_being_inflated(tmp_path: Path) -> None:
    """What a file is called in its result stands before the pixels: these are not inflated."""
    bomb = film(SOPInstanceUID="1.2.3", StudyInstanceUID="1.2.4")
    bomb.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    bomb.PixelData = bytes(300 * 2**20)
    path = save(bomb, tmp_path / "bomb.dcm")
    with pytest.raises(UnsupportedRadiographError, match="a deflated file of more than"):
        read_radiograph(path)
    tracemalloc.start()
    source = source_of(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20
    assert (source.sop_instance_uid, source.study_instance_uid) == ("1.2.3", "1.2.4")
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
