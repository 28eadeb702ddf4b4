"""Who and what is in the dataset: class, age, sex, view, region and vendor by centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from edge_runtime.bundle import LABELS
from train.dataset.ages import AGE_BANDS, age_bands
from train.dataset.check.duplicates import Pair
from train.dataset.check.films import Films
from train.dataset.check.findings import Finding, plural

_VARIABLES = ("label", "subtype", "age band", "sex", "view", "region", "laterality",
              "manufacturer", "model")  # fmt: skip
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Cell:
    """Films of one value at one centre, and how many of them show a tumour."""

    films: int
    tumours: int


@dataclass(frozen=True)
class Row:
    """One value of one variable, and its films by centre."""

    variable: str
    value: str
    cells: dict[str, Cell]


def composition(films: pd.DataFrame) -> list[Row]:
    """Return the table; variables that are absent or blank throughout have no rows."""
    table = films.copy()
    if "age" in table.columns:
        table["age band"] = age_bands(table["age"])
    table["centre"] = table["centre"].astype(str)
    centres = sorted(table["centre"].unique())
    rows = [Row("films", "all", _cells(table, centres))]
    for variable in _VARIABLES:
        if variable not in table.columns or table[variable].isna().all():
            continue
        values = table[variable].astype("string").fillna(NOT_STATED)
        order = {"label": LABELS, "age band": AGE_BANDS}.get(variable)
        present = sorted(set(values) - {NOT_STATED}, key=order.index if order else str)
        for value in [*present, *({NOT_STATED} & set(values))]:
            chosen = table[(values == value).to_numpy(bool)]
            rows.append(Row(variable, value, _cells(chosen, centres)))
    return rows


def table_findings(films: pd.DataFrame, images: Films, pairs: Sequence[Pair]) -> list[Finding]:
    """Return what is wrong with the films as a set, whatever the split."""
    found = [*_label_conflicts(films, pairs), *_several_names(films, pairs)]
    for centre, here in films.groupby(films["centre"].astype(str), sort=True):
        present = set(here["label"].dropna())
        if present and (present == {"no_tumour"} or "no_tumour" not in present):
            kind = "only films without tumour" if "no_tumour" in present else "only tumours"
            found.append(
                Finding(
                    "warning",
                    "centre_with_one_class",
                    f"Centre {centre} has {kind} ({plural(len(here), 'film')}): a model that "
                    "knows the centre knows the label",
                    "Add films of the other class from that centre, or leave it out of training",
                )
            )
    if "sex" in films.columns:
        sexes = films.groupby("patient_id")["sex"].nunique()
        wrong = films["patient_id"].isin(sexes.index[sexes > 1]).to_numpy(bool)
        if wrong.any():
            found.append(
                Finding(
                    "warning",
                    "patient_of_two_sexes",
                    f"{plural(int((sexes > 1).sum()), 'patient')} with films of either sex: one "
                    "patient_id may stand for two people",
                    "Correct sex or patient_id",
                    tuple(films.loc[wrong, "image_id"]),
                )
            )
    if images.flat.any():
        found.append(
            Finding(
                "warning",
                "blank_film",
                f"{plural(int(images.flat.sum()), 'film')} of a single grey level, compared with "
                "nothing",
                "Export them again, or leave them out",
                tuple(films.loc[images.flat, "image_id"]),
            )
        )
    return found


def _label_conflicts(films: pd.DataFrame, pairs: Sequence[Pair]) -> list[Finding]:
    label = films["label"].to_numpy(object)
    known = films["label"].notna().to_numpy(bool)
    found = []
    for kind in ("exact", "near"):
        differing = [
            pair
            for pair in pairs
            if pair.kind == kind
            and known[pair.first]
            and known[pair.second]
            and label[pair.first] != label[pair.second]
        ]
        if differing:
            rows = [row for pair in differing for row in (pair.first, pair.second)]
            named = "; ".join(
                f"{films['image_id'].iat[pair.first]} {label[pair.first]}, "
                f"{films['image_id'].iat[pair.second]} {label[pair.second]}"
                for pair in differing[:3]
            )
            found.append(
                Finding(
                    "warning",
                    "duplicates_with_opposite_labels",
                    f"{plural(len(differing), f'{kind} duplicate pair')} with two labels: {named}",
                    "Ask a radiologist which label holds, and keep one film of the pair",
                    tuple(dict.fromkeys(films["image_id"].iloc[rows])),
                )
            )
    return found


def _several_names(films: pd.DataFrame, pairs: Sequence[Pair]) -> list[Finding]:
    patient = films["patient_id"].to_numpy(str)
    across = [pair for pair in pairs if patient[pair.first] != patient[pair.second]]
    found = []
    if pairs:
        exact = sum(pair.kind == "exact" for pair in pairs)
        rows = sorted({row for pair in pairs for row in (pair.first, pair.second)})
        found.append(
            Finding(
                "info",
                "duplicates",
                f"{plural(exact, 'exact duplicate pair')} and "
                f"{plural(len(pairs) - exact, 'near duplicate pair')}",
                "Keep one film of each pair: a film that is there twice counts twice",
                tuple(films["image_id"].iloc[rows]),
            )
        )
    if across:
        rows = sorted({row for pair in across for row in (pair.first, pair.second)})
        found.append(
            Finding(
                "warning",
                "patients_with_two_ids",
                f"{plural(len(across), 'duplicate pair')} under two patient_ids: a split by "
                "patient_id may separate them",
                "Give both films one patient_id",
                tuple(films["image_id"].iloc[rows]),
            )
        )
    return found


def _cells(films: pd.DataFrame, centres: Sequence[str]) -> dict[str, Cell]:
    tumour = films["label"].isin(LABELS[1:])
    return {
        centre: Cell(
            int((films["centre"] == centre).sum()),
            int((tumour & (films["centre"] == centre)).sum()),
        )
        for centre in centres
    }
