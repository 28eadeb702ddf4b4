"""What is known of a patient beside the pixels, in the words that a fusion of heads was fitted to.

Age in bands, because tumours have ages (osteosarcoma in the second decade, metastases and myeloma
late) and no slope over a lifetime fits them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.radiograph import Radiograph

AGE_BANDS = ((60, "60+"), (40, "40-59"), (20, "20-39"), (10, "10-19"), (0, "0-9"))
"""Youngest age in years and name of each band, oldest first."""

REGIONS = ("upper_limb", "lower_limb", "pelvis")
# Body Part Examined (PS3.16, annex L, table L-1), spaces and underscores left out.
_PARTS = {
    "upper_limb": "UPPERLIMB UPEXM ARM CLAVICLE SCAPULA SHOULDER HUMERUS UPPERARM ELBOW FOREARM "
    "RADIUS ULNA RADIUSULNA WRIST HAND FINGER THUMB",
    "lower_limb": "LOWERLIMB LOEXM LEG THIGH FEMUR UPPERLEG KNEE PATELLA LOWERLEG TIBIA FIBULA "
    "TIBIAFIBULA ANKLE FOOT CALCANEUS HEEL TOE",
    "pelvis": "PELVIS HIP HIPJOINT ILIUM SIJOINT",
}
_REGION_OF = {part: region for region, parts in _PARTS.items() for part in parts.split()}


def age_band(years: float) -> str:
    """Return the name of an age's band; ``years`` is 0 or more."""
    return next(name for youngest, name in AGE_BANDS if years >= youngest)


def coarse_region(body_part: str) -> str | None:
    """Return one of :data:`REGIONS`, or None for a part of the body that is in none of them.

    Parameters
    ----------
    body_part
        Body Part Examined of DICOM, or a region's name, in any case.
    """
    return _REGION_OF.get("".join(letter for letter in body_part.upper() if letter.isalpha()))


class PatientContext(BaseModel):
    """Facts about a patient that come from elsewhere than the film; None is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    age_years: float | None = Field(None, ge=0, le=120)
    sex: Literal["F", "M"] | None = None
    body_part: str | None = Field(None, description="Body Part Examined, or one of REGIONS")


def context_words(radiograph: Radiograph, known: PatientContext | None = None) -> dict[str, str]:
    """Return what is known: any of `age` (a band), `sex` (F or M) and `region`.

    Parameters
    ----------
    known
        Where it says something, it wins over the film.
    """
    film = words_of(radiograph.age_years, radiograph.sex, radiograph.body_part)
    if known is None:
        return film
    return film | words_of(known.age_years, known.sex, known.body_part)


def words_of(age_years: float | None, sex: str | None, body_part: str | None) -> dict[str, str]:
    """Return facts in words; what is unknown, or no word says, is left out.

    Parameters
    ----------
    age_years
        0 or more.
    sex
        F or M; anything else says nothing.
    body_part
        See :func:`coarse_region`.
    """
    words = {}
    if age_years is not None:
        words["age"] = age_band(age_years)
    if sex in {"F", "M"}:
        words["sex"] = sex
    if body_part and (region := coarse_region(body_part)):
        words["region"] = region
    return words
