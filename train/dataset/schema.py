"""The dataset folder: `dataset.toml`, `radiographs.csv`, `images/`, `masks/`.

One row a radiograph. `image_id, patient_id, centre, label` are required; `label` is one of
no_tumour, benign, malignant. Blank means unknown, and stays unknown.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.bundle import LABELS
from edge_runtime.context import words_of
from edge_runtime.dataset_folder import DatasetCard
from edge_runtime.errors import DatasetError

REQUIRED_COLUMNS = ("image_id", "patient_id", "centre", "label")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")


@dataclass(frozen=True)
class Dataset:
    """A checked dataset folder.

    Attributes
    ----------
    films
        One row a radiograph, index 0..n-1; `image_id`, `patient_id` as text, label missing where
        unknown.
    sha256
        Of dataset.toml and radiographs.csv: the identity that runs and reports name.
    """

    root: Path
    card: DatasetCard
    films: pd.DataFrame
    sha256: str

    def select(self, where: str | None) -> Dataset:
        """Keep the films for which a condition on the columns holds, e.g. ``centre == 2``.

        Raises
        ------
        DatasetError
            The condition is not understood, or nothing is left.
        """
        if not where:
            return self
        kept = self.films[matching(self.films, where)].reset_index(drop=True)
        return Dataset(self.root, self.card, kept, self.sha256)

    def image_path(self, row: pd.Series) -> Path:
        """Return where a film lies; the file may be absent."""
        listed = row.get("path")
        if isinstance(listed, str) and listed:
            return self.root / listed
        for suffix in IMAGE_SUFFIXES:
            candidate = self.root / "images" / f"{row['image_id']}{suffix}"
            if candidate.exists():
                return candidate
        return self.root / "images" / f"{row['image_id']}.png"

    def mask(self, row: pd.Series, shape: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
        """Return the lesion mask of a film of ``shape``: 0 or 255, or None where it is unknown.

        A film without tumour has an empty mask whether or not a file says so.

        Raises
        ------
        DatasetError
            The mask cannot be read or has another size than its film.
        """
        path = self.root / "masks" / f"{row['image_id']}.png"
        if not path.exists():
            return np.zeros(shape, np.uint8) if row["label"] == "no_tumour" else None
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise DatasetError("the mask cannot be read", "Write it again as PNG", path.name)
        if mask.shape != shape:
            raise DatasetError(
                f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels, its film "
                f"{shape[1]} x {shape[0]}",
                "Draw the mask on the film at its own size",
                path.name,
            )
        return np.where(mask > 127, 255, 0).astype(np.uint8)


def matching(films: pd.DataFrame, where: str) -> npt.NDArray[np.bool_]:
    """Return which films satisfy a condition on the columns, (n,), at least one of them.

    Raises
    ------
    DatasetError
        The condition is not understood, or holds for none.
    """
    try:
        kept = films.query(where).index
    except Exception as error:
        # pandas raises whatever the expression makes it raise (syntax, names, types).
        raise DatasetError(
            f"the condition {where!r} is not understood ({type(error).__name__}: {error})",
            f"Use columns of radiographs.csv: {', '.join(map(str, films.columns))}",
        ) from None
    if kept.empty:
        raise DatasetError(f"no film satisfies {where!r}", "Check the values in radiographs.csv")
    return films.index.isin(kept)


def load_dataset(root: Path) -> Dataset:
    """Read and check a dataset folder.

    Raises
    ------
    DatasetError
        A file or column is missing, an image_id is there twice, or a label is not known.
    """
    card_path, csv_path = root / "dataset.toml", root / "radiographs.csv"
    for path in (card_path, csv_path):
        if not path.is_file():
            raise DatasetError(
                f"no {path.name} in this folder",
                "Make a dataset with 'osteoedge data phantom', or see 'Data on disk' in the docs",
                str(root),
            )
    try:
        films = pd.read_csv(csv_path, dtype={"image_id": str, "patient_id": str})
    except (ValueError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"the table cannot be read ({error})", "Save it as CSV in UTF-8", csv_path.name
        ) from None
    _check_films(films, csv_path.name)
    digest = hashlib.sha256(card_path.read_bytes() + csv_path.read_bytes()).hexdigest()
    return Dataset(root, _read_card(card_path), films, digest)


def film_context(film: pd.Series) -> dict[str, str]:
    """Return what a row says beside the pixels: :func:`edge_runtime.context.context_words`."""
    age, sex, region = (film.get(column) for column in ("age", "sex", "region"))
    return words_of(
        float(age) if pd.notna(age) and float(age) >= 0 else None,
        sex if isinstance(sex, str) else None,
        region if isinstance(region, str) else None,
    )


def label_index(films: pd.DataFrame) -> npt.NDArray[np.int32]:
    """Return 0, 1, 2 for no_tumour, benign, malignant and -1 for unknown."""
    codes = {label: number for number, label in enumerate(LABELS)}
    return np.asarray(films["label"].map(codes).fillna(-1), np.int32)


def _read_card(path: Path) -> DatasetCard:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
        return DatasetCard(
            name=str(values["name"]),
            source=str(values["source"]),
            licence=str(values["licence"]),
            may_ship_weights=bool(values.get("may_ship_weights", False)),
            synthetic=bool(values.get("synthetic", False)),
        )
    except tomllib.TOMLDecodeError as error:
        raise DatasetError(f"not valid TOML ({error})", "Correct the file", path.name) from None
    except KeyError as error:
        raise DatasetError(
            f"the key {error} is missing", "Say name, source and licence of the data", path.name
        ) from None


def _check_films(films: pd.DataFrame, name: str) -> None:
    missing = [column for column in REQUIRED_COLUMNS if column not in films.columns]
    if missing:
        raise DatasetError(
            f"column missing: {', '.join(missing)}",
            f"Add it; required are {', '.join(REQUIRED_COLUMNS)}",
            name,
        )
    for column in ("image_id", "patient_id"):
        blank = films[column].isna()
        if blank.any():
            raise DatasetError(
                f"{column} is blank in line {int(np.argmax(blank)) + 2}", "Fill it in", name
            )
    twice = films["image_id"][films["image_id"].duplicated()]
    if len(twice):
        raise DatasetError(
            f"image_id {twice.iloc[0]} is there twice", "Give each film its own image_id", name
        )
    unknown = np.flatnonzero(films["label"].notna() & ~films["label"].isin(LABELS))
    if len(unknown):
        raise DatasetError(
            f"label {films['label'].iloc[unknown[0]]!r} in line {unknown[0] + 2} is not known",
            f"Use {', '.join(LABELS)}, or leave it blank where it is unknown",
            name,
        )
