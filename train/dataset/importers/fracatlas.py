"""`osteoedge data fracatlas`: FracAtlas as downloaded -> a dataset folder without tumour labels.

Abedeen et al., "FracAtlas: A Dataset for Fracture Classification, Localization and Segmentation of
Musculoskeletal Radiographs", Sci Data 10 (2023), doi 10.1038/s41597-023-02432-4, CC BY 4.0.
Nobody looked for tumours in it: `label` stays blank, and `other_finding` says what was looked for.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.progress import Progress

from edge_runtime.dataset_folder import DatasetCard, DatasetFolder, ImportResult, Row
from edge_runtime.errors import ConfigError, DatasetError
from edge_runtime.label_map import joined
from train.dataset.importers.pictures import (
    bytes_if_there,
    contained,
    content_key,
    flags,
    read_picture,
    require_columns,
    rows_of,
)

PARTS = {"hand": "upper_limb", "leg": "lower_limb", "hip": "pelvis", "shoulder": "upper_limb"}
VIEWS = ("frontal", "lateral", "oblique")
COLUMNS = (
    "image_id", *PARTS, "mixed", "hardware", "multiscan", "fractured", "fracture_count", *VIEWS,
)  # fmt: skip
FINDINGS = {"fractured": "fracture", "hardware": "implant"}
FOLDERS = {True: "Fractured", False: "Non_fractured"}

CARD = DatasetCard(
    name="FracAtlas",
    source="Abedeen et al., Sci Data 2023, doi 10.1038/s41597-023-02432-4",
    licence="CC BY 4.0",
    may_ship_weights=True,
    synthetic=False,
)
NOTES = (
    "No film has a tumour label: nobody looked for tumours in FracAtlas",
    "FracAtlas names no patients: each film counts as a patient of its own",
)


def import_fracatlas(source: Path, out: Path, progress: Progress) -> ImportResult:
    """Import the download: `dataset.csv`, `images/Fractured`, `images/Non_fractured`.

    Returns
    -------
    ImportResult
        Films that are missing or damaged are failures.

    Raises
    ------
    ConfigError
        The folder does not hold the download.
    DatasetError
        The table has other columns than the published one.
    """
    path = source / "dataset.csv"
    if not path.is_file():
        raise ConfigError(
            "no dataset.csv here",
            "Unpack the official download and name its folder: dataset.csv, images/",
            str(source),
        )
    try:
        table = pd.read_csv(path)
    except ValueError as error:
        raise DatasetError(
            f"the table cannot be read ({error})", "Fetch it again", path.name
        ) from None
    require_columns(table, COLUMNS, path.name)
    result = ImportResult(notes=list(NOTES))
    rows: list[Row] = []
    with DatasetFolder(out, "fracatlas") as folder:
        for row in progress.track(rows_of(table), total=len(table), description="import films"):
            with contained(result.failures):
                rows.append(_film(row, source, folder))
        result.films = folder.finish(rows, CARD)
    return result


def _film(row: pd.Series, source: Path, folder: DatasetFolder) -> Row:
    name = str(row["image_id"]).strip()
    found = flags(row, tuple(FINDINGS), name)
    parts = flags(row, tuple(PARTS), name)
    regions = {PARTS[part] for part in parts}
    view = flags(row, VIEWS, name)
    path = source / "images" / FOLDERS["fractured" in found] / name
    key = content_key(name.encode(), bytes_if_there(path))
    stored = folder.stored(key)
    if stored is None:
        stored = folder.store(key, path.stem, read_picture(path).data, path.suffix)
    return {
        "image_id": path.stem,
        "patient_id": path.stem,
        "centre": "1",
        "label": "",
        "path": stored.path,
        "other_finding": joined(FINDINGS[flag] for flag in found),
        "region": regions.pop() if len(regions) == 1 else "",
        "anatomy": joined(parts),
        "view": view[0] if len(view) == 1 else "",
    }
