"""What age, sex and coarse region alone score: what a model must beat to have read the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold

from edge_runtime.bundle import LABELS
from train.dataset.schema import label_index
from train.evaluate.metrics import evaluate
from train.evaluate.resampling import RESAMPLES, Doubles, Metric

COLUMNS = ("age", "sex", "region")
FOLDS = 5


@dataclass(frozen=True)
class ContextAlone:
    """What a classifier without pixels scores on these films.

    Attributes
    ----------
    columns
        What it was given.
    metrics
        auc_macro, auc_tumour and so on; None where it could not be fitted, for ``reason``.
    """

    columns: tuple[str, ...]
    metrics: Mapping[str, Metric] | None
    reason: str | None

    def document(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        names = ("auc_macro", *(f"auc_{label}" for label in LABELS), "auc_tumour")
        found = self.metrics
        return {
            "columns": list(self.columns),
            "reason": self.reason,
            "metrics": None if found is None else {name: vars(found[name]) for name in names},
        }


def context_alone(predictions: pd.DataFrame, *, resamples: int = RESAMPLES) -> ContextAlone:
    """Predict the labels from age, sex and region, each film by films of other patients.

    Gradient-boosted trees (scikit-learn), five folds stratified by class and grouped by patient.
    Blank is a value of its own: that a fact was written down for tumours only gives them away, and
    is meant to show here.

    Parameters
    ----------
    predictions
        patient_id, label and any of age, sex and region; other columns are not looked at.
    """
    known = predictions[predictions["label"].notna()].reset_index(drop=True)
    columns = tuple(
        name for name in COLUMNS if name in known.columns and known[name].nunique(dropna=False) > 1
    )
    if not columns:
        return ContextAlone((), None, "age, sex and region are blank or the same throughout")
    patients = known.groupby("label")["patient_id"].nunique()
    scarce = [label for label in LABELS if patients.get(label, 0) < FOLDS]
    if scarce:
        few = f"fewer than {FOLDS} patients are labelled {' or '.join(scarce)}"
        return ContextAlone(columns, None, few)
    labels = label_index(known)
    probabilities = _cross_validated(_features(known[list(columns)]), labels, known["patient_id"])
    answered = known[["patient_id", "label"]].assign(decision=None)
    for number, label in enumerate(LABELS):
        answered[f"p_{label}"] = probabilities[:, number]
    return ContextAlone(columns, evaluate(answered, (), resamples=resamples), None)


def _cross_validated(
    features: Doubles, labels: npt.NDArray[np.int32], patients: pd.Series
) -> Doubles:
    """Return probabilities (n, 3), each film's from the four folds that its patient is not in."""
    probabilities = np.full((len(labels), len(LABELS)), np.nan)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for fitted, held in folds.split(features, labels, patients):
        model = HistGradientBoostingClassifier(
            max_iter=100, learning_rate=0.05, max_leaf_nodes=8, random_state=0
        )
        model.fit(features[fitted], labels[fitted])
        # A fold may lack a class: it then cannot be predicted, which is probability 0.
        probabilities[held] = 0.0
        probabilities[np.ix_(held, model.classes_)] = model.predict_proba(features[held])
    return probabilities


def _features(facts: pd.DataFrame) -> Doubles:
    """Return (n, columns) float64: age as it is, words as one column each, blank as NaN."""
    parts = []
    for name in facts.columns:
        if name == "age":
            parts.append(pd.to_numeric(facts[name], errors="coerce").to_numpy(np.float64)[:, None])
        else:
            parts.append(pd.get_dummies(facts[name], dummy_na=True).to_numpy(np.float64))
    return np.concatenate(parts, axis=1)
