"""The gate: an int8 file on the calibration films, against float, and refused where it lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.bundle import Calibration, ModelSpec, OperatingPoint, Quantization, Variant
from edge_runtime.delegates.base import LoadedModel
from edge_runtime.delegates.cpu import CpuDelegate
from edge_runtime.errors import ConfigError, GateError
from edge_runtime.familiarity import FamiliarFilms, film_features
from edge_runtime.limb_gate import LimbGate
from edge_runtime.preprocess import InputSpec
from export.answers import answers
from export.calibrate import calibrate, require_levels, run_films, shown_outputs
from export.conversion import Conversion, Real
from export.convert import describe
from export.familiar import FILMS as FAMILIAR_FILMS
from export.familiar import fit_familiarity, summarise
from export.layers import layer_losses
from export.limb_gate import fit_limb_gate, read_others
from export.metadata import with_metadata
from export.parity import COMPARED, differences, head_parity, losses
from train.dataset.pipeline import FilmSet
from train.dataset.schema import Dataset
from train.evaluate.metrics import evaluate
from train.parts import film_set
from train.run import Run

# Films through which layers are compared where the gate refuses, and layers that it names.
_LAYER_FILMS, _LAYERS_NAMED = 8, 3

_REMEDIES: dict[Variant, str] = {
    "qat-int8": "Train longer quantization-aware (qat.epochs, qat.calibration_batches), or prune "
    "less (prune.sparsity)",
    "ptq-int8": "Train quantization-aware, or clip fewer or more outliers (export.clip_outliers)",
}


@dataclass(frozen=True)
class CalibrationFilms:
    """A run's dataset, and of its calibration part the films with a label, with their rows.

    Attributes
    ----------
    others
        Network pixels (n, height, width) of films that show no limb, or None.
    """

    run: Run
    dataset: Dataset
    films: FilmSet
    rows: pd.DataFrame
    others: npt.NDArray[np.uint8] | None

    @classmethod
    def of(cls, run: Run, not_limbs: Path | None = None) -> CalibrationFilms:
        """Open them, and the folder of films that show no limb.

        Raises
        ------
        RunError
            The dataset is gone, or was changed.
        DatasetError
            The folder holds too few films.
        ConfigError
            The network has no features to tell them by.
        """
        if not_limbs is not None and "embedding" not in run.recipe.model.heads:
            raise ConfigError(
                "without the head 'embedding' nothing tells limbs from other films",
                'Train with model.heads = ["embedding"], or leave --not-limbs out',
            )
        others = None if not_limbs is None else read_others(not_limbs, run.recipe.input)
        dataset = run.dataset()
        films = film_set(run, dataset, run.cache(dataset), "calibration").labelled()
        return cls(run, dataset, films, dataset.films.iloc[films.rows], others)


@dataclass(frozen=True)
class Passed:
    """An int8 file that lost nothing beyond the recipe's bounds, and all that is known of it.

    Attributes
    ----------
    model
        The file, with metadata.
    loaded
        The same on the CPU.
    real
        Its outputs on the calibration films, as the device uses them.
    exact
        The float network's, as they are and as the device would use them.
    calibration, float_calibration
        Fitted on either.
    levels
        int8 levels that each head uses.
    """

    model: bytes
    spec: ModelSpec
    loaded: LoadedModel
    real: Real
    exact: tuple[Real, Real]
    calibration: Calibration
    float_calibration: Calibration
    quantization: Quantization
    familiar: FamiliarFilms | None
    limb_gate: LimbGate | None
    levels: dict[str, int]


def pass_gate(
    conversion: Conversion, given: CalibrationFilms, say: Callable[[str], None]
) -> Passed:
    """Run an int8 file and its float network on the calibration films, and compare.

    Raises
    ------
    GateError
        The file has a float island, a head with too few levels, or lost more than the recipe
        allows.
    """
    run, films, rows = given.run, given.films, given.rows
    config, networks = run.recipe.export, conversion.networks
    spec = describe(conversion.model, conversion.backbone, conversion.variant, conversion.ranges)
    model = described(conversion.model, run)

    say("run the int8 file on the calibration films")
    loaded = CpuDelegate().load(model, spec, threads=2)
    outputs = run_films(loaded, spec, films.spec, films.cache.pixels[films.rows])
    levels = require_levels(outputs, config.min_levels)
    pixels = films.cache.pixels[films.rows]
    shown = shown_outputs(loaded, spec, films.spec, pixels, mirror=config.mirror, plain=outputs)

    say("compare with float")
    twin = list(networks)[-1]
    asked = {name: predict(films) for name, predict in networks.items()}
    heads = head_parity(asked[twin][0], outputs.real(), spec)
    real: dict[str, Real] = {"int8": shown, **{name: both[1] for name, both in asked.items()}}
    fitted = {name: calibrate(output, films, rows, config) for name, output in real.items()}
    said = {name: answers(rows, films, output, fitted[name]) for name, output in real.items()}
    points = (fitted["int8"].at("image"), fitted["float"].at("image"))
    quantization = Quantization(
        reference=f"{conversion.origin}, {twin}",
        heads=heads,
        metrics={
            name: _values(said[name], fitted[name].at("image")) for name in (*networks, "int8")
        },
        differences=differences(said["int8"], said["float"], points),
    )
    if lost := losses(heads, quantization.differences, config):
        pixels = films.cache.pixels[films.rows[:_LAYER_FILMS]]
        raise GateError(
            f"{'; '.join(lost)}{_weakest(model, conversion.exact(), films.spec, pixels)}",
            _REMEDIES[conversion.variant],
            str(run.folder),
        )

    calibration, familiar, limb_gate = fitted["int8"], None, None
    if "embedding" in spec.outputs:
        say("summarise familiar films")
        known, held_out = _training_features(loaded, spec, given), film_features(shown["embedding"])
        familiar = summarise(known)
        found: dict[str, Any] = {"familiarity": fit_familiarity(familiar, held_out, rows["centre"])}
        if given.others is not None:
            say("tell limbs from other films")
            strange = shown_outputs(loaded, spec, films.spec, given.others, mirror=config.mirror)
            limb_gate, found["limb"] = fit_limb_gate(
                known,
                film_features(strange["embedding"]),
                held_out,
                rows["centre"],
                run.recipe.seed,
            )
        calibration = calibration.model_copy(update=found)
    return Passed(
        model=model,
        spec=spec,
        loaded=loaded,
        real=shown,
        exact=asked["float"],
        calibration=calibration,
        float_calibration=fitted["float"],
        quantization=quantization,
        familiar=familiar,
        limb_gate=limb_gate,
        levels=levels,
    )


def described(model: bytes, run: Run) -> bytes:
    """Return a TFLite file of a run with its metadata."""
    return with_metadata(
        model,
        run.recipe.input,
        licence=run.card.licence,
        subtypes=run.vocabulary.subtypes,
        regions=run.vocabulary.regions,
    )


def _training_features(
    model: LoadedModel, spec: ModelSpec, given: CalibrationFilms
) -> npt.NDArray[np.float32]:
    """Return features (n, d) of some training films, as the device computes them."""
    recipe = given.run.recipe
    films = film_set(given.run, given.dataset, given.films.cache, "train")
    chosen = np.random.default_rng(recipe.seed).permutation(len(films))[:FAMILIAR_FILMS]
    pixels = films.cache.pixels[films.rows[chosen]]
    real = shown_outputs(model, spec, films.spec, pixels, mirror=recipe.export.mirror)
    return film_features(real["embedding"])


def _values(said: pd.DataFrame, points: tuple[OperatingPoint, ...]) -> dict[str, float]:
    found = evaluate(said, points, resamples=1)
    return {name: value for name in COMPARED if (value := found[name].value) is not None}


def _weakest(model: bytes, exact: bytes, spec: InputSpec, pixels: npt.NDArray[np.uint8]) -> str:
    """Return the layers of the file that lose most against the one in float32, as a phrase."""
    found = layer_losses(model, exact, spec, pixels)[:_LAYERS_NAMED]
    named = ", ".join(f"{loss.layer} ({loss.op}, {loss.snr_db:.1f} dB)" for loss in found)
    return f"; most is lost in {named}" if named else ""
