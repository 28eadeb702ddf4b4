"""Split films so that no patient, and no copy of a film, is on two sides."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.errors import DatasetError
from train.config import DataConfig
from train.dataset.schema import label_index, matching

Part = Literal["train", "validation", "calibration", "test", "left_out"]
# What every split has; `test` and `left_out` are there where films were held out.
PARTS: tuple[Part, ...] = ("train", "validation", "calibration")


def split_patients(
    films: pd.DataFrame, groups: pd.Series, config: DataConfig, seed: int
) -> pd.DataFrame:
    """Assign every film to a part, by group, stratified by the group's worst label and centre.

    Parameters
    ----------
    films
        Rows of radiographs.csv.
    groups
        What must stay together, in the order of ``films``: see
        :func:`train.dataset.check.duplicate_groups`.
    config
        ``validation`` and ``calibration`` are shares of the groups. Films that satisfy ``hold_out``
        are the test part; where it is a fold, fold ``fold`` of ``folds`` is. The other films of
        their groups are left out.

    Returns
    -------
    pandas.DataFrame
        Columns image_id, patient_id, part; in the order of ``films``.

    Raises
    ------
    DatasetError
        Too few groups of a class to have one of them in each part, or a condition that is not
        understood or holds for none or all.
    """
    generator = np.random.default_rng(seed)
    names = groups.to_numpy(str)
    strata = _strata(films, names)
    if config.hold_out:
        held_out = matching(films, config.hold_out)
    elif config.folds:
        # Folds are the same for every seed: seeds then differ in training, not in the test.
        fold_of = _folds(strata, config.folds)
        held_out = np.array([fold_of[name] == config.fold for name in names])
    else:
        held_out = np.zeros(len(films), bool)
    closed = set(names[held_out])
    part_of = _deal(strata.drop(index=sorted(closed)), config, generator)
    parts = [
        "test" if held else part_of.get(name, "left_out")
        for held, name in zip(held_out, names, strict=True)
    ]
    split = films[["image_id", "patient_id"]].copy()
    split["part"] = parts
    _require_classes(split, films)
    return split


def split_sha256(split: pd.DataFrame) -> str:
    """Return the hash that names a split."""
    return hashlib.sha256(split.to_csv(index=False).encode()).hexdigest()


def _strata(films: pd.DataFrame, names: npt.NDArray[np.str_]) -> pd.DataFrame:
    worst = pd.Series(label_index(films)).groupby(names).max()
    centre = films["centre"].astype(str).groupby(names).first()
    return pd.DataFrame({"label": worst, "centre": centre})


def _folds(strata: pd.DataFrame, folds: int) -> dict[str, int]:
    generator = np.random.default_rng(folds)
    fold_of: dict[str, int] = {}
    for _, groups in strata.groupby(["label", "centre"], sort=True):
        shuffled = generator.permutation(np.sort(groups.index.to_numpy(str)))
        # Each stratum starts at another fold, so that small ones do not all miss the same.
        start = int(generator.integers(folds))
        fold_of |= {str(name): (start + rank) % folds for rank, name in enumerate(shuffled)}
    return fold_of


def _deal(
    strata: pd.DataFrame, config: DataConfig, generator: np.random.Generator
) -> dict[str, Part]:
    part_of: dict[str, Part] = {}
    for _, groups in strata.groupby(["label", "centre"], sort=True):
        shuffled = generator.permutation(np.sort(groups.index.to_numpy(str)))
        # Boundaries are rounded on the running share, so that small strata do not all lose the
        # same part.
        shares = np.cumsum([config.validation, config.calibration])
        cuts = np.floor(shares * len(shuffled) + generator.random())
        cuts = np.minimum(cuts.astype(int), len(shuffled))
        for rank, name in enumerate(shuffled):
            part_of[str(name)] = (
                "validation" if rank < cuts[0] else "calibration" if rank < cuts[1] else "train"
            )
    return part_of


def _require_classes(split: pd.DataFrame, films: pd.DataFrame) -> None:
    for part in PARTS:
        present = set(films.loc[(split["part"] == part).to_numpy(), "label"].dropna())
        missing = {"no_tumour", "benign", "malignant"} - present
        if missing:
            raise DatasetError(
                f"the {part} part has no film labelled {' or '.join(sorted(missing))}",
                "Add patients of that class, or change the shares under [data] in the recipe",
                "radiographs.csv",
            )
