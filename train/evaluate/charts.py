"""The charts of the evaluation report, as SVG that needs no other file."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from edge_runtime.bundle import LABELS
from train.evaluate.metrics import auc

# Okabe and Ito's colours, told apart by colour-blind readers.
COLOURS = {"no_tumour": "#0072B2", "benign": "#E69F00", "malignant": "#D55E00", "tumour": "#222222"}
_BINS = 10

mpl.rcParams["svg.hashsalt"] = "osteoedge"


def roc(read: pd.DataFrame) -> str:
    """Draw the ROC curve of each class against the rest, and of tumour against none."""
    figure, axes = _axes("1 - specificity", "sensitivity")
    axes.set_ylim(0, 1.02)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    curves = {label: (read["label"] == label, read[f"p_{label}"]) for label in LABELS}
    curves["tumour"] = (read["label"] != "no_tumour", 1.0 - read["p_no_tumour"])
    for name, (positive, score) in curves.items():
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
    return _svg(figure)


def reliability(read: pd.DataFrame) -> str:
    """Draw how often a tumour was there against how probable it was said to be."""
    figure, axes = _axes("tumour probability, as stated", "share that was a tumour")
    axes.set_ylim(0, 1.02)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    probability = 1.0 - read["p_no_tumour"].to_numpy(np.float64)
    tumour = (read["label"] != "no_tumour").to_numpy()
    groups = np.array_split(np.argsort(probability), min(_BINS, len(read)))
    stated = [probability[group].mean() for group in groups]
    found = [tumour[group].mean() for group in groups]
    axes.plot(stated, found, marker="o", color=COLOURS["tumour"])
    return _svg(figure)


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
    return _svg(figure)


def _axes(x: str, y: str) -> tuple[Figure, mpl.axes.Axes]:
    figure = Figure(figsize=(4.6, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y)
    axes.set_xlim(0, 1)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
