"""Evaluate models on a dataset: predictions, metrics with intervals, and the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from edge_runtime.bundle import OperatingPoint, load_bundle
from edge_runtime.errors import DatasetError, OsteoedgeError
from edge_runtime.screener import Screener
from train.dataset.schema import Dataset, load_dataset
from train.evaluate.metrics import Metric, evaluate, paired_difference, write_metrics
from train.evaluate.report import write_report
from train.evaluate.screenings import probability_table, screen_dataset, write_examples
from train.progress import bar

HEADLINE = ("auc_macro", "auc_tumour", "auc_malignant", "spec_at_sens90", "dice_tumour",
            "false_mask_rate", "ece", "coverage")  # fmt: skip


@dataclass(frozen=True)
class _Predicted:
    """One model's answers to a dataset."""

    name: str
    purpose: str
    predictions: pd.DataFrame
    operating_points: tuple[OperatingPoint, ...]
    errors: list[OsteoedgeError]
    examples: list[tuple[str, Path]]
    facts: dict[str, str]


@dataclass(frozen=True)
class Evaluation:
    """What was measured, the first model being the one that is reported.

    Attributes
    ----------
    metrics
        By model, then by name.
    ahead
        For each other model, by how much macro AUC the first one is better, on paired resamples.
    """

    metrics: dict[str, dict[str, Metric]]
    ahead: dict[str, Metric]
    errors: list[OsteoedgeError]

    def print_table(self) -> None:
        """Print the headline figures, one column a model."""
        table = Table(title="95 % intervals by patient bootstrap", title_justify="left")
        table.add_column("metric")
        for name in self.metrics:
            table.add_column(name, justify="right")
        first = next(iter(self.metrics.values()))
        points = [name for name in first if "." in name]
        for name in (*HEADLINE, *points):
            table.add_row(name, *(_cell(found.get(name)) for found in self.metrics.values()))
        if self.ahead:
            lead = [_cell(self.ahead.get(name)) for name in self.metrics]
            table.add_row("auc_macro of the first, less this", *lead)
        Console().print(table)


def evaluate_models(
    models: list[Path],
    dataset_root: Path,
    out: Path,
    *,
    where: str | None,
    through_dicom: bool,
) -> Evaluation:
    """Evaluate bundles, runs and prediction tables on one dataset.

    Writes ``metrics.json`` and ``predictions.csv`` of the first model and ``report.html`` of all.

    Raises
    ------
    DatasetError, BundleError, RunError
        A model or the dataset cannot be opened.
    """
    whole = load_dataset(dataset_root)
    dataset = whole.select(where)
    out.mkdir(parents=True, exist_ok=True)
    answers = [
        _predict(model, dataset, out if number == 0 else None, through_dicom)
        for number, model in enumerate(models)
    ]
    metrics = {
        answer.name: evaluate(answer.predictions, answer.operating_points) for answer in answers
    }
    first = answers[0]
    first.predictions.to_csv(out / "predictions.csv", index=False)
    write_metrics(
        out / "metrics.json",
        predictions=first.predictions,
        metrics=metrics[first.name],
        bundle=first.name,
        dataset=f"{dataset.card.name} (sha256 {dataset.sha256[:12]})",
        where=where,
    )
    write_report(
        out / "report.html",
        title=f"{first.name} on {dataset.card.name}" + (f", {where}" if where else ""),
        purpose=first.purpose,
        predictions=first.predictions,
        metrics=metrics[first.name],
        operating_points=first.operating_points,
        examples=first.examples,
        facts={
            "Dataset": f"{dataset.card.name}, {dataset.card.source}",
            "Data licence": dataset.card.licence,
            "Films chosen": where or "all",
            "Read through DICOM": "yes" if through_dicom else "as they lie in the dataset",
            **first.facts,
        },
        variants=list(metrics.items()) if len(metrics) > 1 else [],
    )
    ahead = {
        other.name: paired_difference(first.predictions, other.predictions) for other in answers[1:]
    }
    return Evaluation(metrics, ahead, [error for answer in answers for error in answer.errors])


