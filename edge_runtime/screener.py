"""Screen radiographs with a bundle."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

import edge_runtime
from edge_runtime import decision
from edge_runtime.bundle import FAMILIAR, LABELS, Fusion, ModelBundle, OperatingPoint, Purpose
from edge_runtime.context import context_words
from edge_runtime.delegates import Outputs, choose
from edge_runtime.errors import DelegateError
from edge_runtime.familiarity import FamiliarFilms, film_features
from edge_runtime.preprocess import quantize_input, to_network_pixels
from edge_runtime.quality import QualityFinding, check_quality
from edge_runtime.radiograph import Radiograph

STANDING_SENTENCE = "Bone-tumour check only, not a normal report"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """Which film was screened."""

    file: str
    sha256: str
    sop_instance_uid: str | None
    study_instance_uid: str | None


class Lesion(_Part):
    """One marked area."""

    box: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1 in source pixels")
    score: float = Field(description="highest lesion probability inside")
    area_fraction: float = Field(description="share of the film")


class Context(_Part):
    """Facts beside the pixels, of those that the bundle takes."""

    used: tuple[str, ...]
    missing: tuple[str, ...] = Field(description="the film does not say, or says a word not known")


class DelegateUse(_Part):
    """What ran the model, and why the others did not."""

    name: str
    version: str
    threads: int
    rejected: dict[str, str]


class BundleUse(_Part):
    """Which bundle made the result."""

    name: str
    version: str
    sha256: str
    purpose: Purpose
    data_licence: str


class OutOfDistribution(_Part):
    """Whether the film looks like those that the model knows; it changes no decision.

    ``distance`` is about 1 for a training film, see :mod:`edge_runtime.familiarity`.
    """

    status: Literal["familiar", "unfamiliar", "not_assessed"]
    reason: str
    distance: float | None = None
    threshold: float | None = None


class Screening(BaseModel):
    """The result for one radiograph: the JSON document `osteoedge.screening/1`.

    `mask` is not part of the document: uint8 0 or 1, shape of the network's mask head, the lesion
    area that the result shows; `mask_probability` float32, the same shape. Both are None where the
    film could not be screened, or the model has no mask head.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    schema_: Literal["osteoedge.screening/1"] = Field("osteoedge.screening/1", alias="schema")
    notice: str
    synthetic: bool
    source: Source
    decision: decision.Decision
    reasons: tuple[str, ...]
    probabilities: dict[str, float] | None
    tumour_probability: float | None
    subtype_probabilities: dict[str, float] | None = Field(
        description="which tumour it may be; only on films that are flagged, uncalibrated"
    )
    region_probabilities: dict[str, float] | None = Field(description="uncalibrated")
    prediction_set: tuple[str, ...] | None
    operating_points: tuple[OperatingPoint, ...]
    lesions: tuple[Lesion, ...]
    quality: tuple[QualityFinding, ...]
    out_of_distribution: OutOfDistribution
    context: Context
    notes: tuple[str, ...]
    delegate: DelegateUse
    degraded: tuple[str, ...]
    bundle: BundleUse
    software: str
    timings_ms: dict[str, float]
    mask: Annotated[npt.NDArray[np.uint8] | None, Field(exclude=True, repr=False)] = None
    mask_probability: Annotated[npt.NDArray[np.float32] | None, Field(exclude=True, repr=False)] = (
        None
    )


