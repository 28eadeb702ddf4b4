"""Predictions that were made elsewhere: another system's, a reader's, an earlier evaluation's."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from edge_runtime.bundle import LABELS
from edge_runtime.decision import Decision
from edge_runtime.errors import DatasetError
from train.dataset.schema import Dataset
from train.evaluate.screenings import identity

PROBABILITIES = tuple(f"p_{label}" for label in LABELS)
DECISIONS: tuple[str, ...] = get_args(Decision)
_MARKING = ("dice", "iou", "hd95", "painted", "ceiling_cells", "ceiling_coverage")
_REMEDY = (
    "Give image_id and one or more of: decision; score (higher, more suspicious of a tumour); "
    f"{', '.join(PROBABILITIES)}"
)


def read_predictions(path: Path, dataset: Dataset) -> pd.DataFrame:
    """Read a table of predictions and lay it beside the films of a dataset.

    Returns
    -------
    pandas.DataFrame
        One row a film, in the dataset's order, as :func:`train.evaluate.metrics.evaluate` takes
        it. What the table says of a film's facts is not looked at: the dataset says them.

    Raises
    ------
    DatasetError
        No such table, a column or a film is missing, a film is there twice, or a value is none.
    """
    try:
        table = pd.read_csv(path, dtype={"image_id": str})
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot be read ({error})", "Give a CSV in UTF-8", str(path)) from None
    answers = [name for name in ("decision", "score") if name in table.columns]
    whole = all(name in table.columns for name in PROBABILITIES)
    if "image_id" not in table.columns or not (answers or whole):
        raise DatasetError("neither decisions nor scores of films are in it", _REMEDY, path.name)
    chosen = _of_films(table, dataset, path.name)
    predictions = pd.DataFrame([identity(film) for _, film in dataset.films.iterrows()])
    if whole:
        predictions[list(PROBABILITIES)] = _probabilities(chosen, path.name)
    if "score" in answers:
        predictions["score"] = _numbers(chosen, "score", path.name)
    if "decision" in answers:
        wrong = chosen["decision"].notna() & ~chosen["decision"].isin(DECISIONS)
        _refuse(wrong, chosen, "decision", f"Use {', '.join(DECISIONS)}", path.name)
        predictions["decision"] = chosen["decision"].to_numpy(object)
    for name in _MARKING:
        if name in chosen.columns:
            predictions[name] = chosen[name].to_numpy()
    given = predictions[["decision", *PROBABILITIES, *answers]].notna().any(axis=1).to_numpy()
    if not given.all():
        raise DatasetError(
            f"nothing is said of film {predictions['image_id'][int(np.argmin(given))]}",
            "Write unable as its decision where it could not be read",
            path.name,
        )
    return predictions


def _of_films(table: pd.DataFrame, dataset: Dataset, name: str) -> pd.DataFrame:
    twice = table["image_id"][table["image_id"].duplicated()]
    if len(twice):
        raise DatasetError(f"film {twice.iloc[0]} is there twice", "Keep one row a film", name)
    wanted = dataset.films["image_id"]
    absent = wanted[~wanted.isin(table["image_id"])]
    if len(absent):
        raise DatasetError(
            f"no prediction for {len(absent)} films, the first {absent.iloc[0]}",
            "Predict every film of the dataset, or choose films with --where",
            name,
        )
    return table.set_index("image_id").loc[wanted].reset_index()


def _probabilities(chosen: pd.DataFrame, name: str) -> pd.DataFrame:
    found = pd.DataFrame({column: _numbers(chosen, column, name) for column in PROBABILITIES})
    outside = ((found < 0) | (found > 1)).any(axis=1) | (
        found.sum(axis=1, min_count=3) - 1
    ).abs().gt(0.01)
    partly = found.isna().any(axis=1) & found.notna().any(axis=1)
    remedy = "Give three probabilities that add up to 1, or leave all three blank"
    _refuse(outside | partly, chosen, PROBABILITIES[0], remedy, name)
    return found


def _numbers(chosen: pd.DataFrame, column: str, name: str) -> pd.Series:
    numbers = pd.to_numeric(chosen[column], errors="coerce")
    wrong = chosen[column].notna() & ~np.isfinite(numbers)
    _refuse(wrong, chosen, column, "Give a finite number, or leave it blank", name)
    return numbers


def _refuse(wrong: pd.Series, chosen: pd.DataFrame, column: str, remedy: str, name: str) -> None:
    if wrong.any():
        row = chosen.iloc[int(np.argmax(wrong.to_numpy()))]
        raise DatasetError(f"{column} of film {row['image_id']} is {row[column]!r}", remedy, name)
