"""What is known beside the pixels, from DICOM's words to those of a bundle."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime import decision
from edge_runtime.bundle import Fusion
from edge_runtime.context import AGE_BANDS, REGIONS, age_band, coarse_region, context_words
from edge_runtime.radiograph import read_radiograph
from tests.edge_runtime.films import film


@pytest.mark.parametrize(
    ("years", "band"), [(0.0, "0-9"), (9.9, "0-9"), (10, "10-19"), (39.5, "20-39"), (101, "60+")]
)
def test_age_bands(years: float, band: str) -> None:
    assert age_band(years) == band
    assert band in {name for _, name in AGE_BANDS}


@pytest.mark.parametrize(
    ("part", "region"),
    [
        ("KNEE", "lower_limb"),
        ("knee", "lower_limb"),
        ("LOWER LEG", "lower_limb"),
        ("Forearm", "upper_limb"),
        ("HIP", "pelvis"),
        ("CHEST", None),
        ("", None),
    ],
)
def test_body_parts_of_dicom_become_coarse_regions(part: str, region: str | None) -> None:
    assert coarse_region(part) == region


def test_a_coarse_region_is_its_own_word() -> None:
    assert [coarse_region(region) for region in REGIONS] == list(REGIONS)


def test_a_header_says_what_it_says() -> None:
    told = read_radiograph(film(PatientAge="014Y", PatientSex="F", BodyPartExamined="KNEE"))
    assert context_words(told) == {"age": "10-19", "sex": "F", "region": "lower_limb"}
    silent = read_radiograph(film(PatientSex="O", BodyPartExamined="CHEST", PatientAge=""))
    assert context_words(silent) == {}


def test_only_known_words_are_weighed() -> None:
    fusion = Fusion(
        cam=1.0, mask=(0, 0, 0), bias=(0, 0, 0),
        context={"age": {"10-19": (0.0, 0.5, 1.0)}, "sex": {"F": (0.0, -0.1, 0.2)}},
    )  # fmt: skip
    words = {"age": "10-19", "sex": "F", "region": "pelvis"}
    np.testing.assert_allclose(decision.context_logits(words, fusion), [0.0, 0.4, 1.2])
    assert decision.used_context(words, fusion) == {"age": "10-19", "sex": "F"}
    np.testing.assert_array_equal(decision.context_logits({"age": "60+"}, fusion), 0.0)
