"""The verbs `data`, `train` and `evaluate`. TensorFlow and pandas are imported when one runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    from train.progress import bar

    with bar() as progress:
        task = progress.add_task("draw phantoms", total=count)
        generate(
            out, count, seed, progress=lambda done, total: progress.update(task, completed=done)
        )
    typer.echo(f"{count} films in {out}")
    typer.echo(f"Next: osteoedge train {out} --out runs/phantom --recipe phantom")


def train(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")],
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run is continued.")],
    recipe: Annotated[
        Path | None, typer.Option(help="TOML file, or the name of one that comes with osteoedge.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override one key: --set float.epochs=20")
    ] = None,
) -> None:
    """Train in float, then quantization-aware with the float model as teacher.

    Kill it at any time: the same command goes on where it was. Every key of a recipe is explained
    in `train/recipes/default.toml`.

    Example: `osteoedge train phantoms --out runs/phantom --recipe phantom --set seed=1`
    """
    from train.config import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    from train.dataset.schema import load_dataset
    from train.fit import train_run
    from train.progress import bar

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
