"""Columns of the table that predict the label too well.

Each column is turned into levels (texts as they are, numbers and dates in quantiles, blank a level
of its own) and a film is scored by the share of positive films of its level, learnt from other
patients. Not tested are columns that follow from the label by definition, columns that only name
films and patients, and splits: no model sees them, and a good score would say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from train.dataset.check.findings import Finding
from train.dataset.check.separability import (
    Doubles,
    Flags,
    Predictor,
    Question,
    Rows,
    Separability,
    boosted_trees,
)

# Why a column is not tested. `reference_standard` says how the label was established: a biopsy is
# taken of what looks like a tumour, so it follows from the label as the subtype does.
_DERIVED = ("label", "subtype", "mask_fraction", "reference_standard")
_NAMES = ("image_id", "patient_id", "study_id", "path")
CONTEXT = ("age", "sex", "region")
# AUC, and the lower end of its interval, from which a column gives the label away. Age, sex and
# region, which a reader has too, stay well below.
WARN_AUC, WARN_LOW = 0.85, 0.75
NOTE_AUC, NOTE_LOW = 0.70, 0.60
# A difference in the share of blanks, between the two answers, that is worth a sentence.
_BLANK_GAP = 0.2
_QUANTILES = 16
# Films of the average label that each level is given beforehand: rare levels stay near the average.
_PRIOR = 2.0


@dataclass(frozen=True)
class ColumnResult:
    """What one column, or the context together, scored on one question.

    Attributes
    ----------
    blank
        Share of films without a value, 0..1: of those with the first answer, and with the second.
    """

    column: str
    question: str
    found: Separability
    blank: tuple[float, float]


@dataclass(frozen=True)
class Untested:
    """A column that was not tested, and why."""

    column: str
    why: str


def untested_columns(films: pd.DataFrame) -> list[Untested]:
    """Return the columns that are not tested, each with the reason."""
    found = []
    for column in map(str, films.columns):
        values = films[column].dropna()
        if column in _DERIVED:
            found.append(Untested(column, "derived from the label"))
        elif column in _NAMES:
            found.append(Untested(column, "names a film or patient"))
        elif column.endswith("split"):
            found.append(Untested(column, "a split, checked as such"))
        elif values.nunique() == 0 or (values.nunique() == 1 and len(values) == len(films)):
            found.append(Untested(column, "the same for every film"))
    return found


def score_columns(
    films: pd.DataFrame, asked: Sequence[Question], advance: Callable[[], None]
) -> list[ColumnResult]:
    """Test every column on every question, and the context (age, sex, region) together.

    ``advance`` is called after each column.
    """
    skipped = {each.column for each in untested_columns(films)}
    results = []
    for column in tested_columns(films):
        values = _comparable(films[column])
        for question in asked:
            found = question.measure(_level_rates(values.iloc[question.rows]))
            blank = films[column].isna().to_numpy()[question.rows]
            shares = (_share(blank[question.target]), _share(blank[~question.target]))
            results.append(ColumnResult(column, question.name, found, shares))
        advance()
    context = [name for name in CONTEXT if name in films.columns and name not in skipped]
    if context:
        codes = np.stack([_codes(_comparable(films[name])) for name in context], axis=1)
        name = " + ".join(context) + " (context alone)"
        for question in asked:
            found = question.measure(boosted_trees(codes[question.rows]))
            results.append(ColumnResult(name, question.name, found, (0.0, 0.0)))
    return results


def tested_columns(films: pd.DataFrame) -> list[str]:
    """Return the columns that are tested."""
    skipped = {each.column for each in untested_columns(films)}
    return [column for column in map(str, films.columns) if column not in skipped]


def column_findings(results: Sequence[ColumnResult]) -> list[Finding]:
    """Return a finding for each column that knows more than a reader's context would."""
    found = []
    for result in results:
        best = result.found.strongest
        warn = best.value >= WARN_AUC and best.low >= WARN_LOW
        if not warn and (best.value < NOTE_AUC or best.low < NOTE_LOW):
            continue
        what = (
            f"The column {result.column!r} alone tells {result.question} with AUC "
            f"{best.value:.3f} ({best.low:.3f}-{best.high:.3f})"
        )
        if result.found.across:
            centres = ", ".join(
                f"{each.value:.3f} at centre {centre}"
                for centre, each in result.found.across.items()
            )
            what += f"; learnt at the other centres: {centres}"
        yes, no = result.blank
        if abs(yes - no) >= _BLANK_GAP:
            one, other = result.question.split(" or ")
            what += f"; it is blank for {yes:.0%} of {one!r} and {no:.0%} of {other!r}"
        remedy = (
            "Never give it to a model. If it was filled in differently for the two groups, fill it "
            "in again without knowing the label; if it follows from the label, leave it out"
            if warn
            else "Report what it scores alone next to the model, or match the groups by it"
        )
        found.append(Finding("warning" if warn else "info", "giveaway_column", what, remedy))
    return found


def _comparable(values: pd.Series) -> pd.Series:
    """Return numbers where the values are numbers or dates, and texts with few levels otherwise."""
    if pd.api.types.is_bool_dtype(values):
        return values.astype(str)
    if pd.api.types.is_numeric_dtype(values):
        return values.astype(np.float64)
    dates = pd.to_datetime(values, errors="coerce", format="ISO8601")
    if dates.notna().sum() == values.notna().sum():
        days = (dates - pd.Timestamp(0)) / pd.Timedelta(days=1)
        return days.astype(np.float64)
    texts = values.astype("string")
    if texts.nunique() > len(texts.dropna()) / 2:
        # A value of its own for nearly every film: only its pattern can be shared.
        texts = texts.str.replace(r"\d+", "#", regex=True)
    return texts


def _codes(values: pd.Series) -> npt.NDArray[np.float64]:
    """Return numbers as they are and texts numbered; blanks NaN."""
    if pd.api.types.is_float_dtype(values):
        return values.to_numpy(np.float64)
    codes = pd.factorize(values, sort=True)[0].astype(np.float64)
    return np.where(codes < 0, np.nan, codes)


def _level_rates(values: pd.Series) -> Predictor:
    """Score a film by the share of positive films of its level, less the average share."""
    codes = _codes(values)
    numeric = pd.api.types.is_float_dtype(values)

    def predict(target: Flags, train: Rows, test: Rows) -> Doubles:
        levels = codes
        if numeric:
            known = codes[train][~np.isnan(codes[train])]
            inner = np.linspace(0, 1, _QUANTILES + 1)[1:-1]
            edges = np.unique(np.quantile(known, inner)) if len(known) else known
            levels = np.where(np.isnan(codes), np.nan, np.searchsorted(edges, codes, "right"))
        # Blank is a level of its own.
        level = np.where(np.isnan(levels), -1.0, levels).astype(np.int64) + 1
        size = int(level.max()) + 1
        count = np.bincount(level[train], minlength=size)
        positive = np.bincount(level[train], weights=target[train], minlength=size)
        base = target[train].mean()
        # Without the average: folds with fewer positive films would otherwise score their films
        # higher, for that reason alone.
        rate = (positive + _PRIOR * base) / (count + _PRIOR) - base
        return np.asarray(rate[level[test]], np.float64)

    return predict


def _share(flags: npt.NDArray[np.bool_]) -> float:
    return round(float(flags.mean()), 4) if len(flags) else 0.0
