"""Answers of a model to the films of a dataset, and how its marks lie on the references."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from edge_runtime.bundle import LABELS
from edge_runtime.decision import mask_probability
from edge_runtime.errors import DatasetError, OsteoedgeError, RadiographError
from edge_runtime.radiograph import Radiograph, read_radiograph
from train.dataset.schema import Dataset, film_context
from train.evaluate.corruption import Corruption, corrupt
from train.evaluate.detector import as_detector_image
from train.evaluate.froc import FilmMarks, boxes, match
from train.evaluate.models import FilmModel
from train.evaluate.segmentation import ceiling, logits_on_grid, mark, overlap, reference_on_grid
from train.evaluate.store import Answer, AnswerStore

# Carried along for the strata of the report.
FACTS = ("age", "sex", "region", "view", "subtype", "manufacturer")
_PLAIN, _THROUGH_DICOM = "as it is", "through DICOM"

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Answered:
    """One model's answers to a dataset.

    Attributes
    ----------
    predictions
        One row a film, also for one that cannot be read (`unable`, no probabilities), as
        :func:`train.evaluate.metrics.evaluate` takes it; beside it lesion_fraction (of the film,
        by the reference), ceiling_cells and ceiling_coverage (Dice of perfect masks).
    marks
        One a film; None where the reference or the mask is not known.
    errors
        What was wrong with the films that could not be used.
    """

    predictions: pd.DataFrame
    marks: list[FilmMarks | None]
    errors: list[OsteoedgeError]


def answer_dataset(
    model: FilmModel,
    dataset: Dataset,
    store: AnswerStore,
    *,
    through_dicom: bool = False,
    progress: Report | None = None,
) -> Answered:
    """Answer every film of a dataset, or look up what an earlier call answered.

    Parameters
    ----------
    through_dicom
        Wrap films that are pictures as DICOM of detector size first and read that: the way a device
        gets them, see :mod:`train.evaluate.detector`.
    """
    rows: list[dict[str, Any]] = []
    marks: list[FilmMarks | None] = []
    errors: list[OsteoedgeError] = []
    for number, (_, film) in enumerate(dataset.films.iterrows(), start=1):
        row, found = identity(film), None
        try:
            answer = _answer(model, dataset.image_path(film), film, store, through_dicom)
        except RadiographError as error:
            errors.append(error)
            row["decision"] = "unable"
        else:
            row |= _said(model, answer)
            try:
                compared, found = _marking(model, dataset, film, answer)
                row |= compared
            except DatasetError as error:
                errors.append(error)
        rows.append(row)
        marks.append(found)
        if progress:
            progress(number, len(dataset.films))
    return Answered(pd.DataFrame(rows), marks, errors)


def answer_corrupted(
    model: FilmModel,
    dataset: Dataset,
    store: AnswerStore,
    corruptions: Sequence[Corruption],
    *,
    through_dicom: bool = False,
    progress: Report | None = None,
) -> dict[Corruption, pd.DataFrame]:
    """Answer every film at every corruption; a film that cannot be read is `unable` in each."""
    rows: dict[Corruption, list[dict[str, Any]]] = {c: [] for c in corruptions}
    for number, (_, film) in enumerate(dataset.films.iterrows(), start=1):
        path = dataset.image_path(film)
        radiograph: Radiograph | None = None
        for corruption in corruptions:
            row = identity(film)
            try:
                key, variant = _key(path), f"{_variant(film, through_dicom)}, {corruption.key}"
                answer = store.get(key, variant)
                if answer is None:
                    radiograph = radiograph or read_film(path, film, through_dicom)
                    answer = _corrupted(model, radiograph, corruption, int(key[:8], 16))
                    store.put(key, variant, answer)
                row |= _said(model, answer)
            except RadiographError:
                # Named already, when the film was answered as it is.
                row["decision"] = "unable"
            rows[corruption].append(row)
        if progress:
            progress(number, len(dataset.films))
    return {corruption: pd.DataFrame(answered) for corruption, answered in rows.items()}


def identity(film: pd.Series) -> dict[str, Any]:
    """Return a film's row of predictions before anything was said of it."""
    kept = ("image_id", "patient_id", "centre", "label", *(f for f in FACTS if f in film.index))
    blank = {f"p_{label}": np.nan for label in LABELS}
    unmarked = dict.fromkeys(("dice", "iou", "hd95", "painted"), np.nan)
    fraction = film.get("mask_fraction", np.nan)
    return {
        **{name: film[name] for name in kept},
        "decision": pd.NA,
        **blank,
        **unmarked,
        "lesion_fraction": fraction if film["label"] in LABELS[1:] else np.nan,
    }


