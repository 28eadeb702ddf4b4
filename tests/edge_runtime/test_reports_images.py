"""The overlay as Secondary Capture, and the marked area as Segmentation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import highdicom as hd
import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from edge_runtime import read_radiograph
from edge_runtime.decision import to_film
from edge_runtime.errors import RadiographError, ResultError, UnsupportedRadiographError
from edge_runtime.preprocess import place
from edge_runtime.radiograph import read_header
from edge_runtime.reports.capture import MAX_BYTES, secondary_capture
from edge_runtime.reports.overlay import draw_overlay
from edge_runtime.reports.segmentation import lesion_segmentation
from edge_runtime.reports.study import ReportedFilm
from edge_runtime.reports.wording import HEADLINES
from edge_runtime.screening import STANDING_SENTENCE, Screening
from tests.edge_runtime.films import ramp
from tests.edge_runtime.screenings import (
    MADE_AT,
    SPEC,
    STUDY,
    hospital_film,
    named,
    report,
    reread,
    screening,
    triage,
    with_raw,
)
from tests.edge_runtime.test_reports_structured import BROKEN, POOR


def captured(header: Dataset, of: Screening, revision: int = 1) -> Dataset:
    radiograph = read_radiograph(header)
    return secondary_capture(header, radiograph, of, SPEC, named("sc", of), revision=revision)


def size(result: Dataset) -> int:
    buffer = io.BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    return len(buffer.getvalue())


def test_a_capture_passes_the_validator_and_shows_the_overlay(tmp_path: Path) -> None:
    header, told = hospital_film(), screening()
    result = reread(captured(header, told), tmp_path)
    shown = cv2.cvtColor(draw_overlay(read_radiograph(header), told, SPEC), cv2.COLOR_BGR2RGB)
    assert result.pixel_array.shape == shown.shape
    difference = np.abs(result.pixel_array.astype(int) - shown.astype(int))
    assert difference.mean() < 3.0, "JPEG, and nothing else"
    assert (result.ConversionType, result.Modality) == ("WSD", "OT")
    assert list(result.ImageType[:2]) == ["DERIVED", "SECONDARY"]
    assert STANDING_SENTENCE in result.DerivationDescription
    assert result.SeriesDescription == "osteoedge bone-tumour check, not a normal report"
    (source,) = result.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == header.SOPInstanceUID
    assert source.ReferencedSOPClassUID == header.SOPClassUID
    assert result.StudyInstanceUID == STUDY
    assert result.PatientName == header.PatientName
    assert result.LossyImageCompression == "01"
    assert str(result.DateOfSecondaryCapture) == MADE_AT.strftime("%Y%m%d")


def test_the_band_says_the_decision_the_sentence_and_the_revision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is burned in is what is written with OpenCV."""
    written: list[str] = []
    put = cv2.putText

    def record(picture: Any, text: str, *rest: Any) -> Any:
        written.append(text)
        return put(picture, text, *rest)

    monkeypatch.setattr(cv2, "putText", record)
    captured(hospital_film(), screening(synthetic=True), revision=3)
    assert HEADLINES["urgent_review"] in written
    assert any(STANDING_SENTENCE in words for words in written)
    assert any(words.startswith("SYNTHETIC") for words in written)
    assert "Revision 3. Supersedes revision 2" in written
    assert any("malignant 81.0%" in words for words in written)
    written.clear()
    sure = {"no_tumour": 0.9996, "benign": 0.0003, "malignant": 0.0001}
    captured(hospital_film(), screening(probabilities=sure, tumour_probability=0.996))
    assert "tumour 99.6%   malignant <0.1%" in written, "no picture says that it is certain"
    written.clear()
    captured(hospital_film(), triage())
    assert HEADLINES["urgent_review"] in written
    assert not [words for words in written if "%" in words]
    assert not [words for words in written if "upersedes" in words]


def test_the_most_detailed_film_there_can_be_stays_below_the_limit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4096, (1500, 1200)).astype(np.uint16)
    for pixels in (noise, noise[:200], noise[:, :64]):
        result = captured(hospital_film_of(pixels), screening(lesions=(), mask=None))
        assert size(result) <= MAX_BYTES
        assert result.Columns >= 640, "room for words that can be read"
    reread(result, tmp_path)


def hospital_film_of(pixels: npt.NDArray[np.uint16]) -> Dataset:
    rows, columns = pixels.shape
    return hospital_film(PixelData=pixels.tobytes(), Rows=rows, Columns=columns)


@pytest.mark.parametrize(("film", "picture"), [("NO", "NO"), ("YES", "YES"), (None, "YES")])
def test_burned_in_names_of_the_film_are_declared(film: str | None, picture: str) -> None:
    header = hospital_film(BurnedInAnnotation=film)
    assert captured(header, screening()).BurnedInAnnotation == picture


@pytest.mark.parametrize("decision", sorted(HEADLINES))
def test_a_capture_that_comes_back_is_not_screened_as_a_film(decision: Any, tmp_path: Path) -> None:
    """A PACS may send a study's pictures to the unit; the band's colour tells ours."""
    told = screening(decision=decision, lesions=(), mask=None)
    path = tmp_path / "capture.dcm"
    captured(hospital_film(), told).save_as(path, enforce_file_format=True)
    with pytest.raises(UnsupportedRadiographError):
        read_radiograph(path)


