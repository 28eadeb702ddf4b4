"""Procedural limb radiographs: a dataset folder that anyone may have, made from a seed.

Drawn, not acquired: they exercise every step from DICOM to report where no patient's film may go,
and they say SYNTHETIC in the pixels, in the header, in the table and in ``dataset.toml``. What a
network scores on them says nothing about patients.

The modules follow the beam: :mod:`.patient` (who, with what), :mod:`.anatomy` (outlines in mm),
:mod:`.findings` (what a lesion does to a bone), :mod:`.projection` (line integrals), :mod:`.film`
(exposure and processing), :mod:`.draw` (all of it, for one film).
"""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2

from edge_runtime.errors import DatasetError
from train.dataset.dicom_writer import PatientFacts, StudyFacts, radiograph_dataset
from train.dataset.phantom.draw import draw_film
from train.dataset.phantom.patient import Patient, draw_patient

COLUMNS = (
    "image_id", "patient_id", "centre", "label", "study_id", "acquired_on", "path", "subtype",
    "other_finding", "age", "sex", "region", "view", "laterality", "manufacturer", "model",
    "reference_standard", "mask_fraction", "synthetic",
)  # fmt: skip
NOTICE = "SYNTHETIC: drawn by the osteoedge phantom, no patient, no detector"

# Starting a worker costs as much as this many patients.
_PATIENTS_PER_WORKER = 16

Row = dict[str, str]


def generate(
    out: Path,
    count: int,
    seed: int,
    *,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> None:
    """Write a dataset folder of procedural radiographs.

    Parameters
    ----------
    out
        Folder to write; it may exist, but holds no dataset yet.
    count
        Number of films. A larger count continues a smaller one: patients are drawn one by one.
    seed
        The same ``count`` and ``seed`` give the same bytes, whatever the number of workers, with
        the same versions of numpy, OpenCV and pydicom on the same kind of processor.
    progress
        Called with films done and films in all.
    workers
        Processes; None takes as many as the machine has cores and the work is worth.

    Raises
    ------
    DatasetError
        If ``count`` or ``seed`` is out of range, or ``out`` holds a dataset already.
    """
    if count < 1 or seed < 0:
        raise DatasetError(
            f"cannot make {count} films from seed {seed}",
            "ask for one film or more, seed 0 or more",
        )
    if (out / "radiographs.csv").exists():
        raise DatasetError("there is a dataset here already", "name a new folder", str(out))
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)

    plan = _plan(count, seed)
    if workers is None:
        workers = min(_cores(), -(-len(plan) // _PATIENTS_PER_WORKER))
    rows: list[Row] = []
    with _mapper(workers) as each:
        for written in each(partial(_write_patient, out, seed), plan):
            rows += written
            if progress is not None:
                progress(len(rows), count)

    # The table comes last: a folder without one is no dataset, so a cut-off run is not mistaken.
    (out / "dataset.toml").write_text(_describe(seed), encoding="utf-8")
    with (out / "radiographs.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _plan(count: int, seed: int) -> list[tuple[int, int]]:
    """Return ``(patient, films)`` so that the films add up to ``count``."""
    plan: list[tuple[int, int]] = []
    left = count
    while left > 0:
        films = min(left, len(draw_patient(seed, len(plan)).views))
        plan.append((len(plan), films))
        left -= films
    return plan


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _mapper(workers: int) -> Iterator[Callable[..., Iterator[list[Row]]]]:
    """Yield an ordered ``map`` over ``workers`` processes, or over none."""
    if workers <= 1:
        yield map
        return
    # Forking would copy the locks of whatever threads the caller's libraries have started.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        yield partial(pool.map, chunksize=4)


def _write_patient(out: Path, seed: int, task: tuple[int, int]) -> list[Row]:
    """Draw and write the films of one patient, and return their rows."""
    index, films = task
    patient = draw_patient(seed, index)
    return [_write_film(out, seed, patient, number) for number in range(films)]


def _write_film(out: Path, seed: int, patient: Patient, number: int) -> Row:
    view = patient.views[number]
    film = draw_film(patient, view, patient.film_rng(seed, number))
    image_id = f"{patient.patient_id}-{number + 1}"
    path = f"images/{image_id}.dcm"
    radiograph_dataset(
        film.pixels,
        bits_stored=patient.centre.bits,
        photometric=patient.photometric,
        window=film.window,
        patient=PatientFacts(
            patient.patient_id, "SYNTHETIC^PHANTOM", sex=patient.sex, age_years=patient.age
        ),
        study=StudyFacts(
            patient.study_id,
            image_id,
            film.spacing_mm,
            acquired_on=patient.acquired_on,
            body_part=patient.limb.body_part,
            view=view,
            laterality=patient.side,
            manufacturer=patient.centre.manufacturer,
            model=patient.centre.model,
            instance_number=number + 1,
            derivation=NOTICE,
            synthetic=True,
        ),
    ).save_as(out / path, enforce_file_format=True)
    if film.mask.any():
        cv2.imwrite(str(out / "masks" / f"{image_id}.png"), film.mask)
    return {
        "image_id": image_id,
        "patient_id": patient.patient_id,
        "centre": patient.centre.name,
        "label": patient.label,
        "study_id": patient.study_id,
        "acquired_on": patient.acquired_on.isoformat(),
        "path": path,
        "subtype": patient.subtype,
        "other_finding": patient.other_finding,
        "age": str(patient.age),
        "sex": patient.sex,
        "region": patient.limb.region,
        "view": view,
        "laterality": patient.side,
        "manufacturer": patient.centre.manufacturer,
        "model": patient.centre.model,
        "reference_standard": "by construction",
        "mask_fraction": f"{(film.mask > 0).mean():.6f}",
        "synthetic": "yes",
    }


def _describe(seed: int) -> str:
    return (
        f'name = "phantom-{seed}"\n'
        f'source = "procedural, osteoedge data phantom, seed {seed}"\n'
        'licence = "CC0-1.0"\n'
        'purpose = "demo"\n'
        "synthetic = true\n"
        "may_ship_weights = true\n"
    )
