"""The evaluation report: one HTML file that needs no network."""

from __future__ import annotations

import base64
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
from train.evaluate.metrics import Metric, tumour_auc

_NAMES = {
    "auc_macro": "AUC, mean of the three classes",
    "auc_tumour": "AUC, tumour or none",
    "auc_malignant": "AUC, malignant against the rest",
    "auc_benign": "AUC, benign against the rest",
    "auc_no_tumour": "AUC, no tumour against the rest",
    "spec_at_sens90": "Specificity at a sensitivity of 90\u00a0%",
    "accuracy": "Accuracy, three classes",
    "dice_tumour": "Dice of the marked area, tumours",
    "false_mask_rate": "Films without tumour on which something was marked",
    "ece": "Calibration error (ECE)",
    "brier": "Brier score",
    "coverage": "Films that could be checked",
}
_AT_A_POINT = ("sensitivity", "specificity", "ppv", "npv", "referral_rate")
# Of the table, those that a reader looks for first.
_KEY = ("auc_tumour", "auc_malignant", "spec_at_sens90", "coverage")
_STRATA = ("centre", "region", "sex", "age band", "view")
_AGE_BANDS = {"0-9": 0, "10-19": 10, "20-39": 20, "40-59": 40, "60 and over": 60}
_AGE_LIMIT = 130
# Of tumours and of films without, for a stratum's AUC to mean anything.
MIN_PER_CLASS = 10
# Width and height, px: a dozen films keep the report well under 2 MB.
_THUMBNAIL = (420, 560)


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
    html = environment.get_template("report.html.j2").render(
        title=title,
        synthetic=purpose == "demo",
        sentence=STANDING_SENTENCE,
        facts=facts,
        films=len(known),
        patients=known["patient_id"].nunique(),
        unlabelled=len(predictions) - len(known),
        by_label=known["label"].value_counts().to_dict(),
        names=_NAMES,
        key=_KEY,
        metrics=metrics,
        points=[
            (point, [metrics[f"{point.name}.{name}"] for name in _AT_A_POINT])
            for point in operating_points
        ],
        variants=variants,
        charts=_charts(read, operating_points),
        confusion=_confusion(known),
        labels=LABELS,
        strata=_strata(known),
        min_per_class=MIN_PER_CLASS,
        examples=[(caption, _data_uri(file)) for caption, file in examples],
        # Also those without a label: a person must look at them all the same.
        unable=predictions.loc[
            predictions["decision"].eq("unable").fillna(False), "image_id"
        ].tolist(),
        decided=bool(predictions["decision"].notna().any()),
    )
    write_atomically(path, html.encode())


def _charts(read: pd.DataFrame, points: Sequence[OperatingPoint]) -> list[tuple[str, str]]:
    """Return caption and SVG of the charts that these films allow."""
    if read["label"].nunique() < 2:
        return []
    cuts = {point.name: point.threshold for point in points if point.score == "tumour"}
    return [
        ("ROC: each class against the rest, and tumour or none", charts.roc(read)),
        ("Calibration: on the diagonal, probabilities mean what they say",
         charts.reliability(read)),
        ("Scores by class; dashed, where the operating points cut", charts.scores(read, cuts)),
    ]  # fmt: skip


def _confusion(known: pd.DataFrame) -> list[list[int]]:
    """Return counts, a row per true class, a column per most probable class, last: not read."""
    read = known["p_no_tumour"].notna().to_numpy()
    answer = np.full(len(known), "not read", object)
    probabilities = known.loc[read, [f"p_{label}" for label in LABELS]].to_numpy()
    answer[read] = np.array(LABELS)[probabilities.argmax(axis=1)]
    truth = known["label"].to_numpy()
    return [
        [int(((truth == t) & (answer == a)).sum()) for a in (*LABELS, "not read")] for t in LABELS
    ]


def _strata(known: pd.DataFrame) -> list[dict[str, Any]]:
    banded = known.copy()
    if "age" in banded.columns:
        ages = pd.to_numeric(banded["age"], errors="coerce")
        edges = [*_AGE_BANDS.values(), _AGE_LIMIT]
        banded["age band"] = pd.cut(ages, edges, right=False, labels=list(_AGE_BANDS))
    rows: list[dict[str, Any]] = []
    for column in _STRATA:
        # A column that is blank throughout tells no groups apart.
        if column not in banded.columns or banded[column].isna().all():
            continue
        for value, films in banded.groupby(column, dropna=False, sort=True, observed=True):
            tumour = films["label"] != "no_tumour"
            readable = tumour[films["p_no_tumour"].notna()]
            enough = min(readable.sum(), (~readable).sum()) >= MIN_PER_CLASS
            rows.append(
                {
                    "column": column,
                    "value": "not stated" if pd.isna(value) else str(value).replace("_", " "),
                    "n": len(films),
                    "tumours": int(tumour.sum()),
                    "auc": tumour_auc(films) if enough else None,
                }
            )
    return rows


def _data_uri(file: Path) -> str:
    """Return a picture, made small, as a data URI: the report is one file."""
    picture = cv2.imread(str(file))
    if picture is None:
        raise FileNotFoundError(file)
    height, width = picture.shape[:2]
    scale = min(1.0, _THUMBNAIL[0] / width, _THUMBNAIL[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
