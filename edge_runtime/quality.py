"""Is the film fit to be screened? Findings that a technologist can act on at once.

The findings are what reject analysis in hospitals knows (AAPM reports 151 and 305: positioning,
exposure, motion, blank and clipped images), as far as pixels tell them. ``docs/quality.md`` has how
many valid films each refuses, how much of each fault it sees, and what cannot be seen.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.film_measures import FilmMeasures, measure_film
from edge_runtime.phrases import Phrase, Value, remedy, say
from edge_runtime.radiograph import Radiograph

# Measured on 4,412 valid films: FracAtlas (1,500) and BTXRD, centre 1 (2,637) and centre 2 (275).
# "Least" and "most" are over all of them, "blurred" and the like as in docs/quality.md.

# Grey levels of 256. Least 0.94, for a film whose letter alone is bright; the beam alone, with a
# frame and a slope of brightness, stays below.
MIN_DETAIL = 0.8
# Most 1.44. Noise alone has 2.5 to 3.5.
MAX_GRAIN = 1.6
# Least 0.225 and 0.247 (FracAtlas), then 0.252; half of the films have more than 0.44. All but a
# few films fall below where blurred (sigma) by 2 pixels of 256.
MIN_SHARPNESS = 0.25
# Of the field most 0.68, air beside a knee; of the film 0.81, a shoulder in a small field.
MAX_BLACK, MAX_BLACK_FILM = 0.7, 0.85
# Most 0.30: three films whose shutters are white and askew; the next has 0.09. A limb of metal
# implants is not in these datasets, and must stay below.
MAX_WHITE = 0.15
# Of the film's side. Most 0.42 in one grey of any kind, 0.12 in one that is not air's.
MAX_EMPTY_BAND, MAX_MISSING_BAND = 0.55, 0.25
# Of films of parts that stand alone, least 0.03 in FracAtlas and 0.096 in BTXRD centre 2; in centre
# 1 two of 662 have less, both too dark to look at.
MIN_AIR = 0.012
# Most 2.5. Whole legs, stitched from three exposures, have 3.
MAX_ASPECT = 4.0
# Millimetres, of the longer side. No public film says its spacing, so these are no percentiles: a
# toe is collimated to 50, and a whole leg of a tall man is 1,300.
MIN_FIELD_MM, MAX_FIELD_MM = 40.0, 1500.0

# Body Part Examined (PS3.16, table L-1), where the word is what one says. Around those that stand
# alone there is air on a film; hips, shoulders and thighs may fill one.
_ALONE = {
    *("ELBOW", "FOREARM", "WRIST", "HAND", "FINGER", "THUMB"),
    *("KNEE", "PATELLA", "TIBIA", "FIBULA", "ANKLE", "FOOT", "HEEL", "TOE"),
}
_NAMED = _ALONE | {
    *("SHOULDER", "CLAVICLE", "SCAPULA", "HUMERUS", "ARM", "PELVIS", "HIP", "THIGH", "FEMUR", "LEG")
}


class QualityFinding(BaseModel):
    """One thing about the film's quality."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phrase: Phrase | None = Field(
        None, description="the same for people of any language; None in documents before phrases"
    )
    finding: str
    action: str = Field(description="what the technologist can do about it")
    refuses: bool = Field(description="whether the film cannot be screened for it")


def check_quality(
    radiograph: Radiograph, measures: FilmMeasures | None = None
) -> tuple[QualityFinding, ...]:
    """Say what is wrong with a film; nothing where it is fit.

    Shape and size need no pixel. Of what pixels show only the first fault is named, for it explains
    the others: where there is nothing but noise, nothing is sharp.

    Parameters
    ----------
    measures
        Of :func:`edge_runtime.film_measures.measure_film` on the film, where they are at hand.
    """
    part = part_named(radiograph.body_part)
    alone = part is not None and part.upper() in _ALONE
    measures = measures or measure_film(radiograph.display)
    found = (_shape(radiograph), _size(radiograph), _picture(measures, part or "limb", alone))
    return tuple(finding for finding in found if finding)


def part_named(body_part: str | None) -> str | None:
    """Return the part of the body, as the catalogues' tables `[body]` have it, None for no word.

    Parameters
    ----------
    body_part
        Body Part Examined: free text in practice, which may hold anything.
    """
    word = (body_part or "").strip().upper()
    return word.lower() if word in _NAMED else None


def unfit(name: str, /, **values: Value) -> QualityFinding:
    """Return what is wrong with a film that cannot be screened for it.

    Parameters
    ----------
    name
        Of the phrase in the catalogues' tables `[quality]`; ``NAME_do`` is what can be done.
    values
        Of its placeholders.
    """
    phrase = Phrase(key=f"quality.{name}", values=values)
    return QualityFinding(
        phrase=phrase, finding=say(phrase), action=say(remedy(phrase)), refuses=True
    )


def _shape(radiograph: Radiograph) -> QualityFinding | None:
    rows, columns = radiograph.display.shape
    aspect = max(rows, columns) / min(rows, columns)
    if aspect <= MAX_ASPECT:
        return None
    return unfit("strip", ratio=aspect)


def _size(radiograph: Radiograph) -> QualityFinding | None:
    if radiograph.pixel_spacing_mm is None:
        return None
    height, width = (
        side * mm
        for side, mm in zip(radiograph.display.shape, radiograph.pixel_spacing_mm, strict=True)
    )
    if max(height, width) < MIN_FIELD_MM:
        return unfit("field_small", width=width, height=height)
    if max(height, width) > MAX_FIELD_MM:
        return unfit("field_large", width=width, height=height)
    return None


def _picture(film: FilmMeasures, name: str, alone: bool) -> QualityFinding | None:
    part = f"body.{name}"
    if film.detail < MIN_DETAIL:
        return unfit("blank")
    if film.grain > MAX_GRAIN:
        return unfit("noise", part=part)
    if film.missing_band > MAX_MISSING_BAND or film.empty_band > MAX_EMPTY_BAND:
        return unfit("empty", part=part)
    if film.black > MAX_BLACK or film.black_film > MAX_BLACK_FILM:
        return unfit("dark", part=part)
    if film.white > MAX_WHITE:
        return unfit("light", part=part)
    if film.sharpness < MIN_SHARPNESS:
        return unfit("blurred", part=part)
    if alone and film.air < MIN_AIR:
        return unfit("cut_off", part=part)
    return None
