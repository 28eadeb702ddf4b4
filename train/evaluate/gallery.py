"""The best and the worst cases, with what the model marked and where it looked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from edge_runtime.errors import OsteoedgeError
from edge_runtime.files import write_atomically
from edge_runtime.radiograph import Radiograph
from edge_runtime.reports.overlay import film_picture, to_png
from train.dataset.schema import Dataset
from train.evaluate.metrics import tumour_score
from train.evaluate.models import FilmModel
from train.evaluate.screenings import read_film
from train.evaluate.segmentation import (
    GRID,
    FloatGrid,
    Mask,
    logits_on_grid,
    mark,
    reference_on_grid,
)

EACH = 3
# Of one of the three pictures of a film, px.
_SIDE = 300
# Okabe and Ito's palette; OpenCV wants blue, green, red.
_ORANGE, _SKY = (0, 159, 230), (233, 180, 86)


@dataclass(frozen=True)
class Kind:
    """Films of one kind, the most telling first.

    Attributes
    ----------
    tumour
        None: films without a label.
    flagged
        None: the model makes no decisions.
    by, ascending
        The column that they are ranked by, and how.
    """

    caption: str
    tumour: bool | None
    flagged: bool | None
    by: str
    ascending: bool


_DECIDED = (
    Kind("tumour, flagged, mask fits best", True, True, "dice", False),
    Kind("tumour, flagged, mask fits worst", True, True, "dice", True),
    Kind("tumour, missed", True, False, "score", True),
    Kind("no tumour, flagged", False, True, "score", False),
    Kind("no tumour, not flagged", False, False, "score", True),
    Kind("no label, flagged", None, True, "score", False),
)
_UNDECIDED = (
    Kind("tumour, scored highest", True, None, "score", False),
    Kind("tumour, scored lowest", True, None, "score", True),
    Kind("no tumour, scored highest", False, None, "score", False),
    Kind("no tumour, scored lowest", False, None, "score", True),
)


def choose(predictions: pd.DataFrame) -> Iterator[tuple[str, int]]:
    """Yield caption and position of the films to show, no film twice."""
    films = pd.DataFrame(
        {
            "score": tumour_score(predictions),
            "dice": predictions["dice"].astype(float).to_numpy(),
            "tumour": (predictions["label"] != "no_tumour").to_numpy(),
            "known": predictions["label"].notna().to_numpy(),
            "flagged": predictions["decision"].isin(["urgent_review", "routine_review"]).to_numpy(),
        }
    )
    films = films[films["score"].notna()]
    kinds = _DECIDED if predictions["decision"].notna().any() else _UNDECIDED
    shown: set[int] = set()
    for kind in kinds:
        chosen = films[films["known"] == (kind.tumour is not None)]
        if kind.tumour is not None:
            chosen = chosen[chosen["tumour"] == kind.tumour]
        if kind.flagged is not None:
            chosen = chosen[chosen["flagged"] == kind.flagged]
        chosen = chosen.dropna(subset=kind.by).sort_values(
            kind.by, ascending=kind.ascending, kind="stable"
        )
        positions = [int(p) for p in chosen.index if int(p) not in shown][:EACH]
        shown.update(positions)
        yield from ((kind.caption, position) for position in positions)


def write_gallery(
    model: FilmModel, dataset: Dataset, predictions: pd.DataFrame, folder: Path
) -> Iterator[tuple[str, Path]]:
    """Write the pictures of the chosen films and yield (caption, file).

    Each shows the film, then the mask (orange) and the reference (blue) as outlines, then where
    the network saw a tumour. ``predictions`` are those of the dataset's films, in its order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for caption, position in choose(predictions):
        film = dataset.films.iloc[position]
        radiograph = read_film(dataset.image_path(film), film, through_dicom=False)
        shape = (radiograph.display.shape[0], radiograph.display.shape[1])
        answer = model.answer(radiograph)
        marked = np.zeros((GRID, GRID), bool)
        if answer.mask_logits is not None and model.mask_threshold is not None:
            marked = mark(
                logits_on_grid(answer.mask_logits, shape, model.spec), model.mask_threshold
            )
        try:
            mask = dataset.mask(film, shape)
        except OsteoedgeError:
            # Named already, when the film was answered.
            mask = None
        reference = np.zeros((GRID, GRID), bool) if mask is None else reference_on_grid(mask)
        cam = logits_on_grid(_suspicion(model.cam(radiograph)), shape, model.spec)
        file = folder / f"{position:05d}.png"
        write_atomically(file, triptych(radiograph, marked, reference, cam))
        score = 1.0 - answer.probabilities[0]
        dice = predictions["dice"].iloc[position]
        fit = "" if pd.isna(dice) else f", Dice {dice:.2f}"
        yield f"{film['image_id']}: {caption} (tumour {score:.2f}{fit})", file


def triptych(radiograph: Radiograph, marked: Mask, reference: Mask, cam: FloatGrid) -> bytes:
    """Return a PNG: film, outlines of mask and reference, class-activation map.

    The grids are (256, 256).
    """
    film, _ = film_picture(radiograph, _SIDE)
    size = (film.shape[1], film.shape[0])
    outlined = film.copy()
    for mask, colour in ((reference, _SKY), (marked, _ORANGE)):
        large = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(outlined, contours, -1, colour, 1, cv2.LINE_AA)
    spread = float(cam.max() - cam.min())
    heat = np.zeros_like(cam) if spread == 0.0 else (cam - cam.min()) / spread
    coloured = cv2.applyColorMap(
        cv2.resize(np.rint(255 * heat).astype(np.uint8), size), cv2.COLORMAP_INFERNO
    )
    seen = cv2.addWeighted(film, 0.6, coloured, 0.4, 0.0)
    return to_png(np.hstack([film, outlined, seen]))


def _suspicion(cam: FloatGrid) -> FloatGrid:
    """Return by how much a tumour is ahead of none in each cell (rows, columns), logits."""
    return np.ascontiguousarray(cam[:, :, 1:].max(axis=2) - cam[:, :, 0])
