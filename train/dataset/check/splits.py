"""Splits, and what leaks across them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.bundle import LABELS
from edge_runtime.errors import ConfigError, DatasetError
from train.dataset.check.duplicates import Pair
from train.dataset.check.findings import Finding, plural
from train.dataset.schema import Dataset


@dataclass(frozen=True)
class Split:
    """A name, and the part of every film of the dataset (n,): text, empty where it is in none."""

    name: str
    part: npt.NDArray[np.str_]

    @property
    def parts(self) -> list[str]:
        """The parts, the one that trains first: by its name, or else the largest."""
        counts = pd.Series(self.part[self.part != ""]).value_counts()
        return sorted(
            map(str, counts.index),
            key=lambda part: (not part.lower().startswith("train"), -int(counts[part]), part),
        )


@dataclass(frozen=True)
class Overlap:
    """Films of one part whose patient is in another part too.

    Attributes
    ----------
    share, tumour_share
        Of the films of ``part``, and of its films with a tumour (None where there are none).
    """

    split: str
    part: str
    other: str
    films: int
    of_films: int
    share: float
    tumour_films: int
    of_tumour_films: int
    tumour_share: float | None
    patients: int


def find_splits(dataset: Dataset, wanted: str | None) -> list[Split]:
    """Return the splits to check.

    Parameters
    ----------
    wanted
        A column, a run folder, or a CSV file with image_id and the part; None means every column
        whose name ends in ``split``.

    Raises
    ------
    ConfigError
        There is no such column or file.
    DatasetError
        The file is no split, or not one of this dataset.
    """
    films = dataset.films
    if wanted is None:
        named = [column for column in map(str, films.columns) if column.endswith("split")]
        return [Split(column, _parts(films[column])) for column in named]
    if wanted in films.columns:
        return [Split(wanted, _parts(films[wanted]))]
    path = Path(wanted)
    path = path / "split.csv" if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(
            f"--split {wanted!r} is no column of radiographs.csv, no run folder and no CSV file",
            f"Columns are {', '.join(map(str, films.columns))}",
        )
    return [_read_split(path, films)]


def overlaps(split: Split, films: pd.DataFrame) -> list[Overlap]:
    """Return, for each pair of parts that share patients, how much of the later one is shared."""
    patient = films["patient_id"].to_numpy(str)
    tumour = films["label"].isin(LABELS[1:]).to_numpy()
    found = []
    for other, part in combinations(split.parts, 2):
        inside = split.part == part
        shared = inside & np.isin(patient, patient[split.part == other])
        if shared.any():
            of_tumours = int((inside & tumour).sum())
            tumours = int((shared & tumour).sum())
            found.append(
                Overlap(
                    split.name, part, other,
                    int(shared.sum()), int(inside.sum()),
                    round(float(shared.sum() / inside.sum()), 4),
                    tumours, of_tumours,
                    round(tumours / of_tumours, 4) if of_tumours else None,
                    len(set(patient[shared])),
                )
            )  # fmt: skip
    return found


def split_findings(split: Split, films: pd.DataFrame, pairs: Sequence[Pair]) -> list[Finding]:
    """Return the leaks of a split, and the classes that a part lacks."""
    found = [_patient_leak(overlap, split, films) for overlap in overlaps(split, films)]
    patient = films["patient_id"].to_numpy(str)
    for kind in ("exact", "near"):
        across = [pair for pair in pairs if pair.kind == kind and _separated(split, pair)]
        if across:
            rows = sorted({row for pair in across for row in (pair.first, pair.second)})
            between = sum(patient[pair.first] != patient[pair.second] for pair in across)
            found.append(
                Finding(
                    "leak",
                    f"{kind}_duplicates_across_split",
                    f"{split.name}: {plural(len(across), f'{kind} duplicate pair')} with a film on "
                    f"either side, {between} of them under two patient_ids",
                    "Keep one film of each pair, or put both on one side: split by the groups that "
                    "patients and duplicates form",
                    tuple(films["image_id"].iloc[rows]),
                )
            )
    for part in split.parts:
        present = set(films.loc[split.part == part, "label"].dropna())
        if missing := [label for label in LABELS if label not in present]:
            found.append(
                Finding(
                    "warning",
                    "class_missing_in_part",
                    f"{split.name}: the part {part!r} has no film labelled {' or '.join(missing)}",
                    "Split again, stratified by label, or leave that class out of its figures",
                )
            )
    if len(split.parts) < 2:
        found.append(
            Finding(
                "warning",
                "split_of_one_part",
                f"{split.name}: {plural(len(split.parts), 'part')}, so nothing is held out",
                "Name at least two parts",
            )
        )
    return found


def _patient_leak(overlap: Overlap, split: Split, films: pd.DataFrame) -> Finding:
    patient = films["patient_id"].to_numpy(str)
    inside, other = split.part == overlap.part, split.part == overlap.other
    shared = inside & np.isin(patient, patient[other])
    tumours = (
        f" and {overlap.tumour_share:.0%} of its tumour films ({overlap.tumour_films} of "
        f"{overlap.of_tumour_films})"
        if overlap.tumour_share is not None
        else ""
    )
    return Finding(
        "leak",
        "patients_across_split",
        f"{split.name}: {overlap.share:.0%} of the films in {overlap.part!r} ({overlap.films} of "
        f"{overlap.of_films}){tumours} show a patient who is also in {overlap.other!r} "
        f"({plural(overlap.patients, 'patient')})",
        "Split by patient, and do not compare with figures that were measured on this split",
        tuple(films.loc[shared, "image_id"]),
    )


def _separated(split: Split, pair: Pair) -> bool:
    first, second = split.part[pair.first], split.part[pair.second]
    return bool(first != second and first != "" and second != "")


def _parts(values: pd.Series) -> npt.NDArray[np.str_]:
    return np.asarray(values.astype("string").fillna("").str.strip().to_numpy(str))


def _read_split(path: Path, films: pd.DataFrame) -> Split:
    # A run's table is named after the run: every one of them is called split.csv.
    name = path.parent.resolve().name if path.name == "split.csv" else path.stem
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"the split cannot be read ({error})", "Give a CSV in UTF-8", path.name
        ) from None
    columns = [column for column in table.columns if column == "part" or column.endswith("split")]
    if "image_id" not in table.columns or len(columns) != 1:
        raise DatasetError(
            "not a split: it needs the column image_id and one named part or ...split",
            "Give the split.csv of a training run, or a table like it",
            path.name,
        )
    if len(twice := table["image_id"][table["image_id"].duplicated()]):
        raise DatasetError(
            f"image_id {twice.iloc[0]} is there twice", "Give each film one part", path.name
        )
    absent = table.loc[~table["image_id"].isin(films["image_id"]), "image_id"]
    if len(absent):
        raise DatasetError(
            f"{plural(len(absent), 'film')} not in the dataset, the first {absent.iloc[0]}",
            "Give the dataset that this split was made of",
            path.name,
        )
    part = films["image_id"].map(table.set_index("image_id")[columns[0]])
    return Split(name, _parts(part))
