"""The evaluation report: one HTML file that needs no network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from edge_runtime.bundle import LABELS, OperatingPoint
from edge_runtime.files import write_atomically
from edge_runtime.screening import STANDING_SENTENCE
from train.evaluate import charts
from train.evaluate.corruption import MEANING
from train.evaluate.findings import DEFINITIONS, Findings
from train.evaluate.metrics import tumour_score
from train.evaluate.resampling import Metric
from train.evaluate.strata import MIN_PER_CLASS, STRATA

_NAMES = {
    "auc_macro": "AUC, mean of the three classes",
    "auc_tumour": "AUC, tumour or none",
    "auc_malignant": "AUC, malignant against the rest",
    "auc_benign": "AUC, benign against the rest",
    "auc_no_tumour": "AUC, no tumour against the rest",
    "spec_at_sens90": "Specificity at a sensitivity of 90\u00a0%",
    "accuracy": "Accuracy, three classes",
    "dice_tumour": "Dice of the marked area, tumours",
    "iou_tumour": "IoU of the marked area, tumours",
    "hd95_tumour": "95\u00a0% Hausdorff distance, pixels of 256, marked tumours",
    "marked_rate": "Tumours on which anything was marked",
    "false_mask_rate": "Films without tumour on which something was marked",
    "froc_mean": "Lesions found, mean over 1/8 to 8 false marks per film",
    "froc_sens_at_1": "Lesions found at one false mark per film",
    "ap50": "AP of the boxes at IoU 0.50",
    "map50_95": "mAP of the boxes, IoU 0.50 to 0.95",
    "ece": "Calibration error (ECE)",
    "brier": "Brier score",
    "coverage": "Films that could be checked",
}
_AT_A_POINT = ("sensitivity", "specificity", "ppv", "npv", "referral_rate")
# Of the table, those that a reader looks for first.
_KEY = ("auc_tumour", "auc_malignant", "spec_at_sens90", "coverage")
_ALARMS = {
    "flagged": "Flagged: false alarms, where no film shows a tumour",
    "urgent": "Flagged as urgent",
    "unable": "Could not be checked",
    "referred": "A person must look: flagged, or not checked",
    "coverage": "Coverage: could be checked",
}
# Width and height, px: a dozen films keep the report well under 2 MB.
_THUMBNAIL = (900, 560)


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
    findings: Findings | None = None,
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
    findings
        Everything else; a part that is empty is left out of the report.
    """
    found = findings or Findings()
    known = predictions[predictions["label"].notna()]
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
        names={name: text for name, text in _NAMES.items() if name in metrics},
        key=_KEY,
        metrics=metrics,
        points=[
            (point, [metrics[f"{point.name}.{name}"] for name in _AT_A_POINT])
            for point in operating_points
        ],
        referred=[metrics[f"referred.{name}"] for name in _AT_A_POINT],
        variants=variants,
        charts=_charts(known, operating_points, found),
        wide_charts=_wide_charts(metrics, found),
        found=found,
        alarms=_ALARMS,
        definitions=DEFINITIONS,
        meaning={
            kind: MEANING[kind] for kind in MEANING if kind in {r.kind for r in found.robustness}
        },
        confusion=_confusion(known),
        labels=LABELS,
        strata=found.strata,
        blank_columns=[c for c in STRATA if c not in {s.column for s in found.strata}],
        min_per_class=MIN_PER_CLASS,
        examples=[(caption, _data_uri(file)) for caption, file in examples],
        # Also those without a label: a person must look at them all the same.
        unable=predictions.loc[
            predictions["decision"].eq("unable").fillna(False), "image_id"
        ].tolist(),
        decided=bool(predictions["decision"].notna().any()),
    )
    write_atomically(path, html.encode())


def _charts(
    known: pd.DataFrame, points: Sequence[OperatingPoint], found: Findings
) -> list[tuple[str, str]]:
    """Return caption and SVG of the charts that these films allow."""
    scored = known[~np.isnan(tumour_score(known))]
    read = known[known["p_no_tumour"].notna()]
    drawn = []
    if scored["label"].nunique() > 1:
        drawn.append(("ROC: each class against the rest, and tumour or none", charts.roc(scored)))
    if read["label"].nunique() > 1:
        cuts = {point.name: point.threshold for point in points if point.score == "tumour"}
        drawn += [
            ("Calibration: on the diagonal, probabilities mean what they say",
             charts.reliability(read)),
            ("Scores by class; dashed, where the operating points cut", charts.scores(read, cuts)),
        ]  # fmt: skip
    if found.detections:
        drawn.append(
            ("FROC: lesions found by the boxes of the mask (IoU at least 0.2), all films with a "
             "reference", charts.froc(found.detections)),
        )  # fmt: skip
    if found.decision_curve is not None:
        drawn.append(
            ("Decision curve: where the model lies above both lines, following it does more good "
             "than referring everyone or nobody, at the share of tumours in these films",
             charts.decision(found.decision_curve)),
        )  # fmt: skip
    return drawn


def _wide_charts(metrics: Mapping[str, Metric], found: Findings) -> dict[str, str]:
    """Return the SVG of the forest plot and of robustness, where there is something to draw."""
    drawn = {}
    if any(stratum.auc is not None for stratum in found.strata):
        drawn["strata"] = charts.forest(found.strata, metrics["auc_tumour"])
    if len({row.kind for row in found.robustness}) > 1:
        first = found.robustness[0].model
        rows = [row for row in found.robustness if row.model == first]
        drawn["robustness"] = charts.robustness(rows, metrics["auc_tumour"])
    return drawn


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
