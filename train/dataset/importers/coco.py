"""`osteoedge data coco`: COCO instance annotations and their pictures -> a dataset folder.

The format is that of Lin et al., "Microsoft COCO" (ECCV 2014): `images`, `annotations`,
`categories`; an outline is a list of polygons, or run lengths, plain or compressed. `pycocotools`,
the format's own reference (BSD), draws them. Categories are words for the label map.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from rich.progress import Progress

from edge_runtime.dataset_folder import (
    COLUMNS,
    DatasetCard,
    DatasetFolder,
    ImportResult,
    Mask,
    Row,
    mask_fraction,
)
from edge_runtime.errors import ConfigError, DatasetError
from edge_runtime.label_map import LabelMap, Meaning, load_label_map
from train.dataset.importers.pictures import bytes_if_there, contained, content_key, read_picture

# The word that stands for a picture without annotations. The map that comes with osteoedge takes it
# for unknown; who looked at every picture may put it under no_tumour.
UNANNOTATED = "unannotated"
LESIONS = ("benign", "malignant")
# Columns of the table that a picture's record may hold under the same name.
RECORD_COLUMNS = tuple(
    column
    for column in COLUMNS
    if column not in ("image_id", "label", "path", "subtype", "other_finding", "mask_fraction")
)
_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class CocoSource:
    """What is imported.

    Attributes
    ----------
    annotations
        The JSON.
    pictures
        Folder to which `file_name` is relative: PNG or JPEG.
    map_file
        A label map, or None for the one that comes with osteoedge.
    """

    annotations: Path
    pictures: Path
    map_file: Path | None = None


def import_coco(source: CocoSource, out: Path, progress: Progress) -> ImportResult:
    """Import the pictures of a COCO file.

    A film's label is that of its gravest lesion. Its mask is the union of the outlines of its
    lesions; it stays unknown where a lesion has a box and no outline.

    Returns
    -------
    ImportResult
        Pictures that are missing or damaged, and outlines that do not fit, are failures.

    Raises
    ------
    ConfigError
        The file is no COCO file, or a category is not in the label map.
    """
    label_map = load_label_map(source.map_file)
    document = _read(source.annotations)
    try:
        categories = {entry["id"]: str(entry["name"]) for entry in document["categories"]}
        annotations = defaultdict(list)
        for entry in document["annotations"]:
            annotations[entry["image_id"]].append((categories[entry["category_id"]], entry))
        pictures = [(entry["id"], str(entry["file_name"]), entry) for entry in document["images"]]
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"no COCO instances file: {error} is missing or unknown",
            "Give the file with images, annotations and categories",
            source.annotations.name,
        ) from None
    label_map.require(
        [word for number, _, _ in pictures for word, _ in annotations[number]],
        source.annotations.name,
    )
    result = ImportResult(
        notes=["Pictures and file names were copied as they are: 'data coco' does not de-identify"]
    )
    without = sum(not annotations[number] for number, _, _ in pictures)
    if without and not label_map.meanings[UNANNOTATED].label:
        result.notes.append(
            f"films without annotation, and so without a label: {without}; if none of them shows a "
            f"tumour, put no_tumour = [{UNANNOTATED!r}] into a label map"
        )
    rows: list[Row] = []
    taken: set[str] = set()
    with DatasetFolder(out, "coco") as folder:
        for number, name, record in progress.track(pictures, description="import films"):
            with contained(result.failures):
                rows.append(
                    _film(source, name, record, annotations[number], label_map, folder, taken)
                )
        result.films = folder.finish(rows, _card(label_map, source.annotations, out))
    return result


def coco_outline(segmentation: object, shape: tuple[int, int], source: str) -> Mask | None:
    """Draw one annotation.

    Parameters
    ----------
    segmentation
        A list of polygons ``[x0, y0, x1, y1, ...]``; or ``{"size": [rows, columns], "counts":
        ...}`` with counts a list (plain) or a string (compressed); or empty.
    shape
        (rows, columns) of the picture.

    Returns
    -------
    numpy.ndarray or None
        uint8, (rows, columns), 0 or 255; None where there is no outline.

    Raises
    ------
    DatasetError
        The outline is of another size, or no outline.
    """
    if not segmentation:
        return None
    rows, columns = shape
    try:
        if isinstance(segmentation, Mapping):
            size = [int(side) for side in segmentation["size"]]
            if size != [rows, columns]:
                raise DatasetError(
                    f"a mask of {size[1]} x {size[0]} pixels on a film of {columns} x {rows}",
                    "Draw it on the film at its own size",
                    source,
                )
            counts = _run_lengths(segmentation["counts"])
            # The library draws whatever lies in memory where the runs do not fill the picture.
            if min(counts, default=0) < 0 or sum(counts) != rows * columns:
                raise ValueError("run lengths do not add up")
            runs = coco_mask.frPyObjects({"size": size, "counts": counts}, rows, columns)
        else:
            polygons = [[float(number) for number in polygon] for polygon in _list(segmentation)]
            if any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
                raise ValueError("a polygon needs three points")
            runs = coco_mask.merge(coco_mask.frPyObjects(polygons, rows, columns))
        return np.where(coco_mask.decode(runs) > 0, 255, 0).astype(np.uint8)
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"an annotation has no outline that can be drawn ({error})", "Draw it again", source
        ) from None


def _run_lengths(counts: object) -> list[int]:
    """Return plain run lengths; a string holds them as in COCO's `rleFrString`.

    Digits of five bits, lowest first, a sixth bit says that another follows; signed; from the
    fourth run on, the difference to the run before the last.
    """
    if isinstance(counts, list):
        return [int(count) for count in counts]
    text = counts.encode() if isinstance(counts, str) else counts
    if not isinstance(text, bytes):
        raise TypeError("counts are neither a list nor a string")
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        digit = letter - 48
        if not 0 <= digit < 64:
            raise ValueError("counts hold a letter that is no digit")
        value |= (digit & 0x1F) << shift
        shift += 5
        if digit & 0x20:
            continue
        if digit & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("counts end in the middle of a number")
    return runs


def _list(value: object) -> Sequence[Sequence[float]]:
    if not isinstance(value, list):
        raise TypeError("neither polygons nor run lengths")
    return value


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"the annotations cannot be read ({error.strerror})", "Check the path", str(path)
        ) from None
    except ValueError as error:
        raise ConfigError(f"not valid JSON ({error})", "Export it again", path.name) from None
    if not isinstance(document, Mapping):
        raise ConfigError(
            "no COCO instances file", "Give the one with images and annotations", path.name
        )
    return document


def _film(
    source: CocoSource,
    name: str,
    record: Mapping[str, Any],
    annotations: Sequence[tuple[str, Mapping[str, Any]]],
    label_map: LabelMap,
    folder: DatasetFolder,
    taken: set[str],
) -> Row:
    path = source.pictures / name
    if not path.resolve().is_relative_to(source.pictures.resolve()):
        raise DatasetError("lies outside the folder of pictures", "Correct file_name", name)
    image_id = re.sub(r"[^\w.-]", "_", str(Path(name).with_suffix("")))
    if image_id in taken:
        raise DatasetError("another picture has the same name", "Rename one of them", name)
    if path.suffix.lower() not in _SUFFIXES:
        raise DatasetError(
            "is no PNG or JPEG", "Import DICOM films with 'osteoedge data dicom'", name
        )
    taken.add(image_id)
    meaning = _meaning([word for word, _ in annotations], label_map, name)
    lesions = [
        entry.get("segmentation")
        for word, entry in annotations
        if label_map.meaning([word], name).label in LESIONS
    ]
    key = content_key(
        name.encode(),
        bytes_if_there(path),
        json.dumps(lesions).encode(),
    )
    stored = folder.stored(key)
    if stored is None:
        picture = read_picture(path)
        mask = _union(lesions, picture.shape, name)
        stored = folder.store(
            key, image_id, picture.data, path.suffix, mask=mask,
            facts={"mask_fraction": "" if mask is None else mask_fraction(mask)},
        )  # fmt: skip
    return {
        "patient_id": image_id,
        "centre": "1",
        **{
            column: str(record[column])
            for column in RECORD_COLUMNS
            if record.get(column) not in (None, "")
        },
        "image_id": image_id,
        "label": meaning.label,
        "subtype": meaning.subtype,
        "other_finding": meaning.other_finding,
        "path": stored.path,
        "mask_fraction": str(stored.facts["mask_fraction"]),
    }


def _meaning(words: Sequence[str], label_map: LabelMap, name: str) -> Meaning:
    """Return what the annotations of one picture say together: its gravest lesion labels it."""
    if not words:
        return label_map.meaning([UNANNOTATED], name)
    together = list(words)
    if any(label_map.meaning([word], name).label == "malignant" for word in words):
        together = [word for word in words if label_map.meaning([word], name).label != "benign"]
    return label_map.meaning(together, name)


def _union(segmentations: Sequence[object], shape: tuple[int, int], name: str) -> Mask | None:
    drawn = [coco_outline(segmentation, shape, name) for segmentation in segmentations]
    if not drawn or any(mask is None or not mask.any() for mask in drawn):
        return None
    union: Mask = np.maximum.reduce([mask for mask in drawn if mask is not None])
    return union


def _card(label_map: LabelMap, annotations: Path, out: Path) -> DatasetCard:
    words = label_map.dataset
    return DatasetCard(
        name=words.name or out.resolve().name,
        source=words.source or f"COCO annotations {annotations.name}",
        licence=words.licence or "not stated: ask whoever made the annotations",
        may_ship_weights=words.may_ship_weights,
        synthetic=False,
    )
