"""The verbs `export`, `calibrate`, `compat`, `bundle diff` and `bundle qualify`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

if TYPE_CHECKING:
    from export.elsewhere import ForeignModel
    from train.run import Run


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|DATASET",
            help="A finished run of 'osteoedge train'; for a model from elsewhere, a dataset.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write, NAME.osteo.")],
    variant: Annotated[
        str,
        typer.Option(help="qat-int8, or ptq-int8: the float weights, quantized after training."),
    ] = "qat-int8",
    cross_fit: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDS",
            help="Thresholds from all films of 'osteoedge train --folds 5 --out FOLDS': for a "
            "calibration part with fewer than 30 malignant patients.",
        ),
    ] = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Add the float network in half precision, for GPUs.")
    ] = False,
    float32: Annotated[
        Path | None,
        typer.Option(
            metavar="NAME.tflite",
            help="Write the float network to a file of its own: to compare, for other runtimes.",
        ),
    ] = None,
    not_limbs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Films that show no limb (chests, skulls, spines): the device refuses their like.",
        ),
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(help="Private key of 'osteoedge bundle keygen'.")
    ] = None,
    from_keras: Annotated[
        Path | None, typer.Option(help="A model from elsewhere: .keras or .h5 file.")
    ] = None,
    from_saved_model: Annotated[Path | None, typer.Option(help="The same: SavedModel.")] = None,
    from_tflite: Annotated[Path | None, typer.Option(help="The same: float32 .tflite.")] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="With a model from elsewhere: [data], [input] and [export] of a recipe."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="One key: --set export.mirror=false; of a run, [export] alone."),
    ] = None,
) -> None:
    """Export to int8 TFLite, calibrated on the file itself, as a model bundle.

    Stops with exit code 3 where the int8 file lost more than the recipe allows.

    A model from elsewhere takes a grey film, or the same grey in three channels, and gives logits
    of no tumour, benign, malignant, (1, 3) or (1, rows, columns, 3), and perhaps a lesion mask. It
    is quantized and calibrated on a dataset of films that it was not trained on; the recipe says
    how films become its input.

    Example: `osteoedge export runs/phantom --out phantom.osteo`

    To compare: `osteoedge export runs/phantom --out ptq.osteo --variant ptq-int8`

    With few malignant tumours: `osteoedge export runs/btxrd --out btxrd.osteo --cross-fit
    runs/folds`

    From elsewhere: `osteoedge export btxrd --from-keras theirs.keras --out theirs.osteo
    --set input.mean=0 --set input.divisor=255`
    """
    from rich.console import Console
    from rich.table import Table

    from edge_runtime.bundle import Variant, sign_bundle
    from edge_runtime.drift.reference import LEAST_FILMS
    from edge_runtime.errors import ConfigError
    from export.bounds import MALIGNANT_PATIENTS
    from export.pack import export_foreign, export_run
    from train.config import with_export
    from train.run import load_run

    if variant not in get_args(Variant):
        raise ConfigError(f"there is no variant {variant!r}", "Choose qat-int8 or ptq-int8")
    foreign = {"keras": from_keras, "saved_model": from_saved_model, "tflite": from_tflite}
    given = {format: path for format, path in foreign.items() if path is not None}
    if len(given) > 1 or (not given and recipe) or (given and cross_fit):
        raise ConfigError(
            "--recipe is for one model from elsewhere, --cross-fit for a run",
            "Give one of --from-keras, --from-saved-model and --from-tflite, or a run",
        )
    if float32 is not None and float32.suffix != ".tflite":
        raise ConfigError(f"--float32 {float32} is no .tflite file", "Write --float32 NAME.tflite")
    with Console(stderr=True).status("export") as status:

        def say(step: str) -> None:
            status.update(f"export: {step}")

        if given:
            run, foreign_model = _open_foreign(source, out, given, recipe, overrides or [], say)
            result = export_foreign(
                foreign_model, run, out, say, fp16=fp16, float32=float32, not_limbs=not_limbs
            )
        else:
            loaded = load_run(source)
            run = replace(loaded, recipe=with_export(loaded.recipe, overrides or []))
            chosen = cast(Variant, variant)
            result = export_run(
                run,
                out,
                say,
                chosen,
                folds=cross_fit,
                fp16=fp16,
                float32=float32,
                not_limbs=not_limbs,
            )
    signature = None if sign is None else sign_bundle(out, sign)
    manifest = result.manifest
    calibration = manifest.calibration
    table = Table(title=f"{out} ({manifest.purpose})", title_justify="left", show_header=False)
    table.add_row("size", f"{result.bytes / 1e6:.2f} MB")
    for name, figures in manifest.quantization.metrics.items():
        table.add_row(f"macro AUC, {name}", f"{figures['auc_macro']:.4f}")
    gap = manifest.quantization.differences["auc_macro"]
    table.add_row(
        "macro AUC, int8 less float", f"{gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
    )
    for head, parity in manifest.quantization.heads.items():
        table.add_row(
            f"{head} against {manifest.quantization.reference}",
            f"{parity.snr_db:.1f} dB, {parity.mean_steps:.2f} steps on average, "
            f"{parity.max_steps:.0f} at most",
        )
    if manifest.half is not None:
        change = manifest.half.auc_macro
        table.add_row(
            "macro AUC, fp16 less float",
            f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})",
        )
    few = "" if calibration.malignant_patients >= MALIGNANT_PATIENTS else ", too few to serve"
    table.add_row(
        "thresholds set by",
        f"{calibration.films} films of {calibration.patients} patients, "
        f"{calibration.malignant_patients} with a malignant tumour{few}",
    )
    fusion = calibration.fusion
    weights = ", ".join(f"{weight:.2f}" for weight in fusion.mask[1:])
    table.add_row("weight of the class head, and of the mask", f"{fusion.cam:.2f}; {weights}")
    table.add_row("int8 levels used", ", ".join(f"{k} {v}" for k, v in result.levels.items()))
    tpu = manifest.edge_tpu
    mapped = f"{tpu.predicted_mapped} of {tpu.total} operators would map"
    table.add_row("Edge TPU", f"{tpu.status}, {tpu.reason or tpu.compiler}; {mapped}")
    table.add_row("zeros in the int8 kernels", f"{result.zeros:.0%}")
    for point in calibration.operating_points:
        table.add_row(
            f"{point.name} -> {point.action}",
            f"{point.score} >= {point.threshold:.3f}: sensitivity {point.sensitivity.value:.2f} "
            f"({point.sensitivity.low:.2f}-{point.sensitivity.high:.2f}), "
            f"specificity {point.specificity.value:.2f} "
            f"({point.specificity.low:.2f}-{point.specificity.high:.2f})",
        )
    if limits := calibration.limb:
        told = f"{limits.others_refused:.0%} of {limits.others} refused, each left out of the fit"
        table.add_row("films of no limb", f"{told}; AUROC {limits.auroc:.3f}")
    table.add_row(
        "films that others are compared with",
        f"{calibration.drift.films}, without a tumour, one a patient"
        if calibration.drift
        else f"fewer than {LEAST_FILMS} patients without a tumour: no drift is noticed",
    )
    table.add_row("data licence", manifest.provenance.licence)
    table.add_row("signed by", "nobody" if signature is None else signature.key_id)
    Console().print(table)
    typer.echo(f"Next: osteoedge screen FILES --bundle {out} --out results")
    typer.echo(f"      osteoedge evaluate {out} DATASET --out report")


def _open_foreign(
    dataset: Path,
    out: Path,
    given: dict[str, Path],
    recipe: Path | None,
    overrides: list[str],
    say: Callable[[str], None],
) -> tuple[Run, ForeignModel]:
    from rich.progress import Progress

    from export.elsewhere import Format, open_model
    from train.config import load_recipe
    from train.dataset.schema import load_dataset
    from train.fit import open_run

    ((format, path),) = given.items()
    say("open the model")
    foreign = open_model(path, cast(Format, format))
    rows, columns, _ = foreign.shape
    sides = [f"input.height={rows}", f"input.width={columns}"]
    settings = load_recipe(recipe or Path("elsewhere"), [*overrides, *sides])
    say("split the films")
    run = open_run(load_dataset(dataset), out.with_suffix(".run"), settings, Progress(disable=True))
    return run, foreign


def compat(
    model: Annotated[Path, typer.Argument(metavar="MODEL.tflite", help="An int8 or uint8 model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say op by op what an Edge TPU would run, and why not the rest. No compiler is needed.

    Example: `osteoedge compat model.tflite`
    """
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from export.compat import ON_CHIP_BYTES, edge_tpu_compatibility, read_model

    found = edge_tpu_compatibility(read_model(model), model.name)
    if as_json:
        document = {
            "ops": [asdict(op) for op in found.ops],
            "mapped": found.mapped,
            "total": found.total,
            "parameter_bytes": found.parameter_bytes,
            "streams_parameters": found.streams_parameters,
        }
        typer.echo(json.dumps(document, indent=2))
        return
    table = Table("#", "op", "version", "runs on", "why not on the Edge TPU")
    for op in found.ops:
        table.add_row(str(op.index), op.op, str(op.version), op.target, op.reason or "")
    Console().print(table)
    typer.echo(f"{found.mapped} of {found.total} operators would run on the Edge TPU.")
    megabytes = f"{found.parameter_bytes / 2**20:.1f} MiB of parameters"
    room = f"{ON_CHIP_BYTES / 2**20:.0f} MiB that are free on chip"
    if found.streams_parameters:
        typer.echo(f"{megabytes} do not fit the {room}: some cross the bus at every run.")
    else:
        typer.echo(f"{megabytes} fit the {room}.")


