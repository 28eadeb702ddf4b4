"""Evaluate models on a dataset: predictions, metrics with intervals, tests and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from edge_runtime.bundle import OperatingPoint, Purpose
from edge_runtime.errors import OsteoedgeError
from train.dataset.schema import Dataset, load_dataset
from train.evaluate import corruption
from train.evaluate.claim import fill
from train.evaluate.clinic import at_prevalence, decision_curve, false_alarms
from train.evaluate.context import context_alone
from train.evaluate.findings import Findings, ceiling
from train.evaluate.froc import Detections
from train.evaluate.gallery import write_gallery
from train.evaluate.metrics import evaluate, write_metrics
from train.evaluate.models import BundleModel, FilmModel, FloatModel
from train.evaluate.paired import Comparison, compare
from train.evaluate.report import write_report
from train.evaluate.resampling import Metric, with_intervals
from train.evaluate.robustness import DicomPath, UnderCorruption, under_corruption
from train.evaluate.robustness import through_dicom as compare_paths
from train.evaluate.screenings import Answered, answer_corrupted, answer_dataset
from train.evaluate.store import AnswerStore
from train.evaluate.strata import strata
from train.evaluate.study import known_items, seen_in_training
from train.evaluate.tables import read_predictions
from train.progress import bar, counting

HEADLINE = ("auc_macro", "auc_tumour", "auc_malignant", "spec_at_sens90", "dice_tumour",
            "false_mask_rate", "froc_sens_at_1", "ece", "coverage")  # fmt: skip

# Columns; what rich measures of a table in a terminal is never wider than the terminal.
_UNBOUNDED = 100_000


@dataclass(frozen=True)
class _Evaluated:
    """One model, or one table of predictions, and its answers to the dataset."""

    name: str
    kind: str
    sha256: str | None
    purpose: Purpose
    model: FilmModel | None
    answered: Answered
    operating_points: tuple[OperatingPoint, ...]
    facts: dict[str, str]
    metrics: dict[str, Metric]
    detections: Detections | None
    # Answers to the films as they are, where the others came through DICOM.
    plain: pd.DataFrame | None = None


@dataclass(frozen=True)
class Evaluation:
    """What was measured, the first model being the one that is reported.

    Attributes
    ----------
    metrics
        By model, then by name.
    comparisons
        The first model less each other one, on the same films.
    paths
        What reading through DICOM changed; empty where it was not asked for.
    alarms
        Of films without a label; None where there are none.
    """

    metrics: Mapping[str, Mapping[str, Metric]]
    comparisons: Sequence[Comparison]
    paths: Sequence[DicomPath]
    alarms: Mapping[str, Metric] | None
    errors: list[OsteoedgeError]

    def print_table(self) -> None:
        """Print the headline figures, one column a model, below each other what is too wide."""
        console, left = Console(), list(self.metrics)
        unbounded = console.options.update_width(_UNBOUNDED)
        while left:
            beside = len(left)
            while (
                beside > 1
                and console.measure(self._table(left[:beside]), options=unbounded).minimum
                > console.width
            ):
                beside -= 1
            console.print(self._table(left[:beside]))
            left = left[beside:]
        for name, metric in (self.alarms or {}).items():
            console.print(f"films without a label, {name}: {_cell(metric)}")

    def _table(self, names: Sequence[str]) -> Table:
        table = Table(title="95 % intervals by patient bootstrap", title_justify="left")
        table.add_column("metric")
        for name in names:
            table.add_column(name, justify="right")
        first = next(iter(self.metrics.values()))
        points = [name for name in first if "." in name]
        for name in (*HEADLINE, *points):
            table.add_row(name, *(_cell(self.metrics[model].get(name)) for model in names))
        for figure in ("auc_macro", "auc_tumour"):
            leads = {row.other: row for row in self.comparisons if row.figure == figure}
            if leads:
                table.add_row(
                    f"{figure} of the first, less this", *(_lead(leads.get(name)) for name in names)
                )
        if self.paths:
            for figure in ("auc_macro", "auc_tumour", "flips", "referral_flips"):
                changes = {path.model: getattr(path, figure) for path in self.paths}
                table.add_row(
                    f"through DICOM, change: {figure}",
                    *(_cell(changes.get(name)) for name in names),
                )
        return table


def evaluate_models(
    models: list[Path],
    dataset_root: Path,
    out: Path,
    *,
    where: str | None,
    through_dicom: bool,
    robustness: bool,
    prevalences: Sequence[float],
) -> Evaluation:
    """Evaluate bundles, runs and prediction tables on one dataset.

    A bundle that weighs age, sex or region with the pixels is a second time in the table, without
    them. Writes ``metrics.json`` and ``predictions.csv`` of the first model and ``report.html`` of
    all. Answers are kept under ``answers``: an evaluation that was stopped goes on where it was.

    Raises
    ------
    DatasetError, BundleError, RunError
        A model or the dataset cannot be opened.
    """
    dataset = load_dataset(dataset_root).select(where)
    out.mkdir(parents=True, exist_ok=True)
    asked = corruption.ALL if robustness else corruption.BLURS
    answers: list[_Evaluated] = []
    turned: list[UnderCorruption] = []
    paths: list[DicomPath] = []
    pending = [(path, True) for path in models]
    while pending:
        path, context = pending.pop(0)
        found, corrupted = _evaluate(path, dataset, out, through_dicom, asked, context=context)
        if context and isinstance(found.model, BundleModel) and found.model.takes_context:
            pending.insert(0, (path, False))
        number = len(answers) + 1
        taken = any(answer.name == found.name for answer in answers)
        # Two bundles of one model, or two readers with one file name, stay two columns.
        answers.append(replace(found, name=f"{found.name} ({number})") if taken else found)
        turned += [replace(row, model=answers[-1].name) for row in corrupted]
        if through_dicom and found.plain is not None:
            wrapped = found.answered.predictions
            paths.append(compare_paths(answers[-1].name, found.plain, wrapped))
    first = answers[0]
    predictions = first.answered.predictions
    findings = Findings(
        comparisons=[row for other in answers[1:] for row in _compare(first, other)],
        strata=strata(predictions),
        robustness=turned,
        dicom_path=paths,
        prevalence=at_prevalence(predictions, first.operating_points, prevalences),
        context=context_alone(predictions),
        false_alarms=false_alarms(predictions),
        ceiling=ceiling(predictions),
        decision_curve=decision_curve(predictions),
        detections={a.name: a.detections for a in answers if a.detections is not None},
    )
    items = known_items(
        first.model, dataset, where, predictions, findings, through_dicom=through_dicom
    )
    findings = replace(findings, claim=fill(items))
    predictions.to_csv(out / "predictions.csv", index=False)
    write_metrics(
        out / "metrics.json",
        predictions=predictions,
        metrics=first.metrics,
        bundle=first.name,
        dataset=f"{dataset.card.name} (sha256 {dataset.sha256[:12]})",
        where=where,
        sections={
            "models": [
                {
                    "name": answer.name,
                    "kind": answer.kind,
                    "sha256": answer.sha256,
                    "metrics": {name: asdict(metric) for name, metric in answer.metrics.items()},
                }
                for answer in answers
            ],
            **findings.sections(),
        },
    )
    examples = []
    if first.model is not None:
        examples = list(write_gallery(first.model, dataset, predictions, out / "gallery"))
    metrics = {answer.name: answer.metrics for answer in answers}
    write_report(
        out / "report.html",
        title=f"{first.name} on {dataset.card.name}" + (f", {where}" if where else ""),
        purpose=first.purpose,
        predictions=predictions,
        metrics=first.metrics,
        operating_points=first.operating_points,
        examples=examples,
        facts={
            "Dataset": f"{dataset.card.name}, {dataset.card.source}",
            "Data licence": f"{dataset.card.licence}; it covers the pictures below",
            "Films chosen": where or "all",
            "Read through DICOM": "yes" if through_dicom else "as they lie in the dataset",
            **first.facts,
        },
        variants=list(metrics.items()) if len(metrics) > 1 else [],
        findings=findings,
    )
    return Evaluation(
        metrics,
        findings.comparisons,
        findings.dicom_path,
        findings.false_alarms,
        [error for answer in answers for error in answer.answered.errors],
    )


def _evaluate(
    path: Path,
    dataset: Dataset,
    out: Path,
    through_dicom: bool,
    asked: Sequence[corruption.Corruption],
    *,
    context: bool,
) -> tuple[_Evaluated, list[UnderCorruption]]:
    if path.suffix == ".csv":
        return _evaluate_table(path, dataset), []
    model: FilmModel = (
        FloatModel(path) if path.is_dir() else BundleModel.open(path, context=context)
    )
    count = len(dataset.films)
    with AnswerStore(out / "answers", model.sha256) as store, bar() as progress:
        answered = answer_dataset(
            model, dataset, store, through_dicom=through_dicom,
            progress=counting(progress, f"screen with {path.name}", count),
        )  # fmt: skip
        plain_answers = None
        if through_dicom:
            plain_answers = answer_dataset(
                model, dataset, store,
                progress=counting(progress, f"the same, without DICOM, {path.name}", count),
            ).predictions  # fmt: skip
        corrupted = answer_corrupted(
            model, dataset, store, asked, through_dicom=through_dicom,
            progress=counting(progress, f"{len(asked)} corruptions of each film", count),
        )  # fmt: skip
    predictions = answered.predictions
    detections = Detections.of(
        [
            marks if labelled else None
            for marks, labelled in zip(answered.marks, predictions["label"].notna(), strict=True)
        ]
    )
    metrics = evaluate(predictions, model.operating_points)
    metrics |= with_intervals(predictions["patient_id"], detections.measure())
    facts = dict(model.facts)
    if (seen := seen_in_training(model, dataset)) is not None:
        facts["Seen in training"] = seen
    evaluated = _Evaluated(
        name=model.name,
        kind=model.kind,
        sha256=model.sha256,
        purpose="demo" if dataset.card.synthetic else model.purpose,
        model=model,
        answered=answered,
        operating_points=model.operating_points,
        facts=facts,
        metrics=metrics,
        detections=detections if detections.lesions.any() else None,
        plain=plain_answers,
    )
    return evaluated, under_corruption(model.name, predictions, corrupted)


def _evaluate_table(path: Path, dataset: Dataset) -> _Evaluated:
    predictions = read_predictions(path, dataset)
    return _Evaluated(
        name=path.stem,
        kind="predictions",
        sha256=None,
        purpose="demo" if dataset.card.synthetic else "research",
        model=None,
        answered=Answered(predictions, [None] * len(predictions), []),
        operating_points=(),
        facts={"Predictions": path.name},
        metrics=evaluate(predictions, ()),
        detections=None,
    )


def _compare(first: _Evaluated, other: _Evaluated) -> list[Comparison]:
    return compare(
        first.answered.predictions,
        other.answered.predictions,
        other.name,
        (first.operating_points, other.operating_points),
    )


def _cell(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return "-"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3f}"
    return f"{metric.value:.3f} ({metric.low:.3f}-{metric.high:.3f})"


def _lead(row: Comparison | None) -> str:
    if row is None:
        return "-"
    p = "" if row.p is None else f", p {row.p:.3f}"
    return _cell(Metric(row.difference, row.low, row.high)) + p
