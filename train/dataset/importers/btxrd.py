"""`osteoedge data btxrd`: the official BTXRD download -> a dataset folder.

Yao et al., "A Radiograph Dataset for the Classification, Localization, and Segmentation of Primary
Bone Tumors", Sci Data 12 (2025), doi 10.1038/s41597-024-04311-y: `dataset.xlsx` (37 columns, one
row a film), `images/*.jpeg` and a few `*.jpg`, `Annotations/*.json` (LabelMe, tumours only).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.progress import Progress

from edge_runtime.dataset_folder import DatasetCard, DatasetFolder, ImportResult, Row, mask_fraction
from edge_runtime.errors import ConfigError, DatasetError
from edge_runtime.label_map import joined
from train.dataset.importers.labelme import labelme_mask
from train.dataset.importers.pictures import (
    bytes_if_there,
    contained,
    content_key,
    flags,
    number_text,
    read_picture,
    require_columns,
    rows_of,
)

BONES = (
    "hand", "ulna", "radius", "humerus", "foot", "tibia", "fibula", "femur", "hip bone",
    "ankle-joint", "knee-joint", "hip-joint", "wrist-joint", "elbow-joint", "shoulder-joint",
)  # fmt: skip
CLASSES = ("tumor", "benign", "malignant")
SUBTYPES = (
    "osteochondroma", "multiple osteochondromas", "simple bone cyst", "giant cell tumor",
    "osteofibroma", "synovial osteochondroma", "other bt", "osteosarcoma", "other mt",
)  # fmt: skip
MALIGNANT_SUBTYPES = ("osteosarcoma", "other mt")
REGIONS = ("upper limb", "lower limb", "pelvis")
VIEWS = ("frontal", "lateral", "oblique")
COLUMNS = ("image_id", "center", "age", "gender", *BONES, *CLASSES, *SUBTYPES, *REGIONS, *VIEWS)

CARD = DatasetCard(
    name="BTXRD",
    source="Yao et al., Sci Data 2025, doi 10.1038/s41597-024-04311-y",
    # The paper says NC-ND, its deposit CC BY: the stricter one binds until the authors say which.
    licence="CC BY-NC-ND 4.0 in the paper, CC BY 4.0 at the deposit: treat as CC BY-NC-ND 4.0",
    may_ship_weights=False,
    synthetic=False,
)
NOTE = (
    "BTXRD names no patients: each film counts as a patient of its own, although many show the "
    "same one; look for duplicates before you split"
)


def import_btxrd(source: Path, out: Path, progress: Progress) -> ImportResult:
    """Import the download.

    Returns
    -------
    ImportResult
        Films whose picture, annotation or row is damaged or contradicts itself are failures.

    Raises
    ------
    ConfigError
        The folder does not hold the download.
    DatasetError
        The table has other columns than the published one.
    """
    table = _read_table(source / "dataset.xlsx")
    result = ImportResult(notes=[NOTE])
    rows: list[Row] = []
    with DatasetFolder(out, "btxrd") as folder:
        for row in progress.track(rows_of(table), total=len(table), description="import films"):
            with contained(result.failures):
                rows.append(_film(row, source, folder))
        result.films = folder.finish(rows, CARD)
    return result


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ConfigError(
            "no dataset.xlsx here",
            "Unpack the official download and name its folder: dataset.xlsx, images/, Annotations/",
            str(path.parent),
        )
    try:
        table = pd.read_excel(path)
    except Exception as error:
        # openpyxl raises what the zip or the XML in it makes it raise.
        raise DatasetError(
            f"the table cannot be read ({type(error).__name__})", "Fetch it again", path.name
        ) from None
    table = table.rename(columns=lambda name: str(name).strip())
    require_columns(table, COLUMNS, path.name)
    return table


def _film(row: pd.Series, source: Path, folder: DatasetFolder) -> Row:
    name = str(row["image_id"]).strip()
    path = source / "images" / name
    image_id = path.stem
    columns = _columns(row, name)
    data = bytes_if_there(path)
    outline = source / "Annotations" / f"{image_id}.json"
    drawn = bytes_if_there(outline)
    if drawn and columns["label"] == "no_tumour":
        raise DatasetError(
            "the table says no tumour, and there is an annotation of one", "Ask the authors", name
        )
    key = content_key(name.encode(), data, drawn)
    stored = folder.stored(key)
    if stored is None:
        picture = read_picture(path)
        mask = labelme_mask(drawn, picture.shape, outline.name) if drawn else None
        stored = folder.store(
            key, image_id, picture.data, path.suffix, mask=mask,
            facts={"mask_fraction": "" if mask is None else mask_fraction(mask)},
        )  # fmt: skip
    return {
        "image_id": image_id,
        "patient_id": image_id,
        "path": stored.path,
        "mask_fraction": str(stored.facts["mask_fraction"]),
        **columns,
    }


def _columns(row: pd.Series, name: str) -> Row:
    label, subtype = _label(row, name)
    region, view = flags(row, REGIONS, name), flags(row, VIEWS, name)
    gender = str(row["gender"]).strip().upper()
    return {
        "centre": number_text(row["center"]),
        "label": label,
        "subtype": subtype,
        "age": number_text(row["age"]),
        "sex": gender if gender in ("M", "F") else "",
        "region": region[0].replace(" ", "_") if len(region) == 1 else "",
        "anatomy": joined(
            bone.removesuffix("-joint").replace(" ", "_") for bone in flags(row, BONES, name)
        ),
        "view": view[0] if len(view) == 1 else "",
    }


def _label(row: pd.Series, name: str) -> tuple[str, str]:
    classes, subtypes = flags(row, CLASSES, name), flags(row, SUBTYPES, name)
    stated = {(): "no_tumour", ("tumor", "benign"): "benign", ("tumor", "malignant"): "malignant"}
    label = stated.get(tuple(classes))
    kinds = {"malignant" if subtype in MALIGNANT_SUBTYPES else "benign" for subtype in subtypes}
    if label is None or not kinds <= {label}:
        raise DatasetError(
            f"the row contradicts itself: {', '.join([*classes, *subtypes]) or 'nothing'} is 1",
            "Ask the authors; the film is left out",
            name,
        )
    return label, joined(subtypes)