def read_film(path: Path, film: pd.Series, through_dicom: bool) -> Radiograph:
    """Read a film, a picture by way of DICOM where that is wanted.

    What the header does not say of age, sex and region, the film's row does.
    """
    return _with_context(_read_pixels(path, through_dicom), film)


def _with_context(radiograph: Radiograph, film: pd.Series) -> Radiograph:
    age, sex, region = (film.get(column) for column in ("age", "sex", "region"))
    return replace(
        radiograph,
        age_years=float(age)
        if radiograph.age_years is None and pd.notna(age)
        else radiograph.age_years,
        sex=radiograph.sex or (sex if isinstance(sex, str) else None),
        body_part=radiograph.body_part or (region if isinstance(region, str) else None),
    )


def _read_pixels(path: Path, through_dicom: bool) -> Radiograph:
    radiograph = read_radiograph(path)
    if not through_dicom or radiograph.modality is not None:
        return radiograph
    seed = int(radiograph.sha256[:8], 16)
    return read_radiograph(as_detector_image(radiograph.display, path.stem, seed))


def _answer(
    model: FilmModel, path: Path, film: pd.Series, store: AnswerStore, through_dicom: bool
) -> Answer:
    key, variant = _key(path), _variant(film, through_dicom)
    answer = store.get(key, variant)
    if answer is None:
        answer = model.answer(read_film(path, film, through_dicom))
        if through_dicom:
            # References were drawn on the picture, not on what it was enlarged to.
            rows, columns = read_radiograph(path).display.shape
            answer = replace(answer, shape=(rows, columns))
        store.put(key, variant, answer)
    return answer


def _corrupted(
    model: FilmModel, radiograph: Radiograph, corruption: Corruption, seed: int
) -> Answer:
    worse = Radiograph(
        **{**vars(radiograph), "display": corrupt(radiograph.display, corruption, seed)}
    )
    answer = model.answer(worse)
    # Thirty masks a film are not worth their place.
    return Answer(answer.decision, answer.probabilities, answer.shape, None)


def _key(path: Path) -> str:
    """Return a film's hash.

    Raises
    ------
    RadiographError
        There is no such film.
    """
    if not path.is_file():
        read_radiograph(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _variant(film: pd.Series, through_dicom: bool) -> str:
    """Return how a film was read; its row is part of it, since the table may be corrected."""
    read = _THROUGH_DICOM if through_dicom else _PLAIN
    return ", ".join([read, *film_context(film).values()])


def _said(model: FilmModel, answer: Answer) -> dict[str, Any]:
    return {
        "decision": answer.decision if model.operating_points else pd.NA,
        **{f"p_{label}": p for label, p in zip(LABELS, answer.probabilities, strict=True)},
    }


def _marking(
    model: FilmModel, dataset: Dataset, film: pd.Series, answer: Answer
) -> tuple[dict[str, Any], FilmMarks | None]:
    """Compare what the mask marks with the reference, whatever the decision."""
    mask = dataset.mask(film, answer.shape)
    if mask is None or answer.mask_logits is None or model.mask_threshold is None:
        return {}, None
    logits = logits_on_grid(answer.mask_logits, answer.shape, model.spec)
    marked, reference = mark(logits, model.mask_threshold), reference_on_grid(mask)
    found = match(boxes(marked, mask_probability(logits)), boxes(reference))
    if film["label"] == "no_tumour":
        return {"painted": bool(marked.any())}, found
    if not reference.any():
        return {}, found
    fit = overlap(marked, reference)
    cells, coverage = ceiling(reference, answer.mask_logits.shape)
    return {
        "dice": fit.dice,
        "iou": fit.iou,
        "hd95": fit.hd95,
        "lesion_fraction": float(reference.mean()),
        "ceiling_cells": cells,
        "ceiling_coverage": coverage,
    }, found