def test_a_segmentation_is_the_mask_at_the_films_size(tmp_path: Path) -> None:
    header, told = hospital_film_of(ramp(300, 200)), screening()
    result = lesion_segmentation(header, told, SPEC, named("seg", told))
    assert result is not None and told.mask is not None
    path = tmp_path / "result.dcm"
    reread(result, tmp_path)
    read = hd.seg.segread(path)
    assert np.array_equal(read.pixel_array, to_film(told.mask, place((300, 200), SPEC), SPEC))
    assert read.segmentation_type is hd.seg.SegmentationTypeValues.BINARY
    (uids,) = read.get_source_image_uids()
    assert uids[0] == STUDY and uids[2] == header.SOPInstanceUID
    segment = read.get_segment_description(1)
    assert segment.algorithm_type is hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC
    assert segment.segmented_property_type.meaning == "Lesion"
    assert "FrameOfReferenceUID" not in read
    assert read.SeriesDescription == "osteoedge bone-tumour check, not a normal report"


def test_a_deflated_segmentation_is_small_and_the_same(tmp_path: Path) -> None:
    header, told = hospital_film_of(ramp(2000, 1600)), screening()
    result = lesion_segmentation(header, told, SPEC, named("seg", told))
    assert result is not None
    pixels, plain = result.pixel_array, size(result)
    result.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = tmp_path / "deflated.dcm"
    result.save_as(path, enforce_file_format=True)
    assert path.stat().st_size < 10_000 < 400_000 < plain
    assert np.array_equal(dcmread(path).pixel_array, pixels)


def test_nothing_marked_is_no_segmentation() -> None:
    for told in (screening(mask=np.zeros((56, 56), np.uint8)), screening(mask=None), triage()):
        assert lesion_segmentation(hospital_film(), told, SPEC, named("seg", told)) is None


@pytest.mark.parametrize("missing", POOR)
def test_a_poor_header_still_makes_valid_images(missing: str, tmp_path: Path) -> None:
    header, told = hospital_film(**POOR[missing]), screening()
    reread(captured(header, told), tmp_path)
    marked = lesion_segmentation(header, told, SPEC, named("seg", told))
    assert marked is not None
    reread(marked, tmp_path)


@pytest.mark.parametrize("keyword", ["PatientOrientation", "PatientID", "StudyDate"])
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_broken_value_is_not_handed_on(keyword: str, tmp_path: Path) -> None:
    header = with_raw(hospital_film(), keyword, BROKEN[keyword])
    told = screening()
    marked = lesion_segmentation(header, told, SPEC, named("seg", told))
    assert marked is not None
    for result in (captured(header, told), marked):
        assert not reread(result, tmp_path)[keyword].value, "there, and empty"


def test_the_same_work_is_the_same_bytes(tmp_path: Path) -> None:
    header, told = hospital_film(), screening()
    files = []
    for attempt in ("one", "two"):
        marked = lesion_segmentation(header, told, SPEC, named("seg", told))
        assert marked is not None
        for name, result in (("sc", captured(header, told)), ("seg", marked)):
            result.save_as(tmp_path / f"{attempt}.{name}", enforce_file_format=True)
        files.append([(tmp_path / f"{attempt}.{name}").read_bytes() for name in ("sc", "seg")])
    assert files[0] == files[1]


@pytest.mark.data
def test_real_films_make_valid_small_results(local_data: Path, tmp_path: Path) -> None:
    done = 0
    for path in sorted((local_data / "dicom" / "radiographs").iterdir()):
        try:
            radiograph, header = read_radiograph(path), read_header(path)
        except RadiographError:
            continue
        told = screening()
        try:
            capture = secondary_capture(header, radiograph, told, SPEC, named("sc", told))
        except ResultError as error:
            assert "InstanceUID" in str(error)
            continue
        assert size(capture) <= MAX_BYTES
        reread(capture, tmp_path)
        marked = lesion_segmentation(header, told, SPEC, named("seg", told))
        assert marked is not None
        reread(marked, tmp_path)
        reread(report(ReportedFilm(header, told)), tmp_path)
        done += 1
    assert done >= 10


def test_the_order_comes_along_as_far_as_it_is_whole(tmp_path: Path) -> None:
    whole, nameless = Dataset(), Dataset()
    whole.CodeValue, whole.CodingSchemeDesignator, whole.CodeMeaning = "73560", "C4", "Knee"
    nameless.CodeValue = "73560"
    orders = []
    for number, code in enumerate((whole, nameless), 1):
        order = Dataset()
        order.RequestedProcedureID, order.ScheduledProcedureStepID = f"RP{number}", f"S{number}"
        order.RequestedProcedureCodeSequence = [code]
        orders.append(order)
    header, told = hospital_film(RequestAttributesSequence=orders), screening()
    marked = lesion_segmentation(header, told, SPEC, named("seg", told))
    assert marked is not None
    for result in (captured(header, told), marked):
        copied = reread(result, tmp_path).RequestAttributesSequence
        assert [item.RequestedProcedureID for item in copied] == ["RP1", "RP2"]
        assert [item.ScheduledProcedureStepID for item in copied] == ["S1", "S2"]
        assert copied[0].RequestedProcedureCodeSequence[0].CodeMeaning == "Knee"
        assert "RequestedProcedureCodeSequence" not in copied[1]
    first, second = reread(report(ReportedFilm(header, told)), tmp_path).ReferencedRequestSequence
    assert first.RequestedProcedureCodeSequence[0].CodeMeaning == "Knee"
    assert (second.RequestedProcedureID, second.AccessionNumber) == ("RP2", "A123")
