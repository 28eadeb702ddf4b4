"""The verbs `data`, `train` and `evaluate`. TensorFlow and pandas are imported when one runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge_runtime.dataset_folder import ImportResult

data = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Make and check dataset folders."
)


@data.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="New dataset folder.")],
    count: Annotated[int, typer.Option(min=30, help="Number of films.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other patients.")] = 0,
) -> None:
    """Draw procedural limb radiographs with and without lesions: DICOM, masks and the table.

    They are drawings, marked SYNTHETIC, for demonstrations and tests.

    Example: `osteoedge data phantom phantoms --count 600`
    """
    from train.dataset.phantom import generate
    from train.progress import bar, counting

    with bar() as progress:
        generate(out, count, seed, progress=counting(progress, "draw phantoms", count))
    typer.echo(f"{count} films in {out}")
    typer.echo(f"Next: osteoedge train {out} --out runs/phantom --recipe phantom")


@data.command()
def check(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")],
    split: Annotated[
        str | None,
        typer.Option(
            help="A column, a run folder or a split.csv; without it, every column named ...split."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html, report.txt and check.json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print check.json.")] = False,
) -> None:
    """Look for leaks, duplicates, and columns or pixels that give the label away.

    Exit code 3 where a split leaks: a patient, or copies of one film, on two sides. Films that
    cannot be read are named and left out, and make exit code 1.

    Example: `osteoedge data check btxrd --split runs/btxrd --out report`
    """
    from train.dataset.check import check_dataset, print_report, to_json, write_reports
    from train.dataset.schema import load_dataset
    from train.progress import bar

    with bar() as progress:
        result = check_dataset(load_dataset(dataset), split, progress)
    for error in result.errors:
        typer.echo(f"Error {error}", err=True)
    if out is not None:
        write_reports(result, out)
    if as_json:
        typer.echo(to_json(result))
    else:
        print_report(result)
        if out is not None:
            typer.echo(f"Report: {out / 'report.html'}    Figures: {out / 'check.json'}")
    result.refuse_leaks()
    if result.errors:
        raise typer.Exit(1)
    if not as_json:
        typer.echo(f"Next: osteoedge train {dataset} --out runs/{dataset.resolve().name}")


@data.command()
def dicom(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of DICOM films.")],
    out: Annotated[Path, typer.Argument(help="Dataset folder; an unfinished import goes on.")],
    labels: Annotated[
        Path, typer.Option(help="CSV: which film shows what, in the hospital's own words.")
    ],
    label_map: Annotated[
        Path | None, typer.Option("--map", help="TOML: what those words mean, and column names.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="The hospital's secret key, made if absent. Default: OUT.key."),
    ] = None,
) -> None:
    """Import a hospital's own films, de-identified, with their labels.

    Each line of the CSV names its film by `sop_instance_uid`, `accession_number`, `file` (path
    under SRC, or file name) or `patient_id`; those that are filled in must all hold. `label` holds
    words for the label map; `subtype`, `other_finding`, `centre` (a number), `region`, `anatomy`,
    `view`, `laterality`, `reference_standard` and `mask` (a PNG, relative to the CSV) may be there.
    Lines that fit no film, or several that they cannot tell apart, are named and never guessed.

    De-identified by DICOM PS3.15 Annex E; deidentification.html in OUT lists every tag touched.
    Keep the key: with it the same patient gets the same pseudonym next time. Whoever has it can
    tell whether a given patient is in the dataset. Pictures may still show a name: look at them.

    Example: `osteoedge data dicom export/ clinic --labels labels.csv --map words.toml`
    """
    from train.dataset.importers.dicom import DicomSource, import_dicom
    from train.progress import bar

    with bar() as progress:
        result = import_dicom(DicomSource(source, labels, label_map, key), out, progress)
    _report_import(result, out)


@data.command()
def btxrd(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The unpacked official download.")],
    out: Annotated[Path, typer.Argument(help="Dataset folder; an unfinished import goes on.")],
) -> None:
    """Import BTXRD: dataset.xlsx, images/, Annotations/. Licence CC BY-NC-ND 4.0.

    Example: `osteoedge data btxrd downloads/BTXRD btxrd`
    """
    from train.dataset.importers.btxrd import import_btxrd
    from train.progress import bar

    with bar() as progress:
        result = import_btxrd(source, out, progress)
    _report_import(result, out)


@data.command()
def coco(
    annotations: Annotated[Path, typer.Argument(metavar="SRC.json", help="COCO instances.")],
    pictures: Annotated[Path, typer.Argument(metavar="IMAGES", help="Their PNG or JPEG files.")],
    out: Annotated[Path, typer.Argument(help="Dataset folder; an unfinished import goes on.")],
    label_map: Annotated[
        Path | None, typer.Option("--map", help="TOML: what the categories mean.")
    ] = None,
) -> None:
    """Import films with COCO annotations; categories are words for the label map.

    Pictures and names are copied as they are: this does not de-identify.

    Example: `osteoedge data coco instances.json pictures/ limbs --map categories.toml`
    """
    from train.dataset.importers.coco import CocoSource, import_coco
    from train.progress import bar

    with bar() as progress:
        result = import_coco(CocoSource(annotations, pictures, label_map), out, progress)
    _report_import(result, out)


@data.command()
def fracatlas(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The unpacked official download.")],
    out: Annotated[Path, typer.Argument(help="Dataset folder; an unfinished import goes on.")],
) -> None:
    """Import FracAtlas: dataset.csv, images/. Fractures and implants, no tumour label.

    Example: `osteoedge data fracatlas downloads/FracAtlas fracatlas`
    """
    from train.dataset.importers.fracatlas import import_fracatlas
    from train.progress import bar

    with bar() as progress:
        result = import_fracatlas(source, out, progress)
    _report_import(result, out)


def _report_import(result: ImportResult, out: Path) -> None:
    """Say what was imported, what was not, and what to do next."""
    for failure in result.failures:
        typer.echo(f"Error {failure}", err=True)
    for note in result.notes:
        typer.echo(f"Note: {note}.", err=True)
    typer.echo(f"{result.films} films in {out}, {len(result.failures)} errors")
    if result.films:
        typer.echo(f"Next: osteoedge data check {out}")
    else:
        typer.echo("Error not one film could be imported. Correct what is named above.", err=True)
    if result.failures or not result.films:
        raise typer.Exit(1)


def train(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")],
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run is continued.")],
    recipe: Annotated[
        Path | None, typer.Option(help="TOML file, or the name of one that comes with osteoedge.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override one key: --set float.epochs=20")
    ] = None,
    hold_out: Annotated[
        str,
        typer.Option(help="Keep these films and their patients for the test: 'centre == 2'."),
    ] = "",
    folds: Annotated[
        int, typer.Option(min=0, help="Cross-validate: a run for every fold, in RUN/foldF-seedS.")
    ] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="With --folds: how many seeds a fold.")] = 1,
) -> None:
    """Train in float, prune if the recipe says so, then quantization-aware with float as teacher.

    Kill it at any time: the same command goes on where it was. Every key of a recipe is explained
    in `train/recipes/default.toml`.

    Any column can hold films out: a centre, a vendor (`manufacturer == 'Acme'`), a time
    (`acquired_on >= '2024-01-01'`). Copies of a film and films of one patient stay together.

    Example: `osteoedge train phantoms --out runs/phantom --recipe phantom --set seed=1`

    Example: `osteoedge train btxrd --out runs/away --recipe btxrd --hold-out "centre == 2"`
    """
    from edge_runtime.errors import ConfigError
    from train.config import load_recipe

    held = [f"data.hold_out={json.dumps(hold_out)}"] if hold_out else []
    loaded = load_recipe(recipe, [*(overrides or ()), *held])
    from train.dataset.schema import load_dataset
    from train.progress import bar

    if seeds > 1 and not folds:
        raise ConfigError("--seeds needs --folds", "Add --folds 5, or give one seed: --set seed=1")
    if folds:
        from train.cross_validation import cross_validate, spread

        with bar() as progress:
            scores = cross_validate(
                load_dataset(dataset), out, loaded, folds=folds, seeds=seeds, progress=progress
            )
        for name in ("float", "qat"):
            found = spread(scores, f"{name}_auc")
            scatter = [
                f"{value:.3f} between {what}"
                for what, value in (("folds", found.between_folds), ("seeds", found.between_seeds))
                if value is not None
            ]
            typer.echo(f"macro AUC, {name}: {found.mean:.3f}, deviation {', '.join(scatter)}")
        typer.echo(f"Figures: {out / 'summary.json'}")
        return
    from train.fit import train_run

    with bar() as progress:
        run = train_run(load_dataset(dataset), out, loaded, progress)
    typer.echo(f"Trained: {run.folder} ({run.qat_weights.name}, {run.float_weights.name})")
    typer.echo(f"Next: osteoedge export {out} --out {out.name}.osteo")


def evaluate(
    models: Annotated[
        list[Path],
        typer.Argument(help="NAME.osteo, RUN or PREDICTIONS.csv (several are compared), DATASET."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json and report.html.")],
    where: Annotated[
        str, typer.Option(help="Only films that satisfy this: --where 'centre == 2'")
    ] = "",
    through: Annotated[
        str, typer.Option(help="'dicom': wrap pictures as DICOM and read that, as a device would.")
    ] = "",
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Six kinds of corruption at five strengths each.")
    ] = False,
    prevalence: Annotated[
        str, typer.Option(help="Shares of films with a tumour where it will be used, with commas.")
    ] = "0.001,0.01",
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json.")] = False,
) -> None:
    """Measure on a dataset, through the device's own code, with 95 % intervals by patient.

    The first model is the one that is reported; others stand beside it, each tested against it on
    the same films. A run means its float network in Keras. A table (a reader's, another system's)
    has image_id and one or more of: decision; score (higher, more suspicious); p_no_tumour,
    p_benign and p_malignant. Films without a label count as false alarms where they are flagged.
    Films that cannot be read are named, counted as unable, and make exit code 1. Answers are kept
    in the folder: the same call goes on where it was stopped.

    Example: `osteoedge evaluate knee.osteo runs/knee btxrd --out report --where "centre == 2"`
    """
    from edge_runtime.errors import ConfigError

    if through not in {"", "dicom"}:
        raise ConfigError(f"--through knows no {through!r}", "Use --through dicom, or leave it out")
    if len(models) < 2:
        raise ConfigError("a model and a dataset are needed", "Give NAME.osteo, then DATASET")
    prevalences = _shares(prevalence)
    from train.evaluate.evaluation import evaluate_models

    *first, dataset = models
    evaluation = evaluate_models(
        first,
        dataset,
        out,
        where=where or None,
        through_dicom=through == "dicom",
        robustness=robustness,
        prevalences=prevalences,
    )
    for error in evaluation.errors:
        typer.echo(f"Error {error}", err=True)
    if as_json:
        typer.echo((out / "metrics.json").read_text())
    else:
        evaluation.print_table()
        typer.echo(f"Report: {out / 'report.html'}    Figures: {out / 'metrics.json'}")
        if first[0].suffix == ".osteo":
            typer.echo(f"Next: osteoedge bench {first[0]} --out {out / 'bench.json'}")
    if evaluation.errors:
        raise typer.Exit(1)


def _shares(text: str) -> list[float]:
    from edge_runtime.errors import ConfigError

    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0.0 < share < 1.0 for share in shares):
        raise ConfigError(
            f"--prevalence {text!r} is no list of numbers between 0 and 1",
            "Write for example --prevalence 0.001,0.01",
        )
    return list(dict.fromkeys(shares))
