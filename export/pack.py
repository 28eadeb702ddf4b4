"""Export: convert, pass the gate, and write the bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from edge_runtime.bundle import (
    CARD,
    CARD_PAGE,
    EDGE_TPU_MODEL,
    FAMILIAR,
    GOLDEN,
    HALF_MODEL,
    LIMB_GATE,
    MODEL,
    SBOM,
    GoldenSpec,
    Manifest,
    Provenance,
    Variant,
    write_bundle,
)
from edge_runtime.files import write_atomically
from export.answers import answers
from export.calibrate import Scored, with_thresholds
from export.card import Evidence, to_page, write_card
from export.conversion import Conversion, convert_foreign, convert_run
from export.convert import zero_share
from export.cross_fit import cross_fit
from export.delegate_parity import delegate_parity
from export.drift import drift_reference
from export.edge_compiler import compile_for_edge_tpu
from export.elsewhere import ForeignModel, require_order
from export.float_file import predict_file
from export.gate import CalibrationFilms, described, pass_gate
from export.golden import TOLERANCE, make_golden
from export.half import half_precision
from export.sbom import bill_of_materials
from train.dataset.schema import Dataset
from train.evaluate.metrics import evaluate
from train.evaluate.strata import strata
from train.run import Run


@dataclass(frozen=True)
class ExportResult:
    """What an export measured.

    Attributes
    ----------
    levels
        int8 levels that each head uses.
    zeros
        Share of zeros in the int8 kernels: what rounds to zero, and what was pruned.
    """

    manifest: Manifest
    levels: dict[str, int]
    zeros: float
    bytes: int


def export_run(
    run: Run,
    out: Path,
    say: Callable[[str], None],
    variant: Variant = "qat-int8",
    *,
    folds: Path | None = None,
    fp16: bool = False,
    float32: Path | None = None,
    not_limbs: Path | None = None,
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
    folds
        A cross-validation of the same recipe that sets the thresholds, see
        :mod:`export.cross_fit`.
    fp16
        Put the float network in half precision beside it, for GPUs.
    float32
        Write the float network to this .tflite file as well: to compare, and for other runtimes.
    not_limbs
        A folder of films that show no limb: the device refuses their like.

    Raises
    ------
    RunError
        The run is not finished, or its dataset is gone; or a fold is missing or another's.
    GateError
        The file has a float island, a head with too few levels, or lost more than the recipe
        allows.
    """
    say("open the calibration films")
    given = CalibrationFilms.of(run, not_limbs)
    # First: a fold that is missing is found in a moment, not after the conversion.
    left_out = None if folds is None else cross_fit(run, folds, variant, say)
    say("convert to int8")
    conversion = convert_run(run, given.dataset, given.films.cache, variant)
    return _write(conversion, given, out, say, left_out=left_out, fp16=fp16, float32=float32)


def export_foreign(
    foreign: ForeignModel,
    run: Run,
    out: Path,
    say: Callable[[str], None],
    *,
    fp16: bool = False,
    float32: Path | None = None,
    not_limbs: Path | None = None,
) -> ExportResult:
    """Export a model that was trained elsewhere, quantized and calibrated on a run's films.

    Parameters
    ----------
    run
        Split, but not trained, see :func:`train.fit.open_run`.

    Raises
    ------
    GateError
        As of :func:`export_run`; or its classes come in another order.
    """
    say("open the calibration films")
    given = CalibrationFilms.of(run, not_limbs)
    said, _ = predict_file(foreign.model, given.films, mirror=False)
    require_order(said, given.films.labels)
    say("convert to int8")
    conversion = convert_foreign(foreign, run, given.dataset, given.films.cache)
    return _write(conversion, given, out, say, fp16=fp16, float32=float32, foreign=foreign)


