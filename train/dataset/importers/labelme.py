"""LabelMe annotations (one JSON a picture) -> lesion masks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.dataset_folder import Mask
from edge_runtime.errors import DatasetError

Points = npt.NDArray[np.float64]


def labelme_mask(data: bytes, shape: tuple[int, int], source: str) -> Mask | None:
    """Return the lesion mask of an annotation.

    Outlines (polygons) are filled. A rectangle is where a lesion lies, not what it is: it adds
    nothing to the mask, but a rectangle without any outline in it leaves the mask unknown.

    Parameters
    ----------
    data
        The JSON.
    shape
        (rows, columns) of the picture.

    Returns
    -------
    numpy.ndarray or None
        uint8, (rows, columns), 0 or 255; None where a lesion has no outline.

    Raises
    ------
    DatasetError
        No LabelMe annotation, of a picture of another size, or of a shape that is no area.
    """
    try:
        document: Mapping[str, Any] = json.loads(data)
        size = int(document["imageHeight"]), int(document["imageWidth"])
        shapes = [
            (str(entry["shape_type"]), np.asarray(entry["points"], np.float64))
            for entry in document["shapes"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"no LabelMe annotation ({type(error).__name__}: {error})",
            "Fetch the file again",
            source,
        ) from None
    if size != shape:
        raise DatasetError(
            f"drawn on a picture of {size[1]} x {size[0]} pixels, the film has "
            f"{shape[1]} x {shape[0]}",
            "Draw it on the film at its own size",
            source,
        )
    mask = np.zeros(shape, np.uint8)
    boxes: list[Points] = []
    for kind, points in shapes:
        if kind == "polygon" and points.ndim == 2 and len(points) >= 3:
            cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], (255,))
        elif kind == "rectangle" and points.shape == (2, 2):
            boxes.append(points)
        else:
            raise DatasetError(
                f"a shape of type {kind!r} with {len(points)} points is no area",
                "Outline the lesion as a polygon",
                source,
            )
    if any(not _outlined(mask, box) for box in boxes) or not mask.any():
        return None
    return mask


def _outlined(mask: Mask, box: Points) -> bool:
    low, high = np.floor(box.min(axis=0)).astype(int), np.ceil(box.max(axis=0)).astype(int)
    left, top = np.maximum(low, 0)
    return bool(mask[top : high[1] + 1, left : high[0] + 1].any())
