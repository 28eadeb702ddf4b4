"""What a run knows of itself, as the CLAIM checklist asks for it."""

from __future__ import annotations

import pandas as pd

import edge_runtime
from train.dataset.schema import Dataset
from train.evaluate.findings import DEFINITIONS, Findings
from train.evaluate.models import FilmModel


def seen_in_training(model: FilmModel, dataset: Dataset) -> str | None:
    """Return how many of the films the model may have been trained on; None where none can be.

    By the name of the collection and the condition on its films: an upper bound, as part of the
    films that satisfy it were kept aside, and no proof where a collection changed its name.
    """
    if model.trained_on != dataset.card.name:
        return None
    try:
        count = len(dataset.films.query(model.trained_where)) if model.trained_where else None
    except Exception:
        # pandas raises whatever the expression makes it raise; another table, other columns.
        return "not known: the condition of the training does not fit this table"
    seen = len(dataset.films) if count is None else count
    return f"up to {seen} of these {len(dataset.films)} films, same collection" if seen else None


def known_items(
    model: FilmModel | None,
    dataset: Dataset,
    where: str | None,
    predictions: pd.DataFrame,
    findings: Findings,
    *,
    through_dicom: bool,
) -> dict[int, str]:
    """Return what is known, by item of :func:`train.evaluate.claim.fill`."""
    known = predictions[predictions["label"].notna()]
    left_out = len(predictions) - len(known)
    unable = int(predictions["decision"].eq("unable").fillna(False).sum())
    chosen = f"films that satisfy {where!r}" if where else "all films of the dataset folder"
    items = {
        6: "evaluation of a finished model",
        7: f"{dataset.card.name}: {dataset.card.source}; licence {dataset.card.licence}",
        8: f"{chosen}; none was left out for its quality",
        10: chosen,
        12: f"{left_out} films without a label are in no metric; blank facts make a group of their "
        "own; films that cannot be read count as referred",
        28: "; ".join(f"{name}: {text}" for name, text in DEFINITIONS.items()),
        29: "95 % intervals from 1,000 resamples of patients; DeLong's test with films grouped by "
        "patient; exact McNemar tests",
        35: f"{len(predictions)} films of {predictions['patient_id'].nunique()} patients; "
        f"{len(known)} with a label; {unable} could not be checked",
        43: f"osteoedge {edge_runtime.__version__}, Apache-2.0; data under {dataset.card.licence}",
    }
    items |= _patients(known) | _acquisition(known) | _reference(dataset)
    if len(known):
        items |= {
            37: "under Figures and Operating points",
            38: "under Figures, Operating points and By group, each with its interval",
            39: "under Confusion matrix, By group and Best and worst cases",
        }
    if model is not None:
        items |= _of_model(model, dataset, findings, through_dicom)
    return items


def _of_model(
    model: FilmModel, dataset: Dataset, findings: Findings, through_dicom: bool
) -> dict[int, str]:
    spec = model.spec
    kinds = list(dict.fromkeys(row.kind for row in findings.robustness))
    seen = seen_in_training(model, dataset)
    items = {
        1: "deep learning: a convolutional network that classifies a radiograph and outlines the "
        "lesion",
        9: f"{spec.width} x {spec.height} px, {spec.fit}, area resampling, 8 bits"
        + (f", smoothed by {spec.smooth:g} pixels" if spec.smooth else "")
        + (f", CLAHE {spec.clahe_clip:g}" if spec.clahe_clip else "")
        + (", pictures read by way of DICOM" if through_dicom else "")
        + f"; input spec {spec.sha256()[:12]}",
        19: "at random by patient, stratified by class and centre, from a seed in the recipe",
        20: "patient",
        22: model.facts["Network"],
        23: model.facts["Software of the training"],
        26: "the epoch with the best macro AUC on validation patients",
        27: "none: one network",
        30: f"under Robustness: {', '.join(kinds)}",
        31: "class-activation maps under Best and worst cases; not validated",
    }
    if seen is not None:
        items[32] = f"trained on {seen}"
    elif model.trained_on == dataset.card.name:
        items[33] = f"same collection, other films: trained where {model.trained_where}"
    else:
        items[33] = f"trained on {model.trained_on}, tested on {dataset.card.name}"
    return items


def _patients(known: pd.DataFrame) -> dict[int, str]:
    parts = []
    if "age" in known.columns and known["age"].notna().any():
        ages = pd.to_numeric(known["age"], errors="coerce")
        low, middle, high = ages.quantile([0.25, 0.5, 0.75])
        parts.append(f"age {middle:.0f} years, quartiles {low:.0f} and {high:.0f} (films)")
    if "sex" in known.columns and known["sex"].notna().any():
        parts.append(_counted(known, "sex"))
    return {36: "; ".join(parts)} if parts else {}


def _acquisition(known: pd.DataFrame) -> dict[int, str]:
    parts = [
        _counted(known, column)
        for column in ("view", "manufacturer")
        if column in known.columns and known[column].notna().any()
    ]
    return {13: "; ".join(parts)} if parts else {}


def _reference(dataset: Dataset) -> dict[int, str]:
    column = "reference_standard"
    if column not in dataset.films.columns or dataset.films[column].isna().all():
        return {}
    return {14: _counted(dataset.films, column)}


def _counted(films: pd.DataFrame, column: str) -> str:
    counts = films[column].fillna("not stated").value_counts()
    return f"{column.replace('_', ' ')}: " + ", ".join(f"{k} {n}" for k, n in counts.items())
