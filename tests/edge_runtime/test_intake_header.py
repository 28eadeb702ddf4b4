"""Which film a file is: told from its header alone, however damaged the rest."""

from __future__ import annotations

import hashlib
import resource
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from edge_runtime.errors import CorruptRadiographError, NotARadiographError, RadiographError
from edge_runtime.intake.header import identify
from edge_runtime.spool.admission import FilmIdentity
from tests.edge_runtime.codings import LOSSLESS, LOSSY, as_file
from tests.edge_runtime.films import film, save


def identified(path: Path) -> tuple[FilmIdentity, str]:
    found, digest = identify(path)
    assert isinstance(found, FilmIdentity), found
    return found, digest


def test_a_film_says_which_it_is(tmp_path: Path) -> None:
    dataset = film(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4")
    found, _ = identified(save(dataset, tmp_path / "film"))
    assert found.sop_class_uid == uid.DigitalXRayImageStorageForPresentation
    assert found.sop_instance_uid == dataset.SOPInstanceUID
    assert (found.study_instance_uid, found.series_instance_uid) == ("1.2.3", "1.2.4")
    assert found.urgency == 2


def test_without_a_study_it_is_its_own(tmp_path: Path) -> None:
    for attributes in ({}, {"StudyInstanceUID": ""}):
        dataset = film(**attributes)
        found, _ = identified(save(dataset, tmp_path / "film"))
        assert found.study_instance_uid == found.series_instance_uid == dataset.SOPInstanceUID


@pytest.mark.parametrize(
    ("keyword", "value", "urgency"),
    [
        ("RequestedProcedurePriority", "STAT", 0),
        ("RequestedProcedurePriority", "high", 1),
        ("StudyPriorityID", "HIGH", 1),
        ("RequestedProcedurePriority", "LOW", 2),
        ("RequestedProcedurePriority", "?", 2),
    ],
)
def test_urgency_as_requested(keyword: str, value: str, urgency: int, tmp_path: Path) -> None:
    found, _ = identified(save(film(**{keyword: value}), tmp_path / "film"))
    assert found.urgency == urgency


def test_another_patient_is_another_hash(tmp_path: Path) -> None:
    hashes = {
        identified(save(film(**patient), tmp_path / "film"))[0].patient_sha256
        for patient in (
            {}, {"PatientID": "1"}, {"PatientID": "2"}, {"PatientName": "Other^One"},
            {"PatientBirthDate": "20000101"}, {"PatientSex": "F"}, {"IssuerOfPatientID": "X"},
        )
    }  # fmt: skip
    assert len(hashes) == 7
    # The rest of the header is not the patient.
    again = identified(save(film(PatientID="1", StudyDate="20240101"), tmp_path / "film"))[0]
    assert again.patient_sha256 in hashes


@pytest.mark.parametrize("coding", [*LOSSLESS, *LOSSY])
def test_the_hash_is_of_syntax_and_data_set(coding: str, tmp_path: Path) -> None:
    dataset = {**LOSSLESS, **LOSSY}[coding]()
    path, data = tmp_path / "film", as_file(dataset)
    path.write_bytes(data)
    start = 144 + struct.unpack("<L", data[140:144])[0]
    expected = hashlib.sha256(dataset.file_meta.TransferSyntaxUID.encode() + data[start:])
    assert identified(path)[1] == expected.hexdigest()
    # Other file meta information is the same film; another bit of it is not.
    dataset.file_meta.ImplementationVersionName = "ANOTHER"
    path.write_bytes(as_file(dataset))
    assert identified(path)[1] == expected.hexdigest()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert identified(path)[1] != expected.hexdigest()


def test_without_preamble_it_is_the_same(tmp_path: Path) -> None:
    path = save(film(), tmp_path / "film")
    whole = identified(path)
    data = path.read_bytes()
    path.write_bytes(data[132:])
    assert identified(path) == whole
    path.write_bytes(data[144 + struct.unpack("<L", data[140:144])[0] :])
    assert identified(path) == whole


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotARadiographError),
        (b"no DICOM" * 100, NotARadiographError),
        (b"\x89PNG\r\n\x1a\n" + bytes(300), NotARadiographError),
        (bytes(128) + b"DICM", CorruptRadiographError),
        (bytes(128) + b"DICM" + b"\xff" * 500, RadiographError),
        (bytes(128) + b"DICM" + bytes(5_000_000), RadiographError),
    ],
    ids=["empty", "text", "PNG", "preamble", "ones", "zeros"],
)
def test_what_is_not_understood(data: bytes, error: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    found, digest = identify(path)
    assert isinstance(found, error)
    assert digest == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize(
    "value", ["", "1.2\n3", "1" * 65, "é"], ids=["empty", "two", "long", "odd"]
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_no_film_without_a_name(keyword: str, value: str, tmp_path: Path) -> None:
    dataset = film()
    meta = dataset.file_meta
    setattr(dataset, keyword, value)
    dataset.file_meta = meta
    path = tmp_path / "film"
    dataset.save_as(path, enforce_file_format=False)
    found, _ = identify(path)
    assert isinstance(found, RadiographError)


def test_a_value_that_claims_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.file_meta = film().file_meta
    dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    path = tmp_path / "film"
    dataset.save_as(path, enforce_file_format=True)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with path.open("ab") as file:
        # SOP Class UID of 4 GiB.
        file.write(struct.pack("<HHL", 8, 0x16, 0xFFFFFFF0) + b"1.2")
    found, _ = identify(path)
    assert isinstance(found, RadiographError)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 64 << 10


def test_a_deflated_bomb_takes_no_memory(tmp_path: Path) -> None:
    dataset = film()
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    empty = Dataset()
    empty.file_meta = dataset.file_meta
    path = tmp_path / "film"
    empty.save_as(path, enforce_file_format=True)
    deflater = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    head = b"\x08\x00\x16\x00UI\x04\x001.2\0\x08\x00\x18\x00UI\x04\x001.3\0"
    # A private value that is nearly all of it.
    head += struct.pack("<HH2s2xL", 9, 0x1010, b"OB", 64 << 20)
    bomb = deflater.compress(head)
    for _ in range(64):
        bomb += deflater.compress(bytes(1 << 20))
    path.write_bytes(path.read_bytes()[: -len(b"\x03\0")] + bomb + deflater.flush())
    tracemalloc.start()
    found, _ = identify(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20
    assert isinstance(found, FilmIdentity)
    assert found.sop_instance_uid == "1.3"
