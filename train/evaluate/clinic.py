"""What a clinic lives with: rare tumours, referrals, and films without any label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from train.evaluate.metrics import Films, Threshold, at_point
from train.evaluate.resampling import (
    RESAMPLES,
    Doubles,
    Flags,
    Metric,
    divide,
    mean,
    with_intervals,
)

# Threshold probabilities of the decision curve: nobody asks to be surer before a second look.
DECISION_THRESHOLDS = np.linspace(0.01, 0.60, 60)


@dataclass(frozen=True)
class AtPrevalence:
    """One operating point where tumours are as rare as stated.

    Attributes
    ----------
    ppv, npv
        0..1.
    flagged_per_1000
        Films of 1,000 that a person must look at.
    referrals_per_tumour
        Films referred for each tumour found: 1 / ppv.
    """

    point: str
    finds: str
    prevalence: float
    ppv: Metric
    npv: Metric
    flagged_per_1000: Metric
    referrals_per_tumour: Metric


def at_prevalence(
    predictions: pd.DataFrame,
    points: Sequence[Threshold],
    prevalences: Sequence[float],
    *,
    resamples: int = RESAMPLES,
) -> list[AtPrevalence]:
    """Carry sensitivity and specificity over to other shares of tumours, by Bayes' rule.

    Each operating point, and `referred`, the decisions themselves, where there are any. It holds
    where tumours and films without are like these, only mixed otherwise.

    Parameters
    ----------
    prevalences
        Shares of films that show what the point is to find, each in 0..1, ends left out.
    """
    known = predictions[predictions["label"].notna()]
    films = Films.of(known)
    cut: list[tuple[str, str, Flags, Flags, Flags]] = []
    everyone = np.ones(len(known), bool)
    if films.decided.any():
        cut.append(("referred", "tumours", films.labels > 0, films.referred, films.decided))
    for point in points:
        finds = "malignant tumours" if point.score == "malignant" else "tumours"
        cut.append((point.name, finds, *at_point(point, films), everyone))
    rows = []
    for name, finds, positive, referred, among in cut:

        def measure(
            weights: Doubles,
            positive: Flags = positive,
            referred: Flags = referred,
            among: Flags = among,
        ) -> dict[str, Doubles]:
            sensitivity = mean(weights, referred, positive & among)
            specificity = mean(weights, ~referred, ~positive & among)
            return {
                f"{kind} {share}": values
                for share in prevalences
                for kind, values in _bayes(sensitivity, specificity, share).items()
            }

        found = with_intervals(known["patient_id"], measure, resamples)
        rows += [
            AtPrevalence(
                name,
                finds,
                share,
                ppv=found[f"ppv {share}"],
                npv=found[f"npv {share}"],
                flagged_per_1000=found[f"flagged {share}"],
                referrals_per_tumour=found[f"referrals {share}"],
            )
            for share in prevalences
        ]
    return rows


def _bayes(sensitivity: Doubles, specificity: Doubles, prevalence: float) -> dict[str, Doubles]:
    true, false = sensitivity * prevalence, (1.0 - specificity) * (1.0 - prevalence)
    missed, spared = (1.0 - sensitivity) * prevalence, specificity * (1.0 - prevalence)
    return {
        "ppv": divide(true, true + false),
        "npv": divide(spared, spared + missed),
        "flagged": 1000.0 * (true + false),
        "referrals": divide(true + false, true),
    }


def net_benefit(positive: Flags, probability: Doubles, threshold: Doubles) -> Doubles:
    """Return true positives less false ones, these weighed by the odds of the threshold, per film.

    Vickers and Elkin, "Decision curve analysis", Medical Decision Making 26:565, 2006.

    Parameters
    ----------
    positive, probability
        (n,); probability 0..1.
    threshold
        (t,), the probability from which a person would want a film looked at, 0..1, 1 left out.
    """
    flagged = probability[None, :] >= threshold[:, None]
    odds = threshold / (1.0 - threshold)
    true, false = (flagged & positive).mean(axis=1), (flagged & ~positive).mean(axis=1)
    return np.asarray(true - false * odds, np.float64)


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit by threshold (t,), of the model and of referring everyone; of nobody it is 0."""

    threshold: Doubles
    model: Doubles
    everyone: Doubles

    def rows(self) -> list[dict[str, float]]:
        """Return it as JSON takes it."""
        return [
            {"threshold": round(float(t), 4), "model": float(m), "refer_all": float(a)}
            for t, m, a in zip(self.threshold, self.model, self.everyone, strict=True)
        ]


def decision_curve(predictions: pd.DataFrame) -> DecisionCurve | None:
    """Return the decision curve of the tumour probability; None without probabilities and labels.

    At the share of tumours in these films.
    """
    read = predictions[predictions["label"].notna() & predictions["p_no_tumour"].notna()]
    positive = (read["label"] != "no_tumour").to_numpy(bool)
    if not 0 < positive.sum() < len(positive):
        return None
    probability = 1.0 - read["p_no_tumour"].to_numpy(np.float64)
    cuts = DECISION_THRESHOLDS
    everyone = net_benefit(positive, np.ones(len(positive)), cuts)
    return DecisionCurve(cuts, net_benefit(positive, probability, cuts), everyone)


def false_alarms(
    predictions: pd.DataFrame, *, resamples: int = RESAMPLES
) -> dict[str, Metric] | None:
    """Describe the films without a label: what share is flagged, and what share could be checked.

    On a collection in which tumours are next to absent, every flag is taken for a false alarm.

    Returns
    -------
    dict or None
        flagged (routine or urgent), urgent, unable, coverage (1 - unable) and, as what a person
        must look at, referred (flagged or unable); 0..1. None where no such film has a decision.
    """
    films = predictions[predictions["label"].isna() & predictions["decision"].notna()]
    if films.empty:
        return None
    decision = films["decision"]
    shares = {
        "flagged": decision.isin(["urgent_review", "routine_review"]),
        "urgent": decision.eq("urgent_review"),
        "unable": decision.eq("unable"),
        "referred": decision.ne("not_flagged"),
        "coverage": decision.ne("unable"),
    }
    values = {name: share.to_numpy(bool) for name, share in shares.items()}
    return with_intervals(
        films["patient_id"],
        lambda w: {name: mean(w, value) for name, value in values.items()},
        resamples,
        shares=dict.fromkeys(values, np.ones(len(films), bool)),
    )
