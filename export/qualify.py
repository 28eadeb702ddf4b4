"""Whether a bundle meets bounds that were stated before: from research to evaluated."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
from rich.progress import Progress

from edge_runtime.bundle import (
    CARD,
    CARD_PAGE,
    BoundCheck,
    Fitness,
    Manifest,
    load_bundle,
    write_bundle,
)
from edge_runtime.errors import GateError
from export.bounds import ServingBounds
from export.card import to_page, with_fitness
from train.dataset.schema import Dataset
from train.evaluate.metrics import evaluate, paired_differences
from train.evaluate.models import BundleModel
from train.evaluate.resampling import Metric
from train.evaluate.screenings import answer_dataset
from train.evaluate.store import AnswerStore
from train.evaluate.study import seen_in_training
from train.progress import counting


def qualify(
    path: Path, dataset: Dataset, where: str | None, bounds: ServingBounds, progress: Progress
) -> Fitness:
    """Screen a dataset with a bundle, as it is and through DICOM, and hold it against bounds.

    Returns
    -------
    Fitness
        ``evaluated`` where every bound is met, ``research`` otherwise, with every check.

    Raises
    ------
    GateError
        The films are drawings, or the bundle was trained on some: neither says what it does for
        patients. Or the bundle may have been trained on some of the films.
    """
    model = BundleModel.open(path)
    if dataset.card.synthetic or model.purpose == "demo":
        raise GateError(
            "drawings cannot show that a bundle is fit for patients",
            "Use a bundle that was trained on radiographs, and a dataset of them",
            path.name,
        )
    if (seen := seen_in_training(model, dataset)) is not None:
        raise GateError(
            f"the bundle may have been trained on these films: {seen}",
            "Choose others with --where, or another dataset",
            path.name,
        )
    # Bounds hold for films as a unit gets them: as DICOM.
    with tempfile.TemporaryDirectory() as folder, AnswerStore(Path(folder), model.sha256) as store:
        plain, wrapped = (
            answer_dataset(
                model, dataset, store, through_dicom=through,
                progress=counting(progress, words, len(dataset.films)),
            ).predictions
            for words, through in (("screen films", False), ("screen films, through DICOM", True))
        )  # fmt: skip
    metrics = evaluate(wrapped, model.operating_points)
    behind = model.manifest.calibration.malignant_patients
    checks = tuple(_checks(bounds, behind, wrapped, metrics, paired_differences(wrapped, plain)))
    met = all(check.met for check in checks)
    return Fitness(
        status="evaluated" if met else "research",
        dataset=dataset.card.name,
        dataset_sha256=dataset.sha256,
        where=where,
        bounds=checks,
    )


def write_fitness(path: Path, fitness: Fitness, out: Path) -> None:
    """Write a copy of a bundle that states its fitness, unsigned; card included."""
    bundle = load_bundle(path)
    purpose = "evaluated" if fitness.status == "evaluated" else "research"
    manifest = Manifest.model_validate(
        bundle.manifest.model_copy(update={"fitness": fitness, "purpose": purpose}).model_dump(
            by_alias=True
        )
    )
    card = with_fitness(bundle.members[CARD].decode(), fitness)
    page = to_page(card, f"{manifest.name} {manifest.version}")
    changed = {CARD: card.encode(), CARD_PAGE: page.encode()}
    write_bundle(out, manifest, {**bundle.content, **changed})


def _checks(
    bounds: ServingBounds,
    malignant_patients: int,
    answers: pd.DataFrame,
    metrics: Mapping[str, Metric],
    dicom: Mapping[str, Metric],
) -> Iterator[BoundCheck]:
    """Yield every bound that is asked for, and whether it is met."""
    labelled = answers[answers["label"].notna()]
    coverage = metrics["coverage"].value
    at_least: dict[str, tuple[float | None, float | None]] = {
        "films": (bounds.films, float(len(labelled))),
        "centres": (bounds.centres, float(labelled["centre"].nunique())),
        "malignant_patients": (bounds.malignant_patients, float(malignant_patients)),
        **{
            f"{rate}, {point}": (bound, _value(metrics, f"{point}.{rate}"))
            for rate, asked in (
                ("sensitivity", bounds.sensitivity), ("specificity", bounds.specificity)
            )
            for point, bound in asked.items()
        },
    }  # fmt: skip
    drop = dicom["auc_macro"].value
    at_most: dict[str, tuple[float | None, float | None]] = {
        "unable_rate": (bounds.unable_rate, None if coverage is None else 1.0 - coverage),
        "false_mask_rate": (bounds.false_mask_rate, _value(metrics, "false_mask_rate")),
        "dicom_auc_drop": (bounds.dicom_auc_drop, None if drop is None else -drop),
    }
    for asked, sign in ((at_least, 1.0), (at_most, -1.0)):
        for name, (bound, found) in asked.items():
            if bound is not None:
                met = found is not None and sign * (found - bound) >= 0.0
                yield BoundCheck(name=name, bound=bound, found=found, met=met)


def _value(metrics: Mapping[str, Metric], name: str) -> float | None:
    metric = metrics.get(name)
    return None if metric is None else metric.value
