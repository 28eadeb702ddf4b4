"""Screen radiographs with a bundle."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edge_runtime import decision
from edge_runtime.bundle import (
    FAMILIAR,
    LABELS,
    LIMB_GATE,
    Fusion,
    ModelBundle,
)
from edge_runtime.context import PatientContext, coarse_region, context_words
from edge_runtime.delegates import Coverage, Outputs
from edge_runtime.delegates.isolation import Limits
from edge_runtime.drift.reference import film_values
from edge_runtime.engine import DelegateUse, Engine
from edge_runtime.errors import RadiographError
from edge_runtime.familiarity import FamiliarFilms, film_features
from edge_runtime.film_measures import measure_film
from edge_runtime.limb_gate import LimbGate
from edge_runtime.phrases import Phrase, say
from edge_runtime.policy import Fallback, IntendedUse
from edge_runtime.preprocess import to_network_pixels
from edge_runtime.proof import Distance
from edge_runtime.quality import QualityFinding, check_quality, part_named, unfit
from edge_runtime.radiograph import Radiograph, identifiers
from edge_runtime.screening import (
    SOFTWARE,
    STANDING_SENTENCE,
    BundleUse,
    Context,
    Film,
    Lesion,
    OutOfDistribution,
    Screening,
    Source,
)
from edge_runtime.summary import film_summary, in_words

# Laterality (PS3.3 C.7.3.1 and C.8.11.1).
_SIDES: dict[str, Literal["left", "right", "both"]] = {"L": "left", "R": "right", "B": "both"}


class Screener:
    """A bundle on a delegate that has reproduced its golden vectors.

    Not thread-safe: one caller at a time. Delegates that run native code of others do so in a child
    process, which ends with :meth:`close`, or where the screener is used as a context manager.

    Parameters
    ----------
    bundle
        From :func:`edge_runtime.bundle.load_bundle`.
    delegate
        ``auto``, ``cpu``, ``gpu``, ``edgetpu``, ``openvino`` or ``external``.
    threads
        For the CPU.
    fallback
        ``allow``: where the delegate asked for is missing or fails, the next one takes over, and
        every result says so. ``forbid``: it raises.
    intended_use
        ``localise``, or ``triage``, which takes boxes, maps and probabilities out of the result.
    external_delegate, external_options
        Library and options of the delegate ``external``.
    limits
        How long a delegate's child process may take.

    Raises
    ------
    DelegateError
        No delegate that may be used runs the bundle and reproduces its golden vectors.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        delegate: str = "auto",
        threads: int = 1,
        *,
        fallback: Fallback = "allow",
        intended_use: IntendedUse = "localise",
        external_delegate: Path | None = None,
        external_options: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.bundle = bundle
        self.intended_use = intended_use
        self._engine = Engine(
            bundle,
            delegate,
            threads,
            fallback=fallback,
            library=external_delegate,
            options=external_options,
            limits=limits,
        )
        self._exported_fusion = (
            bundle.manifest if bundle.site is None else bundle.exported
        ).calibration.fusion
        self._familiar = (
            FamiliarFilms.from_npz(bundle.members[FAMILIAR], bundle.file)
            if FAMILIAR in bundle.members
            else None
        )
        self._limb_gate = (
            LimbGate.from_npz(bundle.members[LIMB_GATE], bundle.file)
            if LIMB_GATE in bundle.members
            else None
        )

    def __enter__(self) -> Screener:
        """Return this screener."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End its delegate."""
        self.close()

    def close(self) -> None:
        """End the delegate and its child process, if it has one."""
        self._engine.close()

    @property
    def delegate(self) -> DelegateUse:
        """What runs the model now, and why the others do not."""
        return self._engine.use

    @property
    def degraded(self) -> tuple[str, ...]:
        """What is slower or weaker than it should be, as sentences."""
        return self._engine.degraded

    @property
    def coverage(self) -> Coverage:
        """Which operators of the model the delegate took that runs it now."""
        return self._engine.coverage

    def distance(self) -> Distance:
        """Return how far the delegate that runs the model now is from the golden vectors.

        Raises
        ------
        DelegateError
            The delegate failed.
        """
        return self._engine.distance()

    def infer(self, pixels: npt.NDArray[np.uint8]) -> Outputs:
        """Run the model once, without fallback, to measure and to compare.

        uint8 (height, width) network pixels in, int8 per head out.

        Raises
        ------
        DelegateError
            The delegate failed.
        """
        return self._engine.invoke(self.quantize(pixels))

    def quantize(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        """Return the model's input tensor, int8 (1, height, width, channels), of network pixels."""
        manifest = self.bundle.manifest
        return manifest.model.quantize(pixels, manifest.input_spec)

    def screen(self, radiograph: Radiograph, context: PatientContext | None = None) -> Screening:
        """Screen one radiograph.

        Every readable film gets probabilities, also one that is `unable`: a person must look at
        it, and the figures are still wanted for evaluation.

        Parameters
        ----------
        context
            What is known of the patient beside the film; it wins over the film's own header.

        Raises
        ------
        DelegateError
            No delegate is left that may run the model.
        """
        manifest = self.bundle.manifest
        spec, calibration = manifest.input_spec, manifest.calibration
        fusion = calibration.fusion
        start = time.perf_counter()
        pixels, placement = to_network_pixels(radiograph.display, spec)
        measures = measure_film(radiograph.display)
        findings = check_quality(radiograph, measures)
        tensors = [self.quantize(pixels)]
        if calibration.mirror:
            tensors.append(np.ascontiguousarray(tensors[0][:, :, ::-1]))
        preprocessed = time.perf_counter()
        stored = self._engine.run(tensors)
        invoked = time.perf_counter()

        real, *mirrored = (manifest.model.dequantize(outputs) for outputs in stored)
        if mirrored:
            real = decision.average_mirrored(real, mirrored[0])
        words = context_words(radiograph, context)
        probabilities = decision.fuse(real, fusion, decision.context_logits(words, fusion))
        features = film_features(real["embedding"]) if "embedding" in real else None
        findings += self._limb_findings(features)
        told = self.intended_use == "localise"
        verdict, reached = decision.decide(
            probabilities, calibration.at("image"), with_figures=told
        )
        reasons = tuple(say(reason) for reason in reached)
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
        familiarity = self._familiarity(features)
        exported = probabilities
        if self._exported_fusion != fusion:
            # The reference has the bundle's own scores: a site's would look like drift.
            added = decision.context_logits(words, self._exported_fusion)
            exported = decision.fuse(real, self._exported_fusion, added)
        finished = time.perf_counter()
        source = source_of(radiograph)  # waits for the file's hash, if that takes longer
        total = sum(radiograph.timings_ms.values()) + (time.perf_counter() - start) * 1e3
        timings = {
            **radiograph.timings_ms,
            "preprocess": (preprocessed - start) * 1e3,
            "invoke": (invoked - preprocessed) * 1e3,
            "postprocess": (finished - invoked) * 1e3,
        }
        return self._document(
            decision=verdict,
            reasons=reasons,
            source=source,
            film=_film(radiograph),
            probabilities=_named(LABELS, probabilities) if told else None,
            tumour_probability=(
                round(float(decision.score(probabilities, "tumour")), 6) if told else None
            ),
            subtype_probabilities=_named(manifest.subtypes, subtypes) if told else None,
            region_probabilities=_named(manifest.regions, regions) if told else None,
            prediction_set=(
                decision.prediction_set(probabilities, calibration.conformal_quantiles)
                if told
                else None
            ),
            lesions=_lesions(marked, radiograph.pixel_spacing_mm) if told else (),
            quality=findings,
            out_of_distribution=familiarity,
            context=_context(words, fusion),
            notes=radiograph.notes,
            timings_ms={
                **{stage: round(ms, 3) for stage, ms in timings.items()},
                "total": round(total, 3),
            },
            mask=mask if told else None,
            mask_probability=lesion_probability if told else None,
            activation=real["cam"] if told else None,
            scores=decision.scores(probabilities),
            watched=film_values(
                measures,
                familiarity.distance,
                float(decision.score(exported, "tumour")),
            ),
        )

    def refuse(self, error: RadiographError, source: Source) -> Screening:
        """Return the result of a film that could not be read: `unable`, and what to do about it.

        Parameters
        ----------
        error
            Of :func:`edge_runtime.read_radiograph`.
        source
            What is known of the film, see :func:`source_of`.
        """
        return self._document(
            decision="unable",
            reasons=(f"{error.what}: {error.remedy[:1].lower()}{error.remedy[1:]}",),
            source=source,
            probabilities=None,
            tumour_probability=None,
            subtype_probabilities=None,
            region_probabilities=None,
            prediction_set=None,
            lesions=(),
            quality=(),
            refusal=error.phrase or Phrase(key="refused.other"),
            out_of_distribution=OutOfDistribution(
                status="not_assessed", reason="the film could not be read"
            ),
            context=_context({}, self.bundle.manifest.calibration.fusion),
            notes=(),
            timings_ms={},
        )

    def _document(self, **parts: Any) -> Screening:
        """Return a result with what is the same for every film of this screener."""
        manifest = self.bundle.manifest
        screening = Screening(
            notice=STANDING_SENTENCE,
            synthetic=manifest.purpose == "demo",
            intended_use=self.intended_use,
            operating_points=manifest.calibration.at("image"),
            study_operating_points=manifest.calibration.at("study"),
            delegate=self.delegate,
            degraded=self.degraded,
            bundle=BundleUse(
                name=manifest.name,
                version=manifest.version,
                sha256=self.bundle.sha256,
                purpose=manifest.purpose,
                data_licence=manifest.provenance.licence,
                site=self.bundle.site,
            ),
            software=SOFTWARE,
            **parts,
        )
        return screening.model_copy(update={"summary": in_words(film_summary(screening))})

    def _familiarity(self, features: npt.NDArray[np.float32] | None) -> OutOfDistribution:
        limits = self.bundle.manifest.calibration.familiarity
        if self._familiar is None or limits is None or features is None:
            return OutOfDistribution(
                status="not_assessed", reason="the bundle holds no reference of familiar films"
            )
        distance = float(self._familiar.distance(features))
        far = distance > limits.threshold
        return OutOfDistribution(
            status="unfamiliar" if far else "familiar",
            reason="farther from the training films than nearly all films of their hospitals"
            if far
            else "as near to the training films as most films of their hospitals",
            distance=round(distance, 4),
            threshold=limits.threshold,
        )

    def _limb_findings(
        self, features: npt.NDArray[np.float32] | None
    ) -> tuple[QualityFinding, ...]:
        """Refuse what shows no limb, where the bundle can tell."""
        limits = self.bundle.manifest.calibration.limb
        if self._limb_gate is None or limits is None or features is None:
            return ()
        if self._limb_gate.score(features) <= limits.threshold:
            return ()
        return (unfit("no_limb"),)


def source_of(film: Radiograph | Path) -> Source:
    """Return which film a radiograph is, or a file that could not be read as one.

    Raises
    ------
    OSError
        The file cannot be read at all.
    """
    if isinstance(film, Radiograph):
        return Source(
            file=film.source,
            sha256=film.sha256,
            sop_instance_uid=film.sop_instance_uid,
            study_instance_uid=film.study_instance_uid,
        )
    sop, study = identifiers(film)
    with film.open("rb") as stream:
        # Piece by piece: it may have been refused for its size.
        digest = hashlib.file_digest(stream, "sha256")
    return Source(
        file=film.name,
        sha256=digest.hexdigest(),
        sop_instance_uid=sop,
        study_instance_uid=study,
    )


def _film(radiograph: Radiograph) -> Film:
    rows, columns = radiograph.display.shape
    body_part = radiograph.body_part
    return Film(
        rows=rows,
        columns=columns,
        body_part=part_named(body_part) or coarse_region(body_part or ""),
        side=_SIDES.get((radiograph.laterality or "").upper()),
    )


def _lesions(
    marked: list[tuple[tuple[float, float, float, float], float, float]],
    spacing_mm: tuple[float, float] | None,
) -> tuple[Lesion, ...]:
    """Return marked areas: box in source pixels, highest probability, share of the film."""

    def lesion(box: tuple[float, float, float, float], peak: float, area: float) -> Lesion:
        x0, y0, x1, y1 = (round(side, 1) for side in box)
        scaled = None
        if spacing_mm is not None:
            down, across = spacing_mm
            scaled = (
                round(x0 * across, 1), round(y0 * down, 1),
                round(x1 * across, 1), round(y1 * down, 1),
            )  # fmt: skip
        return Lesion(
            box=(x0, y0, x1, y1),
            box_mm=scaled,
            score=round(peak, 4),
            area_fraction=round(area, 6),
        )

    return tuple(lesion(*area) for area in marked)


def _named(
    names: tuple[str, ...], probabilities: npt.NDArray[np.float64] | None
) -> dict[str, float] | None:
    if probabilities is None:
        return None
    return {name: round(float(p), 6) for name, p in zip(names, probabilities, strict=True)}


def _context(words: Mapping[str, str], fusion: Fusion) -> Context:
    used = decision.used_context(words, fusion)
    return Context(
        used=tuple(used), missing=tuple(name for name in fusion.context if name not in used)
    )
