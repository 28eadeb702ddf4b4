"""What manifest.json says: everything that a device needs to know of a model before it runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_runtime.drift.reference import DriftReference
from edge_runtime.preprocess import InputSpec, quantize_input

LABELS = ("no_tumour", "benign", "malignant")

Purpose = Literal["demo", "research", "evaluated"]
Action = Literal["urgent_review", "routine_review"]
ScoreName = Literal["tumour", "malignant"]
Level = Literal["image", "study"]
Variant = Literal["qat-int8", "ptq-int8"]
Head = Literal["cam", "mask", "subtype", "region", "embedding"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Interval(_Part):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class TensorSpec(_Part):
    """An int8 tensor of the model: real = (stored - zero_point) * scale."""

    index: int = Field(description="position among the interpreter's inputs or outputs")
    shape: tuple[int, ...]
    scale: float = Field(gt=0)
    zero_point: int = Field(ge=-128, le=127)

    def dequantize(self, stored: npt.NDArray[np.int8 | np.float32]) -> npt.NDArray[np.float32]:
        """Return real values, float32, same shape; of stored ones, or of means of them."""
        real = stored - np.float32(self.zero_point)
        real *= np.float32(self.scale)
        return real


class Representative(_Part):
    """Films whose activations set the ranges of a model that was quantized after training."""

    films: int
    groups: dict[str, int] = Field(description="films by centre and label")
    sha256: str = Field(description="of their network pixels, in order")


class ModelSpec(_Part):
    """The TFLite file and its tensors, one output tensor a head."""

    variant: Variant = Field("qat-int8", description="how its numbers became 8 bits wide")
    representative: Representative | None = Field(None, description="None: ranges were trained")
    backbone: str
    input: TensorSpec
    outputs: dict[Head, TensorSpec] = Field(
        description="cam: class-activation map; where they were trained, mask: lesion logits; "
        "subtype and region: activation maps; embedding: the features under cam"
    )

    def quantize(
        self, pixels: npt.NDArray[np.uint8], input_spec: InputSpec
    ) -> npt.NDArray[np.int8]:
        """Return the input tensor, int8 (1, height, width, channels), of network pixels."""
        tensor = self.input
        return quantize_input(pixels, input_spec, tensor.scale, tensor.zero_point, tensor.shape[-1])

    def dequantize(
        self, stored: Mapping[str, npt.NDArray[np.int8]]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Return what each head's numbers stand for: int8 (1, ...) in, float32 (...) out.

        Of the embedding (1, 1, d), the mean over the film.
        """
        real: dict[str, npt.NDArray[np.float32]] = {}
        for head, spec in self.outputs.items():
            tensor: npt.NDArray[np.int8 | np.float32] = stored[head]
            if head == "embedding":
                # Only its mean over the film is ever used. Of integers that is exact, and all of
                # it in float would take longer than the other heads together.
                tensor = tensor.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
            real[head] = spec.dequantize(tensor)[0]
        return real

    @model_validator(mode="after")
    def _what_a_screening_needs(self) -> Self:
        if "cam" not in self.outputs or ("subtype" in self.outputs and "mask" not in self.outputs):
            raise ValueError("no output tensor for cam, or for mask, without which no subtype is")
        return self


class OperatingPoint(_Part):
    """A threshold fixed before use."""

    name: str
    score: ScoreName = Field(description="the probability that the threshold cuts")
    level: Level = Field("image", description="one film, or the highest score of a study's films")
    action: Action
    threshold: float = Field(ge=0, le=1)
    target: str = Field(description="what the threshold was chosen for, in words")
    positives: int
    negatives: int
    sensitivity: Interval
    specificity: Interval


class Fusion(_Part):
    """Class logits from the heads: cam * mean(cam) + mask * lesion evidence + bias.

    Where there is a head of subtypes, subtype / 2 * malignancy goes to malignant, and the same is
    taken from benign: the subtypes say what a tumour is, not whether there is one.
    A multinomial logistic regression, fitted on the int8 outputs; its softmax is calibrated.
    """

    cam: float = Field(gt=0, description="weight of the class head, an inverse temperature")
    mask: tuple[float, float, float] = Field(description="weight of the mask head, by class")
    bias: tuple[float, float, float] = Field(description="by class")
    subtype: float = Field(0.0, ge=0, description="weight of malignant against benign subtypes")
    malignant_subtypes: tuple[int, ...] = Field((), description="which subtypes are malignant")
    context: dict[str, dict[str, tuple[float, float, float]]] = Field(
        default_factory=dict,
        description="what a known age, sex or region adds, by class; one that is unknown adds none",
    )


