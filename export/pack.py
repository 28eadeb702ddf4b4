"""Export a run: convert, compare with float, calibrate on the file, and write the bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle import (
    GoldenSpec,
    Manifest,
    Provenance,
    Variant,
    write_bundle,
)
from edge_runtime.decision import average_mirrored
from edge_runtime.delegates.cpu import CpuDelegate
from edge_runtime.errors import GateError
from export.calibrate import calibrate, require_levels, run_films
from export.convert import describe, to_int8, zero_share
from export.golden import MAX_STEPS, MEAN_STEPS, make_golden
from train.dataset.pipeline import FilmSet
from train.fusion import fused_auc
from train.networks import float_model, predict, qat_model
from train.parts import film_set
from train.run import Run

REPRESENTATIVE_FILMS = 200


@dataclass(frozen=True)
class ExportResult:
    """What an export measured.

    Attributes
    ----------
    auc
        Macro AUC on the calibration films: `float` and, of that variant, `qat` by Keras, `int8` by
        the device.
    levels
        int8 levels that each head uses.
    zeros
        Share of zeros in the int8 kernels: what rounds to zero, and what was pruned.
    """

    manifest: Manifest
    auc: dict[str, float]
    levels: dict[str, int]
    zeros: float
    bytes: int


def export_run(
    run: Run, out: Path, say: Callable[[str], None], variant: Variant = "qat-int8"
) -> ExportResult:
    """Export a run to a bundle.

    Parameters
    ----------
    out
        The bundle's path; its stem is the bundle's name.
    say
        Called with each step's name as it begins.
    variant
        ``ptq-int8`` quantizes the float weights after training, by the ranges of training films: to
        see what quantization-aware training gained.

    Raises
    ------
    RunError
        The run is not finished, or its dataset is gone.
    GateError
        The file has a float island, a head with too few levels, or lost too much AUC.
    """
    recipe = run.recipe
    say("open the run's calibration films")
    dataset = run.dataset()
    films = film_set(run, dataset, run.cache(dataset), "calibration").labelled()

    say("convert to int8")
    networks = {"float": float_model(run)}
    if variant == "qat-int8":
        networks["qat"] = qat_model(run)
        model = to_int8(networks["qat"], recipe.input)
    else:
        seen = film_set(run, dataset, films.cache, "train")
        model = to_int8(networks["float"], recipe.input, _representative(seen, recipe.seed))
    spec = describe(model, recipe.model.backbone, variant, _sha256(model))

    say("run the int8 file on the calibration films")
    loaded = CpuDelegate().load(model, spec, threads=2)
    pixels = films.cache.pixels[films.rows]
    outputs = run_films(loaded, spec, recipe.input, pixels)
    levels = require_levels(outputs, recipe.export.min_levels)
    real = outputs.real()
    if recipe.export.mirror:
        mirrored = run_films(loaded, spec, recipe.input, pixels[:, :, ::-1])
        real = average_mirrored(real, mirrored.real())

    say("compare with Keras")
    auc = {"int8": fused_auc(real, films.labels, films.malignant_subtypes)}
    for name, network in networks.items():
        answers = predict(network, films, mirror=recipe.export.mirror)
        auc[name] = fused_auc(answers, films.labels, films.malignant_subtypes)
    if auc["float"] - auc["int8"] > recipe.export.max_auc_drop:
        raise GateError(
            f"int8 has macro AUC {auc['int8']:.4f} on {len(films)} calibration films, "
            f"float {auc['float']:.4f}: more than {recipe.export.max_auc_drop} is lost",
            "Train longer quantization-aware (qat.epochs, qat.calibration_batches), or prune less "
            "(prune.sparsity)",
            str(run.folder),
        )

    say("fit fusion and operating points")
    patients = dataset.films["patient_id"].iloc[films.rows].nunique()
    calibration = calibrate(real, films, patients, recipe.export)

    say("draw and record the golden vectors")
    golden = make_golden(loaded, spec, recipe.input)
    manifest = Manifest(
        name=out.stem,
        version=f"{spec.sha256[:12]}",
        purpose="demo" if run.card.synthetic else "research",
        subtypes=run.vocabulary.subtypes,
        regions=run.vocabulary.regions,
        input_spec=recipe.input,
        input_spec_sha256=recipe.input.sha256(),
        model=spec,
        calibration=calibration,
        golden=GoldenSpec(
            sha256=_sha256(golden.to_npz()),
            vectors=len(golden.pixels),
            max_steps=MAX_STEPS,
            mean_steps=MEAN_STEPS,
        ),
        provenance=_provenance(run),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bundle(out, manifest, model, golden)
    return ExportResult(
        manifest=manifest,
        auc=auc,
        levels=levels,
        zeros=zero_share(model),
        bytes=out.stat().st_size,
    )


def _representative(films: FilmSet, seed: int) -> Iterator[npt.NDArray[np.float32]]:
    chosen = np.random.default_rng(seed).permutation(films.rows)[:REPRESENTATIVE_FILMS]
    for pixels in films.cache.pixels[np.sort(chosen)]:
        yield films.spec.normalise(pixels)[np.newaxis, :, :, np.newaxis]


def _provenance(run: Run) -> Provenance:
    split = run.split()
    trained = split[split["part"] == "train"]
    return Provenance(
        dataset=run.card.name,
        source=run.card.source,
        licence=run.card.licence,
        may_ship_weights=run.card.may_ship_weights,
        where=run.recipe.data.where or None,
        train_films=len(trained),
        train_patients=int(trained["patient_id"].nunique()),
        split_sha256=run.split_sha256,
        recipe_sha256=run.recipe.sha256(),
        software=run.software,
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
