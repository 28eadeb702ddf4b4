"""The models that evaluation can run: a bundle as on the device, a run's float network in Keras."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime import decision
from edge_runtime.bundle import (
    Fusion,
    OperatingPoint,
    Provenance,
    Purpose,
    load_bundle,
)
from edge_runtime.context import context_words
from edge_runtime.errors import RunError
from edge_runtime.preprocess import InputSpec, to_network_pixels
from edge_runtime.quality import check_quality
from edge_runtime.radiograph import Radiograph
from edge_runtime.screener import Screener
from train.calibration import fit_mask_threshold, operating_points
from train.evaluate.store import Answer
from train.fusion import fit_fusion, fused_probabilities
from train.run import Run, load_run

FloatArray = npt.NDArray[np.float32]


class FilmModel(Protocol):
    """What answers films, one by one.

    Attributes
    ----------
    kind
        ``int8`` or ``float32``.
    sha256
        Names the model and everything that was fitted for it.
    mask_threshold
        Lesion probability from which a cell is marked, chosen before; None where none was.
    trained_on, trained_where
        The collection, and the condition that chose among its films.
    facts
        What a report says of it.
    """

    name: str
    kind: Literal["int8", "float32"]
    sha256: str
    purpose: Purpose
    spec: InputSpec
    mask_threshold: float | None
    operating_points: tuple[OperatingPoint, ...]
    trained_on: str
    trained_where: str
    facts: dict[str, str]

    def answer(self, radiograph: Radiograph) -> Answer:
        """Answer one film."""

    def cam(self, radiograph: Radiograph) -> FloatArray:
        """Return the class-activation map (rows, columns, 3) over the network's input, logits."""


class BundleModel:
    """A bundle, run by the device's code.

    ``context = False`` keeps what is known beside the pixels from it.
    """

    def __init__(self, screener: Screener, *, context: bool = True) -> None:
        self.bundle = bundle = screener.bundle
        self.manifest = manifest = bundle.manifest
        self._screener = screener
        self.takes_context = bool(manifest.calibration.fusion.context)
        self._pixels_only = self.takes_context and not context
        without = ", pixels only" if self._pixels_only else ""
        self.name = f"{manifest.name} {manifest.version}{without}"
        self.kind: Literal["int8", "float32"] = "int8"
        self.sha256 = bundle.sha256
        if self._pixels_only:
            self.sha256 = hashlib.sha256(f"{bundle.sha256}{without}".encode()).hexdigest()
        self.purpose: Purpose = manifest.purpose
        self.spec = manifest.input_spec
        self.mask_threshold: float | None = manifest.calibration.mask_threshold
        self.operating_points = manifest.calibration.at("image")
        trained = manifest.provenance
        self.trained_on, self.trained_where = trained.dataset, trained.where or ""
        self.facts = {
            "Bundle": f"{self.name}, sha256 {bundle.sha256[:12]}",
            "Network": f"{manifest.model.backbone}, {manifest.model.variant}, "
            f"{self.spec.width} x {self.spec.height} px",
            "Trained on": _training(trained),
            "Licence of the training data": trained.licence,
            "Thresholds": f"fitted on {manifest.calibration.films} films of "
            f"{manifest.calibration.patients} other patients, on int8 files' own outputs",
            "Software of the training": ", ".join(f"{k} {v}" for k, v in trained.software.items()),
        }

    @classmethod
    def open(cls, path: Path, *, context: bool = True, delegate: str = "auto") -> BundleModel:
        """Load a bundle, onto the best delegate unless one is named."""
        return cls(Screener(load_bundle(path), delegate, threads=2), context=context)

    def answer(self, radiograph: Radiograph) -> Answer:
        """Screen one film."""
        if self._pixels_only:
            radiograph = replace(radiograph, age_years=None, sex=None, body_part=None)
        screening = self._screener.screen(radiograph)
        if screening.scores is None:
            raise AssertionError("a readable film gets probabilities")
        mask_logits = None
        if screening.mask_probability is not None:
            # Back to logits, which is what the grid interpolates.
            lesion = np.clip(screening.mask_probability.astype(np.float64), 1e-7, 1.0 - 1e-7)
            mask_logits = np.log(lesion / (1.0 - lesion)).astype(np.float32)
        # Not the document's probabilities, which are rounded: a threshold cuts these.
        tumour, malignant = screening.scores["tumour"], screening.scores["malignant"]
        return Answer(
            decision=screening.decision,
            probabilities=(1.0 - tumour, max(tumour - malignant, 0.0), malignant),
            shape=_shape(radiograph),
            mask_logits=mask_logits,
        )

    def cam(self, radiograph: Radiograph) -> FloatArray:
        """Return the class-activation map (rows, columns, 3) over the network's input, logits."""
        pixels, _ = to_network_pixels(radiograph.display, self.spec)
        tensor = self._screener.bundle.manifest.model.outputs["cam"]
        return np.asarray(tensor.dequantize(self._screener.infer(pixels)["cam"])[0], np.float32)


