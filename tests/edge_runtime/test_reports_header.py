"""Names come out of a result as they went into the film."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from edge_runtime.dicom_file import PROJECTION_CLASSES
from edge_runtime.errors import RadiographError, ResultError
from edge_runtime.radiograph import read_header, read_radiograph
from edge_runtime.rejection import parse_rejection_note
from edge_runtime.reports.capture import secondary_capture
from edge_runtime.reports.header import read_source
from edge_runtime.reports.study import ReportedFilm
from tests.edge_runtime.films import save
from tests.edge_runtime.screenings import (
    SPEC,
    STUDY,
    hospital_film,
    named,
    report,
    reread,
    screening,
    with_raw,
)

# PS3.5 annexes H to K have names in these, of Yamada Tarou, Hong Gildong, Lyuksemburg and others.
NAMES = {
    "japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "half-width kana": (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    "korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "chinese": (["GB18030"], "Wang^XiaoDong=王^小东"),
    "thai": (["ISO_IR 166"], "สมชาย^ใจดี"),
    "cyrillic": (["ISO_IR 144"], "Люксембург^Роза"),
    "greek": (["ISO_IR 126"], "Διονυσιος"),
    "latin": (["ISO_IR 100"], "Äneas^Rüdiger"),
    "utf-8": (["ISO_IR 192"], "Wang^XiaoDong=王^小東=ﾔﾏﾀﾞ^홍"),
    "ascii": ([], "Doe^Jane"),
}


def as_sent(character_set: list[str], name: str) -> Dataset:
    """A film's header, written and read again, so that its name is coded."""
    header = hospital_film(
        SpecificCharacterSet=character_set or None,
        PatientName=name,
        StudyDescription=name.rpartition("=")[2].replace("^", " "),
    )
    buffer = io.BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer, stop_before_pixels=True)


@pytest.mark.parametrize("language", NAMES)
def test_names_and_their_character_set_are_kept(language: str, tmp_path: Path) -> None:
    character_set, name = NAMES[language]
    header = as_sent(character_set, name)
    sent = header["PatientName"].value
    assert str(sent) == name, "the test's own film"
    result = reread(report(ReportedFilm(header, screening())), tmp_path)
    assert str(result.PatientName) == name
    assert result.StudyDescription == name.rpartition("=")[2].replace("^", " ")
    assert result.get("SpecificCharacterSet") == header.get("SpecificCharacterSet")
    coded = result["PatientName"].value.original_string
    assert coded == sent.original_string, "to the byte"


@pytest.mark.parametrize(
    ("character_set", "bundle"),
    [([], "knee"), (["ISO_IR 6"], "knee"), (["ISO_IR 100"], "колено"), (["ISO IR 100"], "knee")],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_text_that_its_character_set_does_not_have_becomes_utf_8(
    character_set: list[str], bundle: str, tmp_path: Path
) -> None:
    """A film may be silent about its Latin letters, or name its character set wrongly."""
    told = screening()
    told = told.model_copy(update={"bundle": told.bundle.model_copy(update={"name": bundle})})
    header = as_sent(["ISO_IR 100"], "Müller^Jörg")
    header.SpecificCharacterSet = character_set
    result = reread(report(ReportedFilm(header, told)), tmp_path)
    assert result.SpecificCharacterSet == "ISO_IR 192"
    assert str(result.PatientName) == "Müller^Jörg"


def test_a_coding_that_pydicom_does_not_write_becomes_utf_8(tmp_path: Path) -> None:
    """The name of PS3.5 K.2."""
    coded = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab= "
    header = hospital_film(SpecificCharacterSet=["", "ISO 2022 IR 58"])
    path = tmp_path / "film.dcm"
    with_raw(header, "PatientName", coded).save_as(path, enforce_file_format=True)
    result = reread(report(ReportedFilm(read_header(path), screening())), tmp_path)
    assert result.SpecificCharacterSet == "ISO_IR 192"
    assert str(result.PatientName) == "Zhang^XiaoDong=张^小东"


SCRIPTS = {
    "ISO_IR 144": "АБВГДежзиклмнопрстуфхцчшщъыьэюя",
    "ISO_IR 101": "ąĄćĆłŁéäöüß",
    "ISO_IR 192": "山田太郎やまだАБВé홍",
    "GB18030": "王小东李明",
    "": "abcXYZ",
}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), declared=st.sampled_from(sorted(SCRIPTS)))
def test_any_name_that_a_film_can_code_comes_back(data: st.DataObject, declared: str) -> None:
    part = st.text(SCRIPTS[declared] + "abc'-", min_size=1, max_size=12)
    name = "^".join(data.draw(st.lists(part, min_size=1, max_size=5)))
    header = as_sent([declared] if declared else [], name)
    result = report(ReportedFilm(header, screening(lesions=())))
    buffer = io.BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    assert str(dcmread(buffer).PatientName) == name


def test_no_name_is_in_a_warning_and_no_uid_in_the_log(
    recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """highdicom quotes names without caret in warnings, and logs what it copies, and whence."""
    caplog.set_level("DEBUG")
    header = as_sent([], "Mononymous")
    header.ReferringPhysicianName = "Drwhatsit"
    report(ReportedFilm(header, screening()))
    secondary_capture(
        header, read_radiograph(hospital_film()), screening(), SPEC, named("sc", screening())
    )
    said = " ".join(str(warning.message) for warning in recwarn)
    assert "Mononymous" not in said and "Drwhatsit" not in said
    assert "Mononymous" not in caplog.text and header.SOPInstanceUID not in caplog.text


def test_every_class_that_films_have_can_be_referred_to() -> None:
    """highdicom knows the modules of each, or would fail with a KeyError."""
    for sop_class in PROJECTION_CLASSES:
        header = hospital_film(SOPClassUID=sop_class)
        assert report(ReportedFilm(header, screening())).SOPInstanceUID


def test_a_header_is_read_without_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    hospital_film(SOPClassUID=ComputedRadiographyImageStorage).save_as(
        path, enforce_file_format=True
    )
    header = read_header(path)
    assert "PixelData" not in header
    source = read_source(header, path.name)
    assert source.image.SOPClassUID == ComputedRadiographyImageStorage
    assert (source.image.Rows, source.image.Columns) == (80, 100)


def test_the_pixels_of_a_header_stay_on_the_disk(tmp_path: Path) -> None:
    path = save(hospital_film(PixelData=bytes(16 << 20)), tmp_path / "film.dcm")
    tracemalloc.start()
    header = read_header(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert header.PatientID == "4711"
    assert peak < 1 << 20


def test_a_film_of_no_class_has_a_header_all_the_same(tmp_path: Path) -> None:
    """Without a preamble, its pixels are what tells that it is a film; it is screened as one."""
    path, dataset = tmp_path / "film.dcm", hospital_film(SOPClassUID=None)
    del dataset.file_meta
    dcmwrite(path, dataset, implicit_vr=False, little_endian=True)
    assert read_radiograph(path).study_instance_uid == STUDY
    assert read_header(path).StudyInstanceUID == STUDY


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_real_and_malformed_headers_make_valid_reports_or_one_error(
    local_data: Path, tmp_path: Path
) -> None:
    made = refused = 0
    for path in sorted((local_data / "dicom").rglob("*.dcm")):
        try:
            header = read_header(path)
            result = report(ReportedFilm(header, screening()))
        except (RadiographError, ResultError):
            refused += 1
            continue
        result = reread(result, tmp_path)
        assert str(result.PatientName) == str(header.get("PatientName", "")), path.name
        assert parse_rejection_note(header, path.name) is None
        made += 1
    assert made >= 20 and refused >= 50
