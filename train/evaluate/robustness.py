"""What another way to the network costs, and what corruption does: AUC, and decisions turned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from train.evaluate.corruption import Corruption
from train.evaluate.metrics import REFERRALS, discrimination, paired_differences
from train.evaluate.resampling import RESAMPLES, Doubles, Flags, Metric, mean, with_intervals


@dataclass(frozen=True)
class UnderCorruption:
    """One model's figures on corrupted films.

    Attributes
    ----------
    flips
        Share of films, labelled or not, whose decision is another one than on the film as it is.
    referral_flips
        Of these, those that turn between referred and not.
    """

    model: str
    kind: str
    strength: float
    auc_macro: Metric
    auc_tumour: Metric
    flips: Metric
    referral_flips: Metric


def under_corruption(
    model: str,
    plain: pd.DataFrame,
    corrupted: Mapping[Corruption, pd.DataFrame],
    *,
    resamples: int = RESAMPLES,
) -> list[UnderCorruption]:
    """Compare answers to corrupted films with those to the same films as they are.

    Parameters
    ----------
    plain, corrupted
        Predictions of the same films in the same order.
    """
    rows = []
    for corruption, answers in corrupted.items():
        flips = _turned(plain, answers, resamples)
        figures = discrimination(answers, resamples=resamples)
        rows.append(
            UnderCorruption(
                model,
                corruption.kind,
                corruption.strength,
                figures["auc_macro"],
                figures["auc_tumour"],
                **flips,
            )
        )
    return rows


@dataclass(frozen=True)
class DicomPath:
    """One model's answers to films read through DICOM, less those to the films as they are.

    Attributes
    ----------
    auc_macro, auc_tumour
        Paired differences.
    flips, referral_flips
        As of :class:`UnderCorruption`.
    """

    model: str
    auc_macro: Metric
    auc_tumour: Metric
    flips: Metric
    referral_flips: Metric


def through_dicom(
    model: str, plain: pd.DataFrame, wrapped: pd.DataFrame, *, resamples: int = RESAMPLES
) -> DicomPath:
    """Compare answers to the same films in the same order, as they are and through DICOM."""
    gaps = paired_differences(wrapped, plain, resamples=resamples)
    flips = _turned(plain, wrapped, resamples)
    return DicomPath(model, gaps["auc_macro"], gaps["auc_tumour"], **flips)


def _turned(plain: pd.DataFrame, other: pd.DataFrame, resamples: int) -> dict[str, Metric]:
    """Return the shares of decisions that are not the same, and not of the same consequence."""
    decided = plain["decision"].notna().to_numpy(bool)
    turned = plain["decision"].astype(str).to_numpy() != other["decision"].astype(str).to_numpy()
    referred = [frame["decision"].isin(REFERRALS).to_numpy(bool) for frame in (plain, other)]
    turns: dict[str, Flags] = {"flips": turned, "referral_flips": np.not_equal(*referred)}

    def measure(weights: Doubles) -> dict[str, Doubles]:
        return {name: mean(weights, values, decided) for name, values in turns.items()}

    shares = dict.fromkeys(turns, decided)
    return with_intervals(plain["patient_id"], measure, resamples, shares=shares)