def _predict(model: Path, dataset: Dataset, out: Path | None, through_dicom: bool) -> _Predicted:
    if model.is_dir():
        return _predict_run(model, dataset)
    if model.suffix == ".csv":
        return _read_predictions(model, dataset)
    bundle = load_bundle(model)
    screener = Screener(bundle, threads=2)
    manifest = bundle.manifest
    with bar() as progress:
        task = progress.add_task(f"screen with {model.name}", total=len(dataset.films))
        predictions, errors = screen_dataset(
            screener,
            dataset,
            through_dicom=through_dicom,
            progress=lambda done, total: progress.update(task, completed=done),
        )
    examples = list(write_examples(screener, dataset, predictions, out / "overlays")) if out else []
    return _Predicted(
        name=f"{manifest.name} {manifest.version}",
        purpose=manifest.purpose,
        predictions=predictions,
        operating_points=manifest.calibration.operating_points,
        errors=errors,
        examples=examples,
        facts={
            "Bundle": f"{manifest.name} {manifest.version}, sha256 {bundle.sha256[:12]}",
            "Network": f"{manifest.model.backbone}, {manifest.model.variant}, "
            f"{manifest.input_spec.width} x {manifest.input_spec.height} px",
            "Trained on": f"{manifest.provenance.dataset}, {manifest.provenance.train_films} films"
            + (f", {manifest.provenance.where}" if manifest.provenance.where else ""),
            "Licence of the training data": manifest.provenance.licence,
        },
    )


def _predict_run(folder: Path, dataset: Dataset) -> _Predicted:
    """Predict with a run's float network, on the very pixels that the device would give it."""
    from train.dataset.cache import build_cache
    from train.dataset.pipeline import FilmSet
    from train.dataset.schema import label_index
    from train.fit import film_set, float_model, predict
    from train.fusion import fit_fusion, fused_probabilities
    from train.run import load_run

    run = load_run(folder)
    model = float_model(run)
    # As export does for the int8 file, on the same films.
    at_home = run.dataset()
    calibration = film_set(run, at_home, run.cache(at_home), "calibration")
    fusion = fit_fusion(predict(model, calibration), calibration.labels)
    cache = build_cache(dataset, run.recipe.input, folder / "cache-evaluate")
    rows = np.arange(len(dataset.films))
    films = FilmSet(cache, rows, label_index(dataset.films), run.recipe.input)
    probabilities = fused_probabilities(predict(model, films), fusion)
    return _Predicted(
        name=f"{folder.name} float (Keras)",
        purpose="demo" if run.card.synthetic else "research",
        predictions=probability_table(dataset, probabilities),
        operating_points=(),
        errors=[],
        examples=[],
        facts={"Run": folder.name, "Network": f"{run.recipe.model.backbone}, float32, Keras"},
    )


def _read_predictions(path: Path, dataset: Dataset) -> _Predicted:
    """Read a table that an earlier evaluation, or another system, wrote."""
    needed = ["image_id", "p_no_tumour", "p_benign", "p_malignant"]
    try:
        table = pd.read_csv(path, dtype={"image_id": str, "patient_id": str})
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot be read ({error})", "Give a CSV in UTF-8", str(path)) from None
    if missing := [name for name in needed if name not in table.columns]:
        raise DatasetError(
            f"column missing: {', '.join(missing)}", f"Needed are {', '.join(needed)}", path.name
        )
    given = table.set_index("image_id")
    absent = dataset.films[~dataset.films["image_id"].isin(given.index)]
    if len(absent):
        raise DatasetError(
            f"no prediction for {len(absent)} films, the first {absent['image_id'].iloc[0]}",
            "Predict every film of the dataset",
            path.name,
        )
    given = given.loc[dataset.films["image_id"]].reset_index()
    predictions = probability_table(dataset, np.full((len(given), 3), np.nan))
    for name in ("p_no_tumour", "p_benign", "p_malignant", "decision", "dice", "painted"):
        if name in given.columns:
            predictions[name] = given[name].to_numpy()
    return _Predicted(
        name=path.stem,
        purpose="demo" if dataset.card.synthetic else "research",
        predictions=predictions,
        operating_points=(),
        errors=[],
        examples=[],
        facts={"Predictions": path.name},
    )


def _cell(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return "-"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3f}"
    return f"{metric.value:.3f} ({metric.low:.3f}-{metric.high:.3f})"