def _write(
    conversion: Conversion,
    given: CalibrationFilms,
    out: Path,
    say: Callable[[str], None],
    *,
    left_out: Scored | None = None,
    fp16: bool,
    float32: Path | None,
    foreign: ForeignModel | None = None,
) -> ExportResult:
    """Write the bundle of a file that passes the gate."""
    run, recipe = given.run, given.run.recipe
    passed = pass_gate(conversion, given, say)
    model, calibration = passed.model, passed.calibration
    if left_out is not None:
        calibration = with_thresholds(calibration, left_out, recipe.export)
    say("measure the films that others will be compared with")
    reference = drift_reference(given, passed.real, calibration, passed.familiar, passed.limb_gate)
    calibration = calibration.model_copy(update={"drift": reference})
    members, half = {MODEL: model}, None
    if fp16:
        say("store the float network in half precision")
        half_model, half = half_precision(conversion, passed, given)
        members[HALF_MODEL] = described(half_model, run)
    if passed.familiar is not None:
        members[FAMILIAR] = passed.familiar.to_npz()
    if passed.limb_gate is not None:
        members[LIMB_GATE] = passed.limb_gate.to_npz()

    say("compile for the Edge TPU, where that can be done")
    compiled = compile_for_edge_tpu(model, recipe.export.min_edge_tpu_share)
    if compiled.log:
        write_atomically(out.with_suffix(".edgetpu.log"), compiled.log.encode())
    if compiled.model is not None:
        members[EDGE_TPU_MODEL] = compiled.model

    say("ask the other delegates of this machine")
    quantization = passed.quantization.model_copy(
        update={"delegates": delegate_parity(passed, given, members)}
    )

    say("draw and record the golden vectors")
    golden = make_golden(passed.loaded, passed.spec, recipe.input)
    members[GOLDEN] = golden.to_npz()
    manifest = Manifest(
        name=out.stem,
        version=_sha256(model)[:12],
        purpose="demo" if run.card.synthetic else "research",
        subtypes=run.vocabulary.subtypes,
        regions=run.vocabulary.regions,
        input_spec=recipe.input,
        input_spec_sha256=recipe.input.sha256(),
        model=passed.spec,
        calibration=calibration,
        quantization=quantization,
        golden=GoldenSpec(vectors=len(golden.pixels), tolerance=TOLERANCE),
        half=half,
        edge_tpu=compiled.facts,
        provenance=_provenance(run, None if foreign is None else foreign.sha256),
    )

    say("write card, bill of materials and bundle")
    said = answers(given.rows, given.films, passed.real, calibration)
    evidence = Evidence(
        films=_with_parts(run, given.dataset),
        metrics=evaluate(said, calibration.at("image")),
        strata=strata(said),
        model_bytes=len(model),
    )
    card = write_card(manifest, evidence)
    members[CARD] = card.encode()
    members[CARD_PAGE] = to_page(card, f"{manifest.name} {manifest.version}").encode()
    members[SBOM] = bill_of_materials(manifest, _sha256(model))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bundle(out, manifest, members)
    if float32 is not None:
        say("write the float network")
        float32.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(float32, described(conversion.exact(), run))
    return ExportResult(manifest, passed.levels, zero_share(model), out.stat().st_size)


def _with_parts(run: Run, dataset: Dataset) -> pd.DataFrame:
    """Return the run's films with the part that each belongs to."""
    return dataset.films.assign(part=run.split()["part"].to_numpy())


def _provenance(run: Run, foreign_sha256: str | None) -> Provenance:
    split = run.split()
    trained = split[split["part"] == "train"]
    here = foreign_sha256 is None
    return Provenance(
        dataset=run.card.name,
        source=run.card.source,
        licence=run.card.licence,
        may_ship_weights=run.card.may_ship_weights,
        where=run.recipe.data.where or None,
        train_films=len(trained) if here else None,
        train_patients=int(trained["patient_id"].nunique()) if here else None,
        model_sha256=foreign_sha256,
        split_sha256=run.split_sha256,
        recipe_sha256=run.recipe.sha256(),
        software=run.software,
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
