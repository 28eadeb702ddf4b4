"""The result for one radiograph, as a document."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

import edge_runtime
from edge_runtime.bundle import OperatingPoint, Purpose, ScoreName, SiteUse
from edge_runtime.decision import Decision
from edge_runtime.drift.reference import Measure
from edge_runtime.engine import DelegateUse
from edge_runtime.phrases import Language, Phrase, say
from edge_runtime.policy import IntendedUse
from edge_runtime.quality import QualityFinding

STANDING_SENTENCE = say(Phrase(key="notice.standing"))
SOFTWARE = f"osteoedge {edge_runtime.__version__}"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """Which film was screened."""

    file: str
    sha256: str
    sop_instance_uid: str | None
    study_instance_uid: str | None


class Film(_Part):
    """What is on the film, by its header."""

    rows: int
    columns: int
    body_part: str | None = Field(description="a name of the catalogues' tables `[body]`")
    side: Literal["left", "right", "both"] | None = Field(description="of the patient")


class Lesion(_Part):
    """One marked area."""

    box: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1 in source pixels")
    box_mm: tuple[float, float, float, float] | None = Field(
        description="the same in millimetres, by the film's pixel spacing; None where it has none"
    )
    score: float = Field(description="highest lesion probability inside")
    area_fraction: float = Field(description="share of the film")


class Context(_Part):
    """Facts beside the pixels, of those that the bundle takes."""

    used: tuple[str, ...]
    missing: tuple[str, ...] = Field(description="the film does not say, or says a word not known")


class BundleUse(_Part):
    """Which bundle made the result."""

    name: str
    version: str
    sha256: str
    purpose: Purpose
    data_licence: str
    site: SiteUse | None = Field(None, description="whose calibration; None: the bundle's own")


class OutOfDistribution(_Part):
    """Whether the film looks like those that the model knows; it changes no decision.

    ``distance`` is about 1 for a training film, see :mod:`edge_runtime.familiarity`.
    """

    status: Literal["familiar", "unfamiliar", "not_assessed"]
    reason: str
    distance: float | None = None
    threshold: float | None = None


class Summary(_Part):
    """The preliminary summary of a film, or of a study, as its document has it."""

    phrases: tuple[Phrase, ...] = Field(description="in the order in which they are read")
    text: dict[Language, tuple[str, ...]] = Field(description="each phrase in words, by language")


class Screening(BaseModel):
    """The result for one radiograph: the JSON document `osteoedge.screening/1`.

    Used for `triage`, it tells the decision and its reasons alone: no probability, no box.

    What follows is not part of the document, and None where the film could not be screened:
    `mask`, uint8 0 or 1, shape of the network's mask head, the lesion area that the result shows;
    `mask_probability`, float32, the same shape (both None without such a head); `activation`,
    float32 (rows, columns, 3), the class-activation map: logits by label for each place of the
    network's input. In triage all three are None as well. `scores`, 0..1: what operating points
    cut, by name, for the rule of a study of several films; never to be shown where they are not in
    the document. `watched`: what tells whether films drift from those of the bundle, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    schema_: Literal["osteoedge.screening/1"] = Field("osteoedge.screening/1", alias="schema")
    notice: str
    synthetic: bool
    intended_use: IntendedUse
    source: Source
    film: Film | None = Field(None, description="None where it could not be read")
    decision: Decision
    reasons: tuple[str, ...]
    probabilities: dict[str, float] | None
    tumour_probability: float | None
    subtype_probabilities: dict[str, float] | None = Field(
        description="which tumour it may be; only on films that are flagged, uncalibrated"
    )
    region_probabilities: dict[str, float] | None = Field(description="uncalibrated")
    prediction_set: tuple[str, ...] | None
    operating_points: tuple[OperatingPoint, ...]
    study_operating_points: tuple[OperatingPoint, ...] = Field(
        (), description="what the highest score of a study's films is cut by"
    )
    lesions: tuple[Lesion, ...]
    quality: tuple[QualityFinding, ...]
    refusal: Phrase | None = Field(None, description="why the film could not be read")
    out_of_distribution: OutOfDistribution
    context: Context
    notes: tuple[str, ...]
    delegate: DelegateUse = Field(description="what ran the model, and why the others did not")
    degraded: tuple[str, ...]
    bundle: BundleUse
    software: str
    timings_ms: dict[str, float]
    summary: Summary | None = Field(None, description="None in documents before phrases")
    mask: Annotated[npt.NDArray[np.uint8] | None, Field(exclude=True, repr=False)] = None
    mask_probability: Annotated[npt.NDArray[np.float32] | None, Field(exclude=True, repr=False)] = (
        None
    )
    activation: Annotated[npt.NDArray[np.float32] | None, Field(exclude=True, repr=False)] = None
    scores: Annotated[dict[ScoreName, float] | None, Field(exclude=True, repr=False)] = None
    watched: Annotated[dict[Measure, float] | None, Field(exclude=True, repr=False)] = None