class FloatModel:
    """A run's float network, on the very pixels that the device would give it.

    The fusion of its heads, operating points and mask threshold are fitted as export fits those of
    the int8 file, on the run's calibration films.

    Raises
    ------
    RunError, DatasetError
        The run has no float weights, or the films that it was trained on are gone or changed.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        from train.networks import float_model

        run = load_run(folder)
        if not run.float_weights.exists():
            raise RunError(
                "the run has no float weights yet",
                "Go on with 'osteoedge train DATASET --out RUN', same recipe",
                str(folder),
            )
        network = float_model(run)
        self._network = tf.function(lambda film: network(film, training=False))
        self.name = f"{folder.name} float (Keras)"
        self.kind: Literal["int8", "float32"] = "float32"
        self.purpose: Purpose = "demo" if run.card.synthetic else "research"
        self.spec = run.recipe.input
        self._mirror = run.recipe.export.mirror
        self.trained_on, self.trained_where = run.card.name, run.recipe.data.where
        self.facts = {
            "Run": folder.name,
            "Network": f"{run.recipe.model.backbone}, float32, Keras, "
            f"{self.spec.width} x {self.spec.height} px",
            "Trained on": run.card.name,
            "Licence of the training data": run.card.licence,
            "Software of the training": ", ".join(f"{k} {v}" for k, v in run.software.items()),
        }
        self._fusion, self.operating_points, self.mask_threshold = self._calibrate(run, network)
        fitted = f"{self._fusion}|{self.mask_threshold}|{self.operating_points}"
        self.sha256 = hashlib.sha256(
            run.float_weights.read_bytes() + run.recipe.to_json().encode() + fitted.encode()
        ).hexdigest()

    def answer(self, radiograph: Radiograph) -> Answer:
        """Answer one film."""
        pixels, _ = to_network_pixels(radiograph.display, self.spec)
        outputs = self._run(pixels)
        if self._mirror:
            outputs = decision.average_mirrored(outputs, self._run(pixels[:, ::-1]))
        context = decision.context_logits(context_words(radiograph), self._fusion)
        probabilities = decision.fuse(outputs, self._fusion, context)
        verdict, _ = decision.decide(probabilities, self.operating_points)
        if any(finding.refuses for finding in check_quality(radiograph)):
            verdict = "unable"
        no_tumour, benign, malignant = (float(p) for p in probabilities)
        return Answer(
            decision=verdict,
            probabilities=(no_tumour, benign, malignant),
            shape=_shape(radiograph),
            mask_logits=np.asarray(outputs["mask"][:, :, 0], np.float32),
        )

    def cam(self, radiograph: Radiograph) -> FloatArray:
        """Return the class-activation map (rows, columns, 3) over the network's input, logits."""
        pixels, _ = to_network_pixels(radiograph.display, self.spec)
        return self._run(pixels)["cam"]

    def _run(self, pixels: npt.NDArray[np.uint8]) -> dict[str, FloatArray]:
        film = self.spec.normalise(pixels)[np.newaxis, :, :, np.newaxis]
        outputs = self._network(film)
        return {head: np.asarray(x.numpy()[0], np.float32) for head, x in outputs.items()}

    def _calibrate(
        self, run: Run, network: object
    ) -> tuple[Fusion, tuple[OperatingPoint, ...], float | None]:
        from train.networks import predict
        from train.parts import film_set

        dataset = run.dataset()
        films = film_set(run, dataset, run.cache(dataset), "calibration").labelled()
        outputs = predict(network, films, mirror=self._mirror)
        labels, rows = films.labels, films.rows
        fusion = fit_fusion(outputs, labels, films.malignant_subtypes, films.context)
        probabilities = fused_probabilities(outputs, fusion, films.context)
        points = operating_points(probabilities, labels, run.recipe.export)
        threshold = fit_mask_threshold(
            decision.mask_probability(outputs["mask"][..., 0]),
            np.asarray(films.cache.masks[rows]),
            labels,
            run.recipe.export.max_false_masks,
        )
        patients = dataset.films["patient_id"].iloc[rows].nunique()
        self.facts["Thresholds"] = (
            f"fitted on {len(labels)} films of {patients} patients that the run kept aside"
        )
        return fusion, points, threshold


def _training(origin: Provenance) -> str:
    if origin.train_films is None:
        return f"other films, elsewhere; calibrated on {origin.dataset}"
    where = f", {origin.where}" if origin.where else ""
    return (
        f"{origin.dataset}, {origin.train_films} films of {origin.train_patients} patients{where}"
    )


def _shape(radiograph: Radiograph) -> tuple[int, int]:
    return radiograph.display.shape[0], radiograph.display.shape[1]
