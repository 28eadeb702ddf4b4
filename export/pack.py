"""Export: convert, compare with float, calibrate on the file, and write the bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.bundle import (
    CARD,
    CARD_PAGE,
    EDGE_TPU_MODEL,
    FAMILIAR,
    GOLDEN,
    HALF_MODEL,
    MODEL,
    SBOM,
    GoldenSpec,
    Manifest,
    ModelSpec,
    OperatingPoint,
    Provenance,
    Quantization,
    Variant,
    write_bundle,
)
from edge_runtime.delegates.base import LoadedModel
from edge_runtime.delegates.cpu import CpuDelegate
from edge_runtime.errors import GateError
from edge_runtime.familiarity import FamiliarFilms, film_features
from edge_runtime.files import write_atomically
from edge_runtime.preprocess import InputSpec
from export.answers import answers
from export.calibrate import (
    Scored,
    calibrate,
    require_levels,
    run_films,
    shown_outputs,
    with_thresholds,
)
from export.card import Evidence, to_page, write_card
from export.conversion import Conversion, Real, convert_foreign, convert_run
from export.convert import describe, zero_share
from export.cross_fit import cross_fit
from export.edge_compiler import compile_for_edge_tpu
from export.elsewhere import ForeignModel, require_order
from export.familiar import FILMS as FAMILIAR_FILMS
from export.familiar import fit_familiarity, summarise
from export.float_file import predict_file
from export.golden import MAX_STEPS, MEAN_STEPS, make_golden
from export.half import half_precision
from export.layers import layer_losses
from export.metadata import with_metadata
from export.parity import COMPARED, differences, head_parity, losses
from export.sbom import bill_of_materials
from train.dataset.pipeline import FilmSet
from train.dataset.schema import Dataset
from train.evaluate.metrics import evaluate
from train.evaluate.strata import strata
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

    Raises
    ------
    RunError
        The run is not finished, or its dataset is gone; or a fold is missing or another's.
    GateError
        The file has a float island, a head with too few levels, or lost more than the recipe
        allows.
    """
    films = _Films.of(run, say)
    say("convert to int8")
    conversion = convert_run(run, films.dataset, films.calibration.cache, variant)
    left_out = None if folds is None else cross_fit(run, folds, variant, say)
    return _through_the_gate(conversion, films, out, say, left_out=left_out, fp16=fp16)