class ConformalQuantile(_Part):
    """An upper quantile of films that were not seen before, with its interval.

    Of a class: the largest 1 - probability with which it still enters the prediction set.
    """

    value: float
    films: int = Field(description="of that class, behind it")
    low: float
    high: float


class Familiarity(_Part):
    """From which distance on a film is unfamiliar: :mod:`edge_runtime.familiarity`."""

    threshold: float = Field(description="of the centre whose films lie farthest")
    share: float = Field(gt=0, lt=1, description="of a centre's films allowed beyond it")
    centres: dict[str, ConformalQuantile] = Field(description="the same distance, by centre")
    trained_on: int = Field(description="training films behind the distance")


class LimbLimits(_Part):
    """From which score on a film shows no limb: :mod:`edge_runtime.limb_gate`."""

    threshold: float = Field(description="log odds")
    auroc: float = Field(description="of calibration films against others left out of the fit")
    limbs: int = Field(description="calibration films behind it")
    others: int = Field(description="films of chests and the like behind it")
    limbs_refused: dict[str, float] = Field(description="share of calibration films, by centre")
    others_refused: float = Field(description="share, each scored by a fit that left it out")


class Calibration(_Part):
    """What was decided on the outputs of the int8 file, on films kept aside for it."""

    films: int = Field(description="behind operating points and quantiles")
    patients: int
    malignant_patients: int = Field(description="with a malignant film among those")
    folds: int | None = Field(
        None, description="cross-fitted: each film answered by the file of a fold that left it out"
    )
    studies: int = Field(description="what was examined at once: a study_id, or else a patient")
    mirror: bool = Field(
        description="whether each film is run mirrored, too, and the outputs are averaged"
    )
    fusion: Fusion
    mask_threshold: float | None = Field(
        gt=0, lt=1, description="probability that counts as lesion; None without the head mask"
    )
    operating_points: tuple[OperatingPoint, ...]
    conformal_alpha: float = Field(gt=0, lt=1, description="allowed miss rate of prediction sets")
    conformal_quantiles: dict[str, ConformalQuantile] = Field(description="by class")
    familiarity: Familiarity | None = Field(None, description="None without the head embedding")
    limb: LimbLimits | None = Field(None, description="None: nothing tells limbs from other films")
    drift: DriftReference | None = Field(
        None, description="None: made before there was one, or of too few patients without a tumour"
    )

    def at(self, level: Level) -> tuple[OperatingPoint, ...]:
        """Return the operating points of films, or of studies."""
        return tuple(point for point in self.operating_points if point.level == level)


class SiteUse(_Part):
    """Whose calibration took the place of the bundle's own: :mod:`edge_runtime.bundle.site`."""

    name: str
    sha256: str


class Tolerance(_Part):
    """How closely a delegate must reproduce the golden vectors' reference outputs."""

    max_steps: float = Field(gt=0, description="largest difference anywhere, steps of the output")
    mean_steps: float = Field(gt=0, description="largest mean difference of a head, steps")
    probability: float = Field(gt=0, le=1, description="largest difference of a class probability")


class GoldenSpec(_Part):
    """The golden vectors, and how closely each delegate must reproduce their outputs."""

    vectors: int
    tolerance: dict[str, Tolerance] = Field(
        description="by name of the delegate; one that is not named may not serve"
    )


class HeadParity(_Part):
    """How closely the file answers as Keras does, one head, on the calibration films."""

    snr_db: float = Field(description="power of the reference over power of the error, decibels")
    cosine: float = Field(ge=-1.001, le=1.001, description="of the two outputs, all films at once")
    mean_steps: float = Field(ge=0, description="mean error, in steps of the output tensor")
    max_steps: float = Field(ge=0, description="largest error, in steps of the output tensor")


