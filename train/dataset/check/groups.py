"""Patients, joined where their films are duplicates: what a split must never separate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import Progress
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from edge_runtime.files import write_atomically
from train.dataset.check.duplicates import Pair, find_duplicates
from train.dataset.check.films import read_films
from train.dataset.schema import Dataset
from train.progress import counting

FORMAT = "osteoedge.duplicates/1"


def patient_groups(films: pd.DataFrame, pairs: Sequence[Pair]) -> pd.Series:
    """Return the group of every film: the first patient_id among those that duplicates join.

    Parameters
    ----------
    films
        With the column patient_id.
    pairs
        Rows of ``films`` that show the same picture.

    Returns
    -------
    pandas.Series
        Text, in the order and with the index of ``films``.
    """
    codes, patients = pd.factorize(films["patient_id"], sort=True)
    ends = np.array([(codes[pair.first], codes[pair.second]) for pair in pairs], int).reshape(-1, 2)
    shape = (len(patients), len(patients))
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=shape)
    _, component = connected_components(graph, directed=False)
    # Patients are sorted, so the first of a component is its smallest name.
    _, first = np.unique(component, return_index=True)
    return pd.Series(np.asarray(patients)[first[component[codes]]], films.index, name="group")


def duplicate_groups(dataset: Dataset, cache: Path, progress: Progress) -> pd.Series:
    """Return :func:`patient_groups` of a dataset, comparing its films once and keeping the answer.

    Parameters
    ----------
    cache
        Folder for `duplicates.json`, made where it is missing. An answer for other films is not
        used.
    """
    path = cache / "duplicates.json"
    chosen = f"{dataset.sha256}|{','.join(dataset.films['image_id'])}"
    key = hashlib.sha256(chosen.encode()).hexdigest()
    if path.exists():
        document = json.loads(path.read_text())
        if (document["format"], document["key"]) == (FORMAT, key):
            return patient_groups(dataset.films, [Pair(**pair) for pair in document["pairs"]])
    pairs = compare(dataset, progress)
    cache.mkdir(parents=True, exist_ok=True)
    document = {"format": FORMAT, "key": key, "pairs": [asdict(pair) for pair in pairs]}
    write_atomically(path, json.dumps(document).encode())
    return patient_groups(dataset.films, pairs)


def compare(dataset: Dataset, progress: Progress) -> list[Pair]:
    """Read and compare all films, with a bar for each. Films that cannot be read are left out."""
    films = read_films(dataset, counting(progress, "read films", len(dataset.films)))
    return find_duplicates(films, counting(progress, "compare films"))
