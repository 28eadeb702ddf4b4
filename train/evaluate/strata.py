"""Figures by group: where a mean over all films hides a group that is served worse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from train.dataset.ages import age_bands
from train.evaluate.metrics import REFERRALS, tumour_auc, tumour_score
from train.evaluate.resampling import RESAMPLES, Doubles, Metric, mean, with_intervals

# Of tumours and of films without, for a stratum's AUC to mean anything.
MIN_PER_CLASS = 10
# Shares of the film: half of all tumours of BTXRD cover less than 0.7 %.
_SIZE_BANDS = {"under 0.5 %": 0.0, "0.5-1 %": 0.005, "1-3 %": 0.01, "3 % and over": 0.03}
# Told of tumours only: such a group is compared with all films without a tumour.
_OF_TUMOURS = ("subtype", "lesion size")
STRATA = (*_OF_TUMOURS, "centre", "region", "view", "age band", "sex", "vendor")
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Stratum:
    """One group of films.

    Attributes
    ----------
    auc
        Tumour or none; None where there are too few films of either. Of a group of tumours,
        against all films without a tumour.
    sensitivity, specificity
        Of the decisions (`unable` counts as referred); None where there are none.
    """

    column: str
    value: str
    n: int
    tumours: int
    auc: Metric | None
    sensitivity: Metric | None
    specificity: Metric | None


def strata(predictions: pd.DataFrame, *, resamples: int = RESAMPLES) -> list[Stratum]:
    """Return the groups of the labelled films, column by column; blank columns make none.

    Parameters
    ----------
    predictions
        As :func:`train.evaluate.metrics.evaluate` takes it, with any of the columns subtype,
        lesion_fraction (0..1 of the film), centre, region, view, age, sex and manufacturer.
    """
    known = predictions[predictions["label"].notna()]
    grouped = _with_bands(known)
    tumour = (known["label"] != "no_tumour").to_numpy(bool)
    without = known[~tumour]
    rows = []
    for column in STRATA:
        of_tumours = column in _OF_TUMOURS
        among = grouped[tumour] if of_tumours else grouped
        if column not in grouped.columns or among[column].isna().all():
            continue
        for key, films in among.groupby(column, dropna=False, sort=True, observed=True):
            stated = bool(films[column].notna().all())
            if of_tumours and not stated:
                continue
            value = str(key).replace("_", " ") if stated else NOT_STATED
            rows.append(_stratum(column, value, films, without if of_tumours else None, resamples))
    return rows


def _stratum(
    column: str, value: str, films: pd.DataFrame, rest: pd.DataFrame | None, resamples: int
) -> Stratum:
    ranked = films if rest is None else pd.concat([films, rest])
    tumour = (ranked["label"] != "no_tumour").to_numpy(bool)
    scored = ~np.isnan(tumour_score(ranked))
    enough = min((tumour & scored).sum(), (~tumour & scored).sum()) >= MIN_PER_CLASS
    rates = _rates(films, resamples)
    return Stratum(
        column=column,
        value=value,
        n=len(films),
        tumours=int((films["label"] != "no_tumour").sum()),
        auc=tumour_auc(ranked, resamples=resamples) if enough else None,
        sensitivity=rates["sensitivity"],
        specificity=rates["specificity"],
    )


def _rates(films: pd.DataFrame, resamples: int) -> dict[str, Metric | None]:
    decided = films["decision"].notna().to_numpy(bool)
    referred = films["decision"].isin(REFERRALS).to_numpy(bool)
    tumour = (films["label"] != "no_tumour").to_numpy(bool)

    shares = {"sensitivity": tumour & decided, "specificity": ~tumour & decided}

    def measure(weights: Doubles) -> dict[str, Doubles]:
        return {
            "sensitivity": mean(weights, referred, shares["sensitivity"]),
            "specificity": mean(weights, ~referred, shares["specificity"]),
        }

    found = with_intervals(films["patient_id"], measure, resamples, shares=shares)
    return {name: metric if metric.value is not None else None for name, metric in found.items()}


def _with_bands(known: pd.DataFrame) -> pd.DataFrame:
    banded = known.rename(columns={"manufacturer": "vendor"})
    if "age" in banded.columns:
        banded["age band"] = age_bands(banded["age"])
    if "lesion_fraction" in banded.columns:
        sizes = pd.to_numeric(banded["lesion_fraction"], errors="coerce")
        edges = [*_SIZE_BANDS.values(), 1.01]
        banded["lesion size"] = pd.cut(sizes, edges, right=False, labels=list(_SIZE_BANDS))
    return banded