def diff(
    first: Annotated[Path, typer.Argument(metavar="A.osteo", help="The bundle in use.")],
    second: Annotated[Path, typer.Argument(metavar="B.osteo", help="The one to replace it.")],
    on: Annotated[Path | None, typer.Option(help="Dataset on which both are measured.")] = None,
    where: Annotated[str, typer.Option(help="Only films that satisfy this.")] = "",
    bounds: Annotated[
        Path | None,
        typer.Option(help="TOML: max_loss, max_gain, max_turned, max_bytes, unchanged."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what changes from one bundle to another; exit code 3 where bounds are not met.

    Example: `osteoedge bundle diff knee-1.osteo knee-2.osteo --on btxrd --where "centre == 2"
    --bounds change.toml`
    """
    import json

    from rich.console import Console
    from rich.table import Table

    from edge_runtime.errors import ConfigError
    from export.bounds import ChangeBounds, load_bounds
    from export.diff import diff_bundles
    from train.dataset.schema import load_dataset
    from train.progress import bar

    asked = None if bounds is None else load_bounds(bounds, ChangeBounds)
    if on is None and asked and (asked.max_loss or asked.max_gain or asked.max_turned is not None):
        raise ConfigError("these bounds need a dataset", "Give one with --on", str(bounds))
    dataset = None if on is None else load_dataset(on).select(where or None)
    with bar() as progress:
        found = diff_bundles(first, second, dataset, asked, progress)
    if as_json:
        typer.echo(json.dumps(found.document(), indent=2))
    else:
        console = Console()
        table = Table("manifest", first.name, second.name, title=f"{len(found.manifest)} changes",
                      title_justify="left")  # fmt: skip
        table.add_row("(bytes of the file)", *map(str, found.bytes))
        for key, (old, new) in found.manifest.items():
            table.add_row(key, _brief(old), _brief(new))
        console.print(table)
        if found.comparisons:
            table = Table("figure", "difference", "95 %", "p", title="second less first",
                          title_justify="left")  # fmt: skip
            for row in found.comparisons:
                span = "" if row.low is None else f"{row.low:+.3f} to {row.high:+.3f}"
                gap = "" if row.difference is None else f"{row.difference:+.3f}"
                p = "" if row.p is None else f"{row.p:.3f}"
                table.add_row(row.figure, gap, span, p)
            console.print(table)
            typer.echo(f"Decisions that differ: {found.turned:.1%}")
        for check in found.checks:
            bound = "" if check.bound is None else f", bound {check.bound:g}"
            value = "not known" if check.found is None else f"{check.found:g}"
            typer.echo(f"{'met' if check.met else 'NOT MET'}: {check.name} {value}{bound}")
    if not found.met:
        raise typer.Exit(3)


def qualify(
    path: Annotated[Path, typer.Argument(metavar="NAME.osteo", help="A bundle.")],
    dataset: Annotated[Path, typer.Argument(help="Films that it has never seen.")],
    bounds: Annotated[Path, typer.Option(help="TOML: what it must reach, see below.")],
    out: Annotated[Path, typer.Option(help="The bundle to write where all bounds are met.")],
    where: Annotated[str, typer.Option(help="Only films that satisfy this.")] = "",
) -> None:
    """Hold a bundle against bounds, through DICOM; where all are met, write it as evaluated.

    Keys of the bounds, all optional: films, centres (at least); unable_rate, false_mask_rate,
    dicom_auc_drop (at most); [sensitivity] and [specificity] by operating point (at least).
    malignant_patients, behind the bundle's thresholds, are 30 at least unless the bounds say
    otherwise. The dataset and its hash, the bounds and what was found go into the manifest, under
    the signature: sign the new bundle. Exit code 3 where a bound is not met; nothing is written
    then.

    Example: `osteoedge bundle qualify knee.osteo btxrd --where "centre == 2" --bounds serve.toml
    --out knee-evaluated.osteo`
    """
    from edge_runtime.errors import GateError
    from export.bounds import ServingBounds, load_bounds
    from export.qualify import qualify as hold_against
    from export.qualify import write_fitness
    from train.dataset.schema import load_dataset
    from train.progress import bar

    asked = load_bounds(bounds, ServingBounds)
    films = load_dataset(dataset).select(where or None)
    with bar() as progress:
        fitness = hold_against(path, films, where or None, asked, progress)
    for check in fitness.bounds:
        value = "not known" if check.found is None else f"{check.found:.4g}"
        typer.echo(
            f"{'met' if check.met else 'NOT MET'}: {check.name} {value}, bound {check.bound:g}"
        )
    if missed := [check.name for check in fitness.bounds if not check.met]:
        raise GateError(
            f"bounds not met: {', '.join(missed)}", "Keep it as research, or train a better one",
            path.name,
        )  # fmt: skip
    write_fitness(path, fitness, out)
    typer.echo(f"Written: {out}, evaluated")
    typer.echo(f"Next: osteoedge bundle sign {out} --key KEY")


def calibrate(
    path: Annotated[Path, typer.Argument(metavar="NAME.osteo", help="A bundle.")],
    dataset: Annotated[Path, typer.Argument(help="Labelled films of the site.")],
    site: Annotated[str, typer.Option(help="The site's name: every result will say it.")],
    sign: Annotated[Path, typer.Option(help="Private key of 'osteoedge bundle keygen'.")],
    out: Annotated[Path, typer.Option(help="The site file to write, NAME.osteosite.")],
    target_sensitivity: Annotated[
        float, typer.Option(help="Share of tumours to be referred, 0.5 to 1.")
    ] = 0.90,
    malignant_sensitivity: Annotated[
        float | None,
        typer.Option(help="The same of malignant tumours, for urgent review. Default: the other."),
    ] = None,
    where: Annotated[str, typer.Option(help="Only films that satisfy this.")] = "",
    run: Annotated[
        Path | None,
        typer.Option(help="The run that the bundle was exported from: finds its training films."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written as JSON.")
    ] = False,
) -> None:
    """Fit a bundle's thresholds and probabilities to one site's films, as a signed site file.

    The films are screened as on a unit. Needed are 60 patients with a tumour and 60 without; exit
    code 3 where the films do not allow it, and no site file then. Beside it lies a folder with a
    report, and with the answers to the films: the same call goes on where it was stopped. Films
    that cannot be read are named, counted as unable, and make exit code 1.

    Example: `osteoedge calibrate knee.osteo clinic --site "District hospital A"
    --target-sensitivity 0.90 --sign hospital --out hospital-a.osteosite`
    """
    import hashlib
    import json

    from rich.console import Console

    from export.site.calibrating import calibrate_site
    from export.site.fit import Targets
    from export.site.report import table
    from train.dataset.schema import load_dataset
    from train.progress import bar
    from train.run import load_run

    malignant = target_sensitivity if malignant_sensitivity is None else malignant_sensitivity
    targets = Targets(target_sensitivity, malignant)
    films = load_dataset(dataset).select(where or None)
    with bar() as progress:
        done = calibrate_site(
            path,
            films,
            out,
            name=site,
            targets=targets,
            key=sign,
            where=where or None,
            run=None if run is None else load_run(run),
            progress=progress,
        )
    for error in done.errors:
        typer.echo(f"Error {error}", err=True)
    for warning in done.reported.warnings:
        typer.echo(f"Warning: {warning}.", err=True)
    if as_json:
        sha256 = hashlib.sha256(out.read_bytes()).hexdigest()
        document = {
            **done.reported.site.model_dump(mode="json", by_alias=True),
            "file": str(out), "sha256": sha256, "report": str(done.page),
            "warnings": done.reported.warnings,
        }  # fmt: skip
        typer.echo(json.dumps(document, indent=2))
    else:
        Console().print(table(done.reported))
        typer.echo(f"Written: {out}    Report: {done.page}")
        typer.echo(f'Next: under [bundle] in unit.toml: site = "{out.name}"')
        typer.echo("      osteoedge serve --config unit.toml --check")
    if done.errors:
        raise typer.Exit(1)


def _brief(value: object) -> str:
    text = "(absent)" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
