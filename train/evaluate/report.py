"""The evaluation report: one HTML file that needs no network."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from edge_runtime.bundle import LABELS, OperatingPoint
from edge_runtime.files import write_atomically
from edge_runtime.screener import STANDING_SENTENCE
from train.evaluate import charts
from train.evaluate.metrics import Metric, evaluate

_NAMES = {
    "auc_macro": "AUC, mean of the three classes",
    "auc_tumour": "AUC, tumour or none",
    "auc_malignant": "AUC, malignant against the rest",
    "auc_benign": "AUC, benign against the rest",
    "auc_no_tumour": "AUC, no tumour against the rest",
    "spec_at_sens90": "Specificity where sensitivity is 90 %",
    "accuracy": "Accuracy, three classes",
    "dice_tumour": "Dice of the marked area, tumours",
    "false_mask_rate": "Films without tumour on which something was marked",
    "ece": "Calibration error (ECE)",
    "brier": "Brier score",
    "coverage": "Films that could be checked",
}
_AT_A_POINT = ("sensitivity", "specificity", "ppv", "npv", "referral_rate")
_STRATA = ("centre", "region", "sex", "age band", "view")
_AGE_BANDS = [0, 10, 20, 40, 60, 130]
# Of tumours and of films without, for a stratum's AUC to mean anything.
MIN_PER_CLASS = 10
_THUMBNAIL = 420


def write_report(
    path: Path,
    *,
    title: str,
    purpose: str,
    predictions: pd.DataFrame,
    metrics: Mapping[str, Metric],
    operating_points: Sequence[OperatingPoint],
    examples: Sequence[tuple[str, Path]],
    facts: Mapping[str, str],
    variants: Sequence[tuple[str, Mapping[str, Metric]]] = (),
) -> None:
    """Write the report.

    Parameters
    ----------
    purpose
        Of the bundle; ``demo`` puts SYNTHETIC over everything.
    examples
        Caption and overlay picture of films worth looking at.
    facts
        What was evaluated on what, shown at the top.
    variants
        Models side by side, name and metrics.
    """
    known = predictions[predictions["label"].notna()]
    read = known[known["p_no_tumour"].notna()]
    environment = Environment(
        loader=PackageLoader("train.evaluate", "."), autoescape=True, undefined=StrictUndefined
    )
    tumour_cuts = {p.name: p.threshold for p in operating_points if p.score == "tumour"}
    html = environment.get_template("report.html.j2").render(
        title=title,
        synthetic=purpose == "demo",
        sentence=STANDING_SENTENCE,
        facts=facts,
        films=len(known),
        patients=known["patient_id"].nunique(),
        by_label=known["label"].value_counts().to_dict(),
        headline=[(text, metrics[name]) for name, text in _NAMES.items()],
        points=[
            (point, [metrics[f"{point.name}.{name}"] for name in _AT_A_POINT])
            for point in operating_points
        ],
        variants=[
            (name, [found[key] for key in ("auc_macro", "auc_tumour", "auc_malignant", "ece")])
            for name, found in variants
        ],
        charts=[charts.roc(read), charts.reliability(read), charts.scores(read, tumour_cuts)],
        confusion=_confusion(read),
        labels=LABELS,
        strata=_strata(known),
        examples=[(caption, _data_uri(file)) for caption, file in examples],
        unable=known.loc[known["decision"].eq("unable").fillna(False), "image_id"].tolist(),
        decided=bool(known["decision"].notna().any()),
    )
    write_atomically(path, html.encode())


def _confusion(read: pd.DataFrame) -> list[list[int]]:
    """Return counts, a row per true class, a column per most probable class."""
    answer = np.array(LABELS)[read[[f"p_{label}" for label in LABELS]].to_numpy().argmax(axis=1)]
    truth = read["label"].to_numpy()
    return [[int(((truth == t) & (answer == a)).sum()) for a in LABELS] for t in LABELS]


def _strata(known: pd.DataFrame) -> list[dict[str, Any]]:
    banded = known.copy()
    if "age" in banded.columns:
        ages = pd.to_numeric(banded["age"], errors="coerce")
        names = [f"{a}-{b - 1}" for a, b in itertools.pairwise(_AGE_BANDS)]
        banded["age band"] = pd.cut(ages, _AGE_BANDS, right=False, labels=names).astype(object)
    rows: list[dict[str, Any]] = []
    for column in _STRATA:
        if column not in banded.columns:
            continue
        for value, films in banded.groupby(column, dropna=True, sort=True):
            tumours = int((films["label"] != "no_tumour").sum())
            enough = min(tumours, len(films) - tumours) >= MIN_PER_CLASS
            metric = evaluate(films, (), resamples=300)["auc_tumour"] if enough else None
            rows.append(
                {
                    "column": column,
                    "value": str(value).replace("_", " "),
                    "n": len(films),
                    "tumours": tumours,
                    "auc": metric,
                }
            )
    return rows


def _data_uri(file: Path) -> str:
    """Return a picture, made small, as a data URI: the report is one file."""
    picture = cv2.imread(str(file))
    if picture is None:
        raise FileNotFoundError(file)
    scale = _THUMBNAIL / picture.shape[1]
    size = (_THUMBNAIL, round(picture.shape[0] * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
