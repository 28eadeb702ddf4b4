"""Ages in bands: the rows of every table by age."""

from __future__ import annotations

import pandas as pd

AGE_BANDS = ("0-9", "10-19", "20-39", "40-59", "60 and over")
_EDGES = (0.0, 10.0, 20.0, 40.0, 60.0, 130.0)


def age_bands(ages: pd.Series) -> pd.Series:
    """Return the band of each age in years, in rising order; missing for what is no age."""
    years = pd.to_numeric(ages, errors="coerce")
    return pd.cut(years, _EDGES, right=False, labels=list(AGE_BANDS))
