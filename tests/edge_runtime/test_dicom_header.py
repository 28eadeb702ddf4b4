"""What a header says of a film: spacing, age, sex and body part, and how it says nothing."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.sr import codedict

from edge_runtime.context import coarse_region
from edge_runtime.radiograph import Radiograph, read_radiograph
from tests.edge_runtime.codings import as_file
from tests.edge_runtime.films import film

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def read(**attributes: object) -> Radiograph:
    return read_radiograph(film(**attributes))


SPACINGS = [
    # Of the detector, and nothing else.
    ({"ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2)),
    ({"PixelSpacing": [0.15, 0.15]}, (0.15, 0.15)),
    # A spacing other than the detector's was calibrated; one that says how, too.
    ({"PixelSpacing": [0.15, 0.15], "ImagerPixelSpacing": [0.2, 0.2]}, (0.15, 0.15)),
    (
        {
            "PixelSpacing": [0.2, 0.2],
            "ImagerPixelSpacing": [0.2, 0.2],
            "PixelSpacingCalibrationType": "FIDUCIAL",
            "EstimatedRadiographicMagnificationFactor": 1.25,
        },
        (0.2, 0.2),
    ),
    # Magnification brings the detector's down to the bone's, also where it is repeated.
    (
        {"ImagerPixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": 1.25},
        (0.16, 0.08),
    ),
    (
        {
            "PixelSpacing": [0.2, 0.2],
            "ImagerPixelSpacing": [0.2, 0.2],
            "EstimatedRadiographicMagnificationFactor": 1.25,
        },
        (0.16, 0.16),
    ),
    (
        {"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": 0},
        (0.2, 0.2),
    ),
    ({"NominalScannedPixelSpacing": [0.175, 0.175]}, (0.175, 0.175)),
    # Rows come first (PS3.3 10.7.1.3).
    ({"PixelSpacing": [0.3, 0.1]}, (0.3, 0.1)),
    # Absurd ones say nothing.
    ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2)),
    ({"PixelSpacing": [-1, 1]}, None),
    ({"PixelSpacing": [1000, 1000]}, None),
    ({"PixelSpacing": [0.2]}, None),
    ({"PixelSpacing": [0.2, 0.2, 0.2]}, None),
    ({"PixelAspectRatio": [1, 1]}, None),
    ({}, None),
]


@pytest.mark.parametrize(("attributes", "spacing"), SPACINGS)
def test_pixel_spacing(attributes: dict[str, object], spacing: tuple[float, float] | None) -> None:
    assert read(**attributes).pixel_spacing_mm == pytest.approx(spacing)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({}, "no pixel spacing"),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, "sizes are magnified"),
        ({"PixelSpacing": [0.2, 0.1]}, "not square"),
        ({"PixelAspectRatio": [4, 3]}, "not square"),
    ],
)
def test_what_spacing_does_not_say_is_noted(attributes: dict[str, object], words: str) -> None:
    assert any(words in note for note in read(**attributes).notes)


@pytest.mark.parametrize(
    ("attributes", "age"),
    [
        ({"PatientAge": "045Y"}, 45.0),
        ({"PatientAge": "45Y"}, 45.0),
        ({"PatientAge": "007M"}, 0.58),
        ({"PatientAge": "024W"}, 0.46),
        ({"PatientAge": "003D"}, 0.01),
        ({"PatientAge": "000Y"}, 0.0),
        ({"PatientAge": "45"}, None),
        ({"PatientAge": "-01Y"}, None),
        ({"PatientAge": ""}, None),
        ({"PatientAge": "999Y", "PatientBirthDate": "20000101", "StudyDate": "20200101"}, 20.0),
        ({"PatientBirthDate": "2000.01.01", "StudyDate": "2020.01.01"}, 20.0),
        ({"PatientBirthDate": "20000101", "AcquisitionDate": "20200101"}, 20.0),
        ({"PatientBirthDate": "20000101", "StudyDate": "19990101"}, None),
        ({"PatientBirthDate": "20001399", "StudyDate": "20200101"}, None),
        ({"PatientBirthDate": "2000", "StudyDate": "2020"}, None),
        ({"PatientBirthDate": "18000101", "StudyDate": "20200101"}, None),
    ],
)
def test_age(attributes: dict[str, object], age: float | None) -> None:
    assert read(**attributes).age_years == age


@pytest.mark.parametrize("digits", ["²000", "٢٠٠٠", "\xff\xfe\xfd\xfc"])
def test_digits_of_other_scripts_are_no_date(digits: str) -> None:
    """Python takes them for digits; written as bytes, they are what a broken writer leaves."""
    data = as_file(film(PatientBirthDate="20000101", StudyDate="20200101", PatientAge="045Y"))
    for old in (b"20000101", b"045Y"):
        data = data.replace(old, digits.encode("utf-8")[: len(old)].ljust(len(old), b"0"))
    assert read_radiograph(data).age_years is None


@pytest.mark.parametrize(
    ("written", "sex"),
    [("F", "F"), ("m ", "M"), ("O", "O"), ("", None), ("male", None), (["M", "F"], "M")],
)
def test_sex(written: object, sex: str | None) -> None:
    assert read(PatientSex=written).sex == sex


def region(value: str, scheme: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "Knie"
    return item


def test_the_region_code_stands_in_for_the_body_part() -> None:
    assert read(AnatomicRegionSequence=[region("72696002", "SCT")]).body_part == "KNEE"
    assert read(AnatomicRegionSequence=[region("T-D9200", "SRT")]).body_part == "KNEE"
    assert read(AnatomicRegionSequence=[region("51185008", "SCT")]).body_part is None
    both = read(BodyPartExamined="HAND", AnatomicRegionSequence=[region("72696002", "SCT")])
    assert both.body_part == "HAND"
    assert read(BodyPartExamined="", AnatomicRegionSequence=[]).body_part is None


@pytest.mark.parametrize(
    "keyword",
    [
        *("UpperLimb", "Clavicle", "Scapula", "Shoulder", "Humerus", "UpperArm", "ElbowJoint"),
        *("Forearm", "Ulna", "WristJoint", "Hand", "Finger", "Thumb", "LowerLimb", "Thigh"),
        *("Femur", "Knee", "KneeJoint", "Patella", "LowerLeg", "Tibia", "Fibula", "AnkleJoint"),
        *("Foot", "Calcaneus", "Toe", "Pelvis", "Hip", "HipJoint", "Ilium", "TibiaAndFibula"),
        "RadiusAndUlna",
    ],
)
def test_region_codes_are_those_of_the_dictionary(keyword: str) -> None:
    code = getattr(codedict.codes.SCT, keyword)
    part = read(AnatomicRegionSequence=[region(code.value, "SCT")]).body_part
    assert part is not None
    assert coarse_region(part) is not None
    assert part in {
        letters := keyword.upper().replace("AND", "") if "And" in keyword else keyword.upper(),
        letters.removesuffix("JOINT"),
    }


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "山田^太郎"),
        ("ISO_IR 100", "Äneas^Rüdiger"),
        ("ISO_IR 144", "Люкceмбypг"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ("GB18030", "王^小东"),
    ],
)
def test_names_in_other_scripts(charset: object, name: str) -> None:
    radiograph = read(SpecificCharacterSet=charset, PatientName=name, BodyPartExamined="KNEE")
    assert radiograph.body_part == "KNEE"
    assert not any(name in str(value) for value in vars(radiograph).values())


@pytest.mark.parametrize(
    "charset", [b"ISO_IR 999", b"UTF-8     ", b"\xff\xfe\xff\xfe", b"\\\\\\\\"]
)
def test_character_sets_that_are_wrong(charset: bytes) -> None:
    data = as_file(film(SpecificCharacterSet="ISO_IR 192", PatientName="山田^太郎"))
    wrong = data.replace(b"ISO_IR 192", charset.ljust(10))
    assert read_radiograph(wrong).display.shape == (80, 100)


def test_values_that_cannot_be_read_say_nothing() -> None:
    """Numbers where text is due and text where numbers are due, written past pydicom's checks."""
    data = as_file(
        film(
            PatientAge="045Y",
            PixelSpacing=[0.2, 0.2],
            WindowCenter="500",
            WindowWidth="1000",
            InstanceNumber="7",
        )
    )
    for old, new in ((b"045Y", b"\xff\xfe\0Y"), (b"0.2\\0.2 ", b"0,2 mm  "), (b"500 ", b"half")):
        assert old in data
        data = data.replace(old, new)
    radiograph = read_radiograph(data)
    assert (radiograph.age_years, radiograph.pixel_spacing_mm) == (None, None)
    assert "no window or VOI LUT in the header shows anything" in radiograph.notes[0]
