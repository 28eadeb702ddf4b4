"""What corruption costs: AUC, and how many decisions it turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from train.evaluate.corruption import Corruption
from train.evaluate.metrics import REFERRALS, discrimination
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

    def row(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


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
    decided = plain["decision"].notna().to_numpy(bool)
    for corruption, answers in corrupted.items():
        turned = (
            plain["decision"].astype(str).to_numpy() != answers["decision"].astype(str).to_numpy()
        )
        referred = [frame["decision"].isin(REFERRALS).to_numpy(bool) for frame in (plain, answers)]
        turns = {"flips": turned, "referral_flips": np.not_equal(*referred)}

        def measure(weights: Doubles, turns: dict[str, Flags] = turns) -> dict[str, Doubles]:
            return {name: mean(weights, values, decided) for name, values in turns.items()}

        shares = dict.fromkeys(turns, decided)
        flips = with_intervals(plain["patient_id"], measure, resamples, shares=shares)
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