def export_foreign(
    foreign: ForeignModel, run: Run, out: Path, say: Callable[[str], None], *, fp16: bool = False
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
    films = _Films.of(run, say)
    said = predict_file(foreign.model, films.calibration, mirror=False)
    require_order(said, films.calibration.labels)
    say("convert to int8")
    conversion = convert_foreign(foreign, run, films.dataset, films.calibration.cache)
    return _through_the_gate(conversion, films, out, say, fp16=fp16, foreign=foreign)


@dataclass(frozen=True)
class _Films:
    """A run's dataset, and of its calibration part those with a label, with their rows."""

    run: Run
    dataset: Dataset
    calibration: FilmSet
    rows: pd.DataFrame

    @classmethod
    def of(cls, run: Run, say: Callable[[str], None]) -> _Films:
        say("open the calibration films")
        dataset = run.dataset()
        films = film_set(run, dataset, run.cache(dataset), "calibration").labelled()
        return cls(run, dataset, films, dataset.films.iloc[films.rows])


def _through_the_gate(
    conversion: Conversion,
    given: _Films,
    out: Path,
    say: Callable[[str], None],
    *,
    left_out: Scored | None = None,
    fp16: bool,
    foreign: ForeignModel | None = None,
) -> ExportResult:
    """Compare with float, calibrate on the file, and write the bundle where nothing is lost."""
    run, dataset, films, rows = given.run, given.dataset, given.calibration, given.rows
    recipe, networks = run.recipe, conversion.networks
    spec = describe(conversion.model, conversion.backbone, conversion.variant, conversion.ranges)
    model = _described(conversion.model, run)

    say("run the int8 file on the calibration films")
    loaded = CpuDelegate().load(model, spec, threads=2)
    outputs = run_films(loaded, spec, recipe.input, films.cache.pixels[films.rows])
    levels = require_levels(outputs, recipe.export.min_levels)

    say("compare with float")
    twin = list(networks)[-1]
    heads = head_parity(networks[twin](films, False), outputs.real(), spec)
    real: dict[str, Real] = {
        "int8": shown_outputs(loaded, spec, films, mirror=recipe.export.mirror, plain=outputs)
    }
    familiar = None
    if "embedding" in spec.outputs:
        say("summarise familiar films")
        familiar = _familiar_films(loaded, spec, run, film_set(run, dataset, films.cache, "train"))
    for name, predict in networks.items():
        real[name] = predict(films, recipe.export.mirror)
    fitted = {k: calibrate(answer, films, rows, recipe.export) for k, answer in real.items()}
    if familiar is not None:
        features = film_features(real["int8"]["embedding"])
        limits = fit_familiarity(familiar, features, rows["centre"])
        fitted["int8"] = fitted["int8"].model_copy(update={"familiarity": limits})
    said = {k: answers(rows, films, answer, fitted[k]) for k, answer in real.items()}
    points = (fitted["int8"].at("image"), fitted["float"].at("image"))
    quantization = Quantization(
        reference=f"{conversion.origin}, {twin}",
        heads=heads,
        metrics={k: _values(said[k], fitted[k].at("image")) for k in (*networks, "int8")},
        differences=differences(said["int8"], said["float"], points),
    )
    if lost := losses(heads, quantization.differences, recipe.export):
        pixels = films.cache.pixels[films.rows[:_LAYER_FILMS]]
        raise GateError(
            f"{'; '.join(lost)}{_weakest(model, conversion.exact(), recipe.input, pixels)}",
            _REMEDIES[conversion.variant],
            str(run.folder),
        )

    shipped = fitted["int8"]
    if left_out is not None:
        shipped = with_thresholds(shipped, left_out, recipe.export)
        said["int8"] = answers(rows, films, real["int8"], shipped)
    half = None
    if fp16:
        say("store the float network in half precision")
        half, half_facts = half_precision(
            conversion, spec, films, rows, fitted["float"], recipe.export
        )
    say("compile for the Edge TPU, where that can be done")
    compiled = compile_for_edge_tpu(model, recipe.export.min_edge_tpu_share)
    if compiled.log:
        write_atomically(out.with_suffix(".edgetpu.log"), compiled.log.encode())

    say("draw and record the golden vectors")
    golden = make_golden(loaded, spec, recipe.input)
    manifest = Manifest(
        name=out.stem,
        version=_sha256(model)[:12],
        purpose="demo" if run.card.synthetic else "research",
        subtypes=run.vocabulary.subtypes,
        regions=run.vocabulary.regions,
        input_spec=recipe.input,
        input_spec_sha256=recipe.input.sha256(),
        model=spec,
        calibration=shipped,
        quantization=quantization,
        golden=GoldenSpec(vectors=len(golden.pixels), max_steps=MAX_STEPS, mean_steps=MEAN_STEPS),
        half=None if half is None else half_facts,
        edge_tpu=compiled.facts,
        provenance=_provenance(run, None if foreign is None else foreign.sha256),
    )
    say("write card, bill of materials and bundle")
    evidence = Evidence(
        films=_with_parts(run, dataset),
        metrics=evaluate(said["int8"], shipped.at("image")),
        strata=strata(said["int8"]),
        model_bytes=len(model),
    )
    card = write_card(manifest, evidence)
    out.parent.mkdir(parents=True, exist_ok=True)
    members = {
        MODEL: model,
        GOLDEN: golden.to_npz(),
        CARD: card.encode(),
        CARD_PAGE: to_page(card, f"{manifest.name} {manifest.version}").encode(),
        SBOM: bill_of_materials(manifest, _sha256(model)),
    }
    if familiar is not None:
        members[FAMILIAR] = familiar.to_npz()
    if half is not None:
        members[HALF_MODEL] = _described(half, run)
    if compiled.model is not None:
        members[EDGE_TPU_MODEL] = compiled.model
    write_bundle(out, manifest, members)
    return ExportResult(
        manifest=manifest, levels=levels, zeros=zero_share(model), bytes=out.stat().st_size
    )


def _described(model: bytes, run: Run) -> bytes:
    return with_metadata(
        model,
        run.recipe.input,
        licence=run.card.licence,
        subtypes=run.vocabulary.subtypes,
        regions=run.vocabulary.regions,
    )


def _familiar_films(model: LoadedModel, spec: ModelSpec, run: Run, films: FilmSet) -> FamiliarFilms:
    """Return the summary of some training films' features, as the device computes them."""
    chosen = np.random.default_rng(run.recipe.seed).permutation(len(films))[:FAMILIAR_FILMS]
    some = replace(films, rows=films.rows[chosen])
    real = shown_outputs(model, spec, some, mirror=run.recipe.export.mirror)
    return summarise(film_features(real["embedding"]))


def _values(said: pd.DataFrame, points: tuple[OperatingPoint, ...]) -> dict[str, float]:
    found = evaluate(said, points, resamples=1)
    return {name: value for name in COMPARED if (value := found[name].value) is not None}


def _weakest(model: bytes, exact: bytes, spec: InputSpec, pixels: npt.NDArray[np.uint8]) -> str:
    """Return the layers of the file that lose most against the one in float32, as a phrase."""
    found = layer_losses(model, exact, spec, pixels)[:_LAYERS_NAMED]
    named = ", ".join(f"{loss.layer} ({loss.op}, {loss.snr_db:.1f} dB)" for loss in found)
    return f"; most is lost in {named}" if named else ""


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