class Screener:
    """A bundle on a delegate, its golden vectors replayed.

    Parameters
    ----------
    bundle
        From :func:`edge_runtime.bundle.load_bundle`.
    delegate
        ``auto`` or the name of one.
    threads
        For the CPU.

    Raises
    ------
    DelegateError
        No delegate runs the bundle, or it does not reproduce the golden vectors.
    """

    def __init__(self, bundle: ModelBundle, delegate: str = "auto", threads: int = 1) -> None:
        chosen, probe, rejected = choose(delegate)
        self.bundle = bundle
        self._model = chosen.load(bundle.model, bundle.manifest.model, threads)
        self.delegate = DelegateUse(
            name=chosen.name, version=probe.version, threads=threads, rejected=rejected
        )
        self.degraded: tuple[str, ...] = (probe.degraded,) if probe.degraded else ()
        self._familiar = (
            FamiliarFilms.from_npz(bundle.members[FAMILIAR], bundle.file)
            if FAMILIAR in bundle.members
            else None
        )
        self._replay_golden_vectors()

    def infer(self, pixels: npt.NDArray[np.uint8]) -> Outputs:
        """Run the model on network pixels: uint8 (height, width) in, int8 per head out."""
        return self._model.run(self.quantize(pixels))

    def quantize(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        """Return the model's input tensor, int8 (1, height, width, channels), of network pixels."""
        tensor = self.bundle.manifest.model.input
        return quantize_input(
            pixels,
            self.bundle.manifest.input_spec,
            tensor.scale,
            tensor.zero_point,
            channels=tensor.shape[-1],
        )

    def screen(self, radiograph: Radiograph) -> Screening:
        """Screen one radiograph.

        Every readable film gets probabilities, also one that is `unable`: a person must look at
        it, and the figures are still wanted for evaluation.
        """
        manifest = self.bundle.manifest
        spec, calibration = manifest.input_spec, manifest.calibration
        fusion = calibration.fusion
        start = time.perf_counter()
        pixels, placement = to_network_pixels(radiograph.display, spec)
        findings = check_quality(pixels, placement)
        tensors = [self.quantize(pixels)]
        if calibration.mirror:
            tensors.append(np.ascontiguousarray(tensors[0][:, :, ::-1]))
        preprocessed = time.perf_counter()
        stored = [self._model.run(tensor) for tensor in tensors]
        invoked = time.perf_counter()

        real, *mirrored = (self._real(outputs) for outputs in stored)
        if mirrored:
            real = decision.average_mirrored(real, mirrored[0])
        context = decision.context_logits(context_words(radiograph), fusion)
        probabilities = decision.fuse(real, fusion, context)
        verdict, reasons = decision.decide(probabilities, calibration.at("image"))
        if refusals := tuple(f"{f.finding}: {f.action}" for f in findings if f.refuses):
            verdict, reasons = "unable", refusals
        flagged = verdict in {"urgent_review", "routine_review"}
        mask = lesion_probability = subtypes = regions = None
        if "mask" in real and calibration.mask_threshold is not None:
            lesion_probability = decision.mask_probability(real["mask"][:, :, 0])
            mask = decision.lesion_mask(lesion_probability, calibration.mask_threshold)
            if not flagged:
                # A box on a film that is not flagged would say two things at once.
                mask = np.zeros_like(mask)
        if "subtype" in real and flagged:
            subtypes = decision.softmax(
                decision.subtype_logits(real["subtype"], real["mask"][:, :, 0])
            )
        if "region" in real:
            regions = decision.softmax(decision.logits_from_cam(real["region"]))
        marked = []
        if mask is not None and lesion_probability is not None:
            marked = decision.lesions(mask, lesion_probability, placement, spec)
        familiarity = self._familiarity(real)
        finished = time.perf_counter()
        sha256 = radiograph.sha256  # which may take longer than all this
        total = sum(radiograph.timings_ms.values()) + (time.perf_counter() - start) * 1e3
        timings = {
            **radiograph.timings_ms,
            "preprocess": (preprocessed - start) * 1e3,
            "invoke": (invoked - preprocessed) * 1e3,
            "postprocess": (finished - invoked) * 1e3,
        }
        return Screening(
            notice=STANDING_SENTENCE,
            synthetic=manifest.purpose == "demo",
            source=Source(
                file=radiograph.source,
                sha256=sha256,
                sop_instance_uid=radiograph.sop_instance_uid,
                study_instance_uid=radiograph.study_instance_uid,
            ),
            decision=verdict,
            reasons=reasons,
            probabilities=_named(LABELS, probabilities),
            tumour_probability=round(float(decision.score(probabilities, "tumour")), 6),
            subtype_probabilities=_named(manifest.subtypes, subtypes),
            region_probabilities=_named(manifest.regions, regions),
            prediction_set=decision.prediction_set(probabilities, calibration.conformal_quantiles),
            operating_points=calibration.at("image"),
            lesions=tuple(
                Lesion(
                    box=(round(b[0], 1), round(b[1], 1), round(b[2], 1), round(b[3], 1)),
                    score=round(peak, 4),
                    area_fraction=round(area, 6),
                )
                for b, peak, area in marked
            ),
            quality=findings,
            out_of_distribution=familiarity,
            context=_context(radiograph, fusion),
            notes=radiograph.notes,
            delegate=self.delegate,
            degraded=self.degraded,
            bundle=BundleUse(
                name=manifest.name,
                version=manifest.version,
                sha256=self.bundle.sha256,
                purpose=manifest.purpose,
                data_licence=manifest.provenance.licence,
            ),
            software=f"osteoedge {edge_runtime.__version__}",
            timings_ms={
                **{stage: round(ms, 3) for stage, ms in timings.items()},
                "total": round(total, 3),
            },
            mask=mask,
            mask_probability=lesion_probability,
        )

    def _familiarity(self, real: Mapping[str, npt.NDArray[np.float32]]) -> OutOfDistribution:
        limits = self.bundle.manifest.calibration.familiarity
        if self._familiar is None or limits is None:
            return OutOfDistribution(
                status="not_assessed", reason="the bundle holds no reference of familiar films"
            )
        distance = float(self._familiar.distance(film_features(real["embedding"])))
        far = distance > limits.threshold
        return OutOfDistribution(
            status="unfamiliar" if far else "familiar",
            reason="farther from the training films than nearly all films of their hospitals"
            if far
            else "as near to the training films as most films of their hospitals",
            distance=round(distance, 4),
            threshold=limits.threshold,
        )

    def _real(self, stored: Outputs) -> dict[str, npt.NDArray[np.float32]]:
        """Return what each head's numbers stand for, without the batch axis."""
        real: dict[str, npt.NDArray[np.float32]] = {}
        for head, spec in self.bundle.manifest.model.outputs.items():
            tensor: npt.NDArray[np.int8 | np.float32] = stored[head]
            if head == "embedding":
                # Only its mean over the film is ever used. Of integers that is exact, and all of
                # it in float would take longer than the other heads together.
                tensor = tensor.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
            real[head] = spec.dequantize(tensor)[0]
        return real

    def _replay_golden_vectors(self) -> None:
        """Refuse a delegate that computes something else than the exporter's reference did."""
        golden, limits = self.bundle.golden, self.bundle.manifest.golden
        for number, pixels in enumerate(golden.pixels):
            for head, output in self.infer(pixels).items():
                reference = golden.outputs[head][number].astype(np.float32)
                steps = output[0].astype(np.float32) - reference
                if head == "embedding":
                    # Thousands of features, of which only the mean over the film is ever used.
                    steps = steps.mean(axis=(0, 1))
                steps = np.abs(steps)
                if steps.max() > limits.max_steps or steps.mean() > limits.mean_steps:
                    raise DelegateError(
                        f"delegate {self.delegate.name} ({self.delegate.version}) does not "
                        f"reproduce golden vector {number}: head {head} is off by up to "
                        f"{steps.max()} and on average {steps.mean():.2f} steps",
                        "Do not serve with it; choose another delegate or another runtime version",
                        self.bundle.file,
                    )


def _named(
    names: tuple[str, ...], probabilities: npt.NDArray[np.float64] | None
) -> dict[str, float] | None:
    if probabilities is None:
        return None
    return {name: round(float(p), 6) for name, p in zip(names, probabilities, strict=True)}


def _context(radiograph: Radiograph, fusion: Fusion) -> Context:
    used = decision.used_context(context_words(radiograph), fusion)
    return Context(
        used=tuple(used), missing=tuple(name for name in fusion.context if name not in used)
    )
