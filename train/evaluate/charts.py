"""The charts of the evaluation report, as SVG that needs no other file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from edge_runtime.bundle import LABELS
from train.evaluate.clinic import DecisionCurve
from train.evaluate.froc import FROC_RATES, Detections
from train.evaluate.metrics import auc, tumour_score
from train.evaluate.resampling import Metric
from train.evaluate.robustness import UnderCorruption
from train.evaluate.strata import Stratum
from train.svg import plain, svg

# Okabe and Ito's colours, told apart by colour-blind readers.
COLOURS = {"no_tumour": "#0072B2", "benign": "#E69F00", "malignant": "#D55E00", "tumour": "#222222"}
# Of models side by side, the reported one first.
_MODELS = ("#222222", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_BINS = 10


def roc(read: pd.DataFrame) -> str:
    """Draw the ROC curve of each class against the rest, and of tumour against none."""
    figure, axes = _axes("1 - specificity", "sensitivity")
    axes.set_ylim(0, 1.02)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    curves = {label: (read["label"] == label, read[f"p_{label}"]) for label in LABELS}
    curves["tumour"] = (read["label"] != "no_tumour", pd.Series(tumour_score(read), read.index))
    for name, (among, scored) in curves.items():
        positive, score = among[scored.notna()], scored.dropna()
        order = np.argsort(-score.to_numpy(), kind="stable")
        hits, falling = positive.to_numpy()[order], score.to_numpy()[order]
        if not 0 < hits.sum() < len(hits):
            continue
        # No threshold parts films of equal score: one straight piece of the curve spans them.
        last = np.flatnonzero(np.diff(falling, append=-np.inf))
        sensitivity = np.concatenate([[0], np.cumsum(hits)[last] / hits.sum()])
        false = np.concatenate([[0], np.cumsum(~hits)[last] / (~hits).sum()])
        area = auc(positive.to_numpy(), score.to_numpy())
        label = f"{name.replace('_', ' ')} {area:.3f}"
        axes.plot(false, sensitivity, color=COLOURS[name], label=label)
    axes.legend(title="AUC", loc="lower right", frameon=False)
    return svg(figure)


def reliability(read: pd.DataFrame) -> str:
    """Draw how often a tumour was there against how probable it was said to be."""
    return svg(_reliability({"": read}))


def reliability_png(by_name: Mapping[str, pd.DataFrame]) -> bytes:
    """Draw the same of several calibrations in one picture, PNG."""
    stream = io.BytesIO()
    _reliability(by_name).savefig(stream, format="png", dpi=150)
    return stream.getvalue()


def _reliability(by_name: Mapping[str, pd.DataFrame]) -> Figure:
    figure, axes = _axes("tumour probability, as stated", "share that was a tumour")
    axes.set_ylim(0, 1.02)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    for (name, read), colour in zip(by_name.items(), _MODELS, strict=False):
        probability = 1.0 - read["p_no_tumour"].to_numpy(np.float64)
        tumour = (read["label"] != "no_tumour").to_numpy()
        groups = np.array_split(np.argsort(probability), min(_BINS, len(read)))
        stated = [probability[group].mean() for group in groups]
        found = [tumour[group].mean() for group in groups]
        axes.plot(stated, found, marker="o", color=colour, label=name)
    if len(by_name) > 1:
        axes.legend(frameon=False, loc="upper left")
    return figure


def scores(read: pd.DataFrame, thresholds: dict[str, float]) -> str:
    """Draw the tumour probability of each class, and where the operating points cut it."""
    figure, axes = _axes("tumour probability", "films")
    bins = np.linspace(0, 1, 21).tolist()
    for label in LABELS:
        chosen = 1.0 - read.loc[read["label"] == label, "p_no_tumour"]
        axes.hist(
            chosen, bins, histtype="step", linewidth=2, color=COLOURS[label],
            label=label.replace("_", " "),
        )  # fmt: skip
    for name, threshold in thresholds.items():
        axes.axvline(threshold, color="#666666", linestyle="--", linewidth=1)
        axes.text(threshold, axes.get_ylim()[1], f" {name}", va="top", color="#444444", fontsize=9)
    axes.legend(frameon=False)
    return svg(figure)


def froc(detections: Mapping[str, Detections]) -> str:
    """Draw sensitivity to lesions against false marks per film, one curve a model."""
    figure, axes = _axes("false marks per film", "lesions found")
    axes.set_xscale("log", base=2)
    axes.set_xlim(FROC_RATES[0] / 4, FROC_RATES[-1])
    axes.set_ylim(0, 1.02)
    ticks = [FROC_RATES[0] / 4, *FROC_RATES[::2]]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    for (name, found), colour in zip(detections.items(), _MODELS, strict=False):
        rate, sensitivity = found.curve()
        # Beyond its last mark a model finds no more, at whatever rate.
        rate = np.append(np.maximum(rate, FROC_RATES[0] / 4), FROC_RATES[-1])
        axes.step(
            rate, np.append(sensitivity, sensitivity[-1]), where="post", color=colour,
            label=plain(name),
        )  # fmt: skip
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return svg(figure)


def decision(curve: DecisionCurve) -> str:
    """Draw the net benefit of the model, of referring everyone, and of referring nobody."""
    figure, axes = _axes(
        "tumour probability from which a film is looked at", "net benefit per film"
    )
    axes.plot(curve.threshold, curve.everyone, color="#999999", label="refer everyone")
    axes.axhline(0.0, color="#bbbbbb", linestyle="--", label="refer nobody")
    axes.plot(curve.threshold, curve.model, color=COLOURS["tumour"], label="the model")
    top = max(float(curve.everyone.max()), float(curve.model.max()), 0.01)
    axes.set_xlim(0, float(curve.threshold.max()))
    axes.set_ylim(-0.25 * top, 1.08 * top)
    axes.legend(frameon=False)
    return svg(figure)


def forest(strata: Sequence[Stratum], overall: Metric) -> str:
    """Draw the tumour AUC of every group that has one, with its interval, around that of all."""
    rows = [(stratum, stratum.auc) for stratum in strata if stratum.auc is not None]
    figure = Figure(figsize=(7.2, 1.0 + 0.26 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    if overall.value is not None:
        axes.axvline(overall.value, color="#bbbbbb", linewidth=1)
    for height, (_, area) in enumerate(reversed(rows)):
        if area.low is not None and area.high is not None:
            axes.plot([area.low, area.high], [height, height], color="#0072B2", linewidth=1.5)
        axes.plot([area.value or 0.0], [height], "s", color="#0072B2", markersize=4)
    names = [
        plain(f"{stratum.column}: {stratum.value} ({stratum.tumours}/{stratum.n})")
        for stratum, _ in reversed(rows)
    ]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel("AUC, tumour or none")
    axes.spines[["top", "right"]].set_visible(False)
    return svg(figure)


def robustness(rows: Sequence[UnderCorruption], overall: Metric) -> str:
    """Draw the tumour AUC of one model against the strength of each corruption."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    figure = Figure(figsize=(9.2, 2.5 * -(-len(kinds) // 3)), layout="constrained")
    for number, kind in enumerate(kinds, start=1):
        axes = figure.add_subplot(-(-len(kinds) // 3), min(3, len(kinds)), number)
        chosen = sorted((row for row in rows if row.kind == kind), key=lambda row: row.strength)
        known = [row for row in chosen if row.auc_tumour.value is not None]
        strength = [row.strength for row in known]
        axes.plot(
            strength, [row.auc_tumour.value or 0.0 for row in known], marker="o", markersize=3,
            color=COLOURS["tumour"], label="AUC",
        )  # fmt: skip
        decided = [row for row in chosen if row.flips.value is not None]
        axes.plot(
            [row.strength for row in decided], [row.flips.value or 0.0 for row in decided],
            marker="o", markersize=3, color=COLOURS["malignant"], label="decisions turned",
        )  # fmt: skip
        if overall.value is not None:
            axes.axhline(overall.value, color="#bbbbbb", linewidth=1)
        axes.set_ylim(0, 1.02)
        axes.set_title(kind, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        if number == 1:
            axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def _axes(x: str, y: str) -> tuple[Figure, mpl.axes.Axes]:
    figure = Figure(figsize=(4.6, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y)
    axes.set_xlim(0, 1)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
