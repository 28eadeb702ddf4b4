"""What is watched of films, and the films that a bundle was calibrated on, as figures.

Only arithmetic on what the screener has measured anyway; no figure tells of a patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    # Intake records films, and shall not load OpenCV for it.
    from edge_runtime.film_measures import FilmMeasures

Measure = Literal["exposure", "contrast", "sharpness", "distance", "tumour"]
# Of a block's values against those of the reference; varied: further apart, or closer, rather than
# to one side.
Direction = Literal["lower", "higher", "varied"]
Figure = Literal[Measure, "unable"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
FIGURES: tuple[Figure, ...] = (*MEASURES, "unable")

# Studies that are compared at once; no study is in two of these blocks.
BLOCK = 100
# Of a reference, as many films as these say it as well as more would: beside a block of 100, 500
# are worth 83 and all films of the world 100. Fewer than the least say little.
MOST_FILMS, LEAST_FILMS = 500, 25


class DriftReference(BaseModel):
    """What the films look like that others are compared with.

    Calibration films without a tumour, one a patient: those of a screening programme, nearly all of
    which show none. With the tumours that a dataset is rich in, every programme would have drifted
    on its first day.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    films: int = Field(ge=1)
    unable: int = Field(ge=0, description="of them, for quality or for showing no limb")
    values: dict[Measure, tuple[float, ...]] = Field(
        description="ascending, one a film; no distance without the head embedding"
    )

    @model_validator(mode="after")
    def _sorted_and_counted(self) -> Self:
        if self.unable > self.films:
            raise ValueError("more films that are unable than films")
        for measure, values in self.values.items():
            if not 1 <= len(values) <= self.films or list(values) != sorted(values):
                raise ValueError(f"{measure}: not ascending, or not one a film")
        return self


def film_values(
    measures: FilmMeasures, distance: float | None, tumour: float
) -> dict[Measure, float]:
    """Return what is watched of one film, the same on the workstation and on the device.

    Parameters
    ----------
    measures
        Of :func:`edge_runtime.film_measures.measure_film`: ``exposure`` is its mean grey 0..255,
        ``contrast`` its detail, ``sharpness`` as it is.
    distance
        Of :class:`edge_runtime.familiarity.FamiliarFilms`, about 1 for a training film.
    tumour
        Score 0..1.
    """
    values: dict[Measure, float | None] = {
        "exposure": measures.grey,
        "contrast": measures.detail,
        "sharpness": measures.sharpness,
        "distance": distance,
        "tumour": tumour,
    }
    # Rounded alike on both sides: equal films stay equal.
    return {name: round(value, 6) for name, value in values.items() if value is not None}


def reference_of(films: Sequence[Mapping[Measure, float]], unable: int) -> DriftReference:
    """Return a reference of films' values.

    Parameters
    ----------
    films
        Of :func:`film_values`, one a film; of one that could not be read, nothing.
    unable
        How many of them could not be checked.
    """
    values = {
        name: tuple(sorted(film[name] for film in films if name in film)) for name in MEASURES
    }
    return DriftReference(
        films=len(films),
        unable=unable,
        values={name: found for name, found in values.items() if found},
    )