class DelegateParity(_Part):
    """How another delegate than the CPU answered some calibration films, where it was exported."""

    version: str
    films: int
    heads: dict[Head, HeadParity] = Field(
        default_factory=dict, description="against the CPU, same file"
    )
    probability: float | None = Field(
        None, description="largest difference of a class, from the CPU"
    )
    failure: str | None = Field(None, description="why it did not answer")


class Quantization(_Part):
    """What quantization cost, on the calibration films, by the file itself."""

    reference: str = Field(description="the Keras network that the heads are compared with")
    heads: dict[Head, HeadParity]
    metrics: dict[str, dict[str, float]] = Field(
        description="by model (float, qat where there is one, int8): metric and value, each model "
        "with its own calibration"
    )
    differences: dict[str, Interval] = Field(
        description="int8 less float, paired, 95 % resampled by patient"
    )
    delegates: dict[str, DelegateParity] = Field(
        default_factory=dict, description="those that the exporting machine had besides the CPU"
    )


class HalfModel(_Part):
    """The same network with weights in float16, for GPUs; inputs and outputs are float32."""

    heads: dict[Head, HeadParity] = Field(description="against the float network")
    auc_macro: Interval = Field(description="less that of the float network, calibration films")


class EdgeTpu(_Part):
    """Whether the bundle holds a model that was compiled for the Edge TPU."""

    status: Literal["compiled", "failed", "unavailable"]
    reason: str | None = Field(None, description="why there is none")
    compiler: str | None = Field(None, description="version")
    mapped: int | None = Field(None, description="operators on the Edge TPU, by the compiler")
    predicted_mapped: int = Field(description="the same, read off the int8 file")
    total: int = Field(description="operators of the int8 file")


class BoundCheck(_Part):
    """One bound that was asked for, and what was found."""

    name: str
    bound: float
    found: float | None = Field(description="None where the films do not allow the figure")
    met: bool


class Fitness(_Part):
    """Whether the bundle met the bounds that were stated for it, and on which films."""

    status: Literal["research", "evaluated"] = "research"
    dataset: str | None = None
    dataset_sha256: str | None = None
    where: str | None = None
    bounds: tuple[BoundCheck, ...] = ()


class Provenance(_Part):
    """Where the model comes from. The data licence travels with it.

    Of a model that was trained elsewhere, the dataset is that of its calibration here.
    """

    dataset: str
    source: str
    licence: str
    may_ship_weights: bool
    where: str | None
    train_films: int | None = Field(description="None: trained elsewhere")
    train_patients: int | None
    model_sha256: str | None = Field(None, description="of the file that was trained elsewhere")
    split_sha256: str
    recipe_sha256: str
    software: dict[str, str]


class Manifest(_Part):
    """The content of manifest.json."""

    schema_: Literal["osteoedge.bundle/1"] = Field("osteoedge.bundle/1", alias="schema")
    name: str
    version: str
    purpose: Purpose
    labels: tuple[str, ...] = LABELS
    subtypes: tuple[str, ...] = Field((), description="channels of the head subtype")
    regions: tuple[str, ...] = Field((), description="channels of the head region")
    input_spec: InputSpec
    input_spec_sha256: str
    model: ModelSpec
    calibration: Calibration
    quantization: Quantization
    golden: GoldenSpec
    half: HalfModel | None = Field(None, description="None: the bundle holds no such model")
    edge_tpu: EdgeTpu
    fitness: Fitness = Fitness()
    provenance: Provenance
    members: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 of every other member: what a signature covers"
    )

    @model_validator(mode="after")
    def _purpose_is_earned(self) -> Self:
        if (self.purpose == "evaluated") != (self.fitness.status == "evaluated"):
            raise ValueError("purpose and fitness contradict each other")
        if self.fitness.status == "evaluated" and not all(c.met for c in self.fitness.bounds):
            raise ValueError("evaluated, though a bound was not met")
        return self

    def to_json(self) -> bytes:
        """Return the manifest as it lies in the bundle."""
        return (self.model_dump_json(by_alias=True, indent=2) + "\n").encode()
