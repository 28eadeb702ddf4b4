"""How well something that should not know the label predicts it.

Scores are cross-validated: no film is scored by what was learnt from its own patient or from a
duplicate of it. Across centres, a centre is scored by what was learnt at the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold

from train.evaluate.metrics import auc

Rows = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
# (target of all films, rows to learn from, rows to score) -> a score for each of the latter.
Predictor = Callable[[Flags, Rows, Rows], Doubles]

FOLDS = 5
# Of each class, for a figure to mean anything.
MIN_PATIENTS = 10
_SIGMAS_95 = 1.96
_ITERATIONS, _LEAVES = 60, 15


@dataclass(frozen=True)
class Auc:
    """An AUC with its 95 % interval by Hanley and McNeil (Radiology 143:29, 1982).

    The interval counts patients, not films: films of one patient are not independent.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Separability:
    """How well one predictor answers one question.

    Attributes
    ----------
    within
        Cross-validated, grouped by patient and duplicate.
    across
        By centre: learnt at the other centres, tested at this one.
    """

    within: Auc
    across: dict[str, Auc]

    @property
    def strongest(self) -> Auc:
        """The figure whose interval begins highest."""
        return max((self.within, *self.across.values()), key=lambda found: found.low)


@dataclass(frozen=True)
class Question:
    """A yes-or-no question to the label, over the rows that it can be asked of."""

    name: str
    rows: Rows
    target: Flags
    groups: npt.NDArray[np.str_]
    centres: npt.NDArray[np.str_]

    def answerable(self, rows: Rows | None = None) -> bool:
        """Tell whether there are enough patients of both answers."""
        chosen = np.arange(len(self.rows)) if rows is None else rows
        yes, no = self._patients(chosen)
        return min(yes, no) >= MIN_PATIENTS

    def measure(self, predictor: Predictor) -> Separability:
        """Score a predictor within and across centres; the question must be answerable."""
        scores = np.zeros(len(self.rows))
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
        for train, test in folds.split(self.rows, self.target, self.groups):
            scores[test] = predictor(self.target, train, test)
        across = {}
        for centre in sorted(set(self.centres)):
            here = np.flatnonzero(self.centres == centre)
            # A patient seen at two centres is learnt at neither.
            known = np.isin(self.groups, self.groups[here])
            elsewhere = np.flatnonzero(~known)
            if self.answerable(here) and self.answerable(elsewhere):
                across[str(centre)] = self._auc(here, predictor(self.target, elsewhere, here))
        return Separability(self._auc(np.arange(len(self.rows)), scores), across)

    def _patients(self, rows: Rows) -> tuple[int, int]:
        yes = self.target[rows]
        groups = self.groups[rows]
        return len(set(groups[yes])), len(set(groups[~yes]))

    def _auc(self, rows: Rows, scores: Doubles) -> Auc:
        value = auc(self.target[rows], scores)
        yes, no = self._patients(rows)
        first, second = value / (2 - value), 2 * value**2 / (1 + value)
        variance = (
            value * (1 - value) + (yes - 1) * (first - value**2) + (no - 1) * (second - value**2)
        ) / (yes * no)
        half = _SIGMAS_95 * float(np.sqrt(max(variance, 0.0)))
        return Auc(
            round(value, 4), round(max(value - half, 0.0), 4), round(min(value + half, 1), 4)
        )


def questions(films: pd.DataFrame, groups: pd.Series, usable: Flags) -> list[Question]:
    """Return the questions that these films can answer: tumour or none, malignant or benign."""
    label = films["label"]
    asked = {
        "tumour or none": (label.notna(), label != "no_tumour"),
        "malignant or benign": (label.isin(["benign", "malignant"]), label == "malignant"),
    }
    found = []
    for name, (possible, yes) in asked.items():
        rows = np.flatnonzero(possible.to_numpy(bool) & usable)
        question = Question(
            name,
            rows,
            yes.to_numpy(bool)[rows],
            groups.to_numpy(str)[rows],
            films["centre"].astype(str).to_numpy(str)[rows],
        )
        if question.answerable():
            found.append(question)
    return found


def boosted_trees(features: npt.NDArray[np.floating]) -> Predictor:
    """Return a predictor that learns from features (n, k) of a question's rows; NaN is allowed."""

    def predict(target: Flags, train: Rows, test: Rows) -> Doubles:
        trees = HistGradientBoostingClassifier(
            max_iter=_ITERATIONS, max_leaf_nodes=_LEAVES, early_stopping=False, random_state=0
        )
        trees.fit(features[train], target[train])
        return np.asarray(trees.predict_proba(features[test])[:, 1], np.float64)

    return predict
