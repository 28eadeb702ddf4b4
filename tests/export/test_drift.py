"""What is measured of a film is the same at export, in the screener, and in a unit's spool."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from edge_runtime.bundle import SiteUse, load_bundle
from edge_runtime.drift.reference import LEAST_FILMS, MEASURES, MOST_FILMS
from edge_runtime.drift.status import drift_status
from edge_runtime.intake.understanding import enter, understand
from edge_runtime.radiograph import read_radiograph
from edge_runtime.screener import Screener
from edge_runtime.spool import Spool
from edge_runtime.unit.mode import load_servable
from edge_runtime.unit.worker import Worker
from export.drift import chosen_films
from tests.conftest import Trained
from tests.edge_runtime.bundles import servable_bundle
from tests.edge_runtime.units import settings
from train.dataset.schema import label_index, load_dataset


@pytest.fixture(scope="module")
def screener(trained: Trained) -> Iterator[Screener]:
    with Screener(load_bundle(trained.bundle)) as made:
        yield made


def calibration_films(trained: Trained) -> list[Path]:
    """The films of the reference."""
    import pandas as pd

    dataset = load_dataset(trained.dataset)
    part = pd.read_csv(trained.run / "split.csv")["part"] == "calibration"
    rows = dataset.films[part.to_numpy()]
    chosen = chosen_films(label_index(rows), rows["patient_id"].to_numpy(object), seed=0)
    return [dataset.image_path(rows.iloc[film]) for film in chosen]


def test_the_reference_is_of_films_without_a_tumour_one_a_patient(trained: Trained) -> None:
    reference = load_bundle(trained.bundle).manifest.calibration.drift
    assert reference is not None and reference.values.keys() == set(MEASURES)
    assert reference.films == len(calibration_films(trained)) >= LEAST_FILMS
    assert {len(values) for values in reference.values.values()} == {reference.films}


def test_the_screener_measures_what_export_measured(trained: Trained, screener: Screener) -> None:
    reference = load_bundle(trained.bundle).manifest.calibration.drift
    assert reference is not None
    for path in calibration_films(trained)[:4]:
        watched = screener.screen(read_radiograph(path)).watched
        assert watched is not None and watched.keys() == set(MEASURES)
        for name, value in watched.items():
            nearest = min(reference.values[name], key=lambda known, at=value: abs(known - at))
            # A whole batch of films is summed in another order than one.
            assert value == pytest.approx(nearest, abs=2e-4 if name == "distance" else 2e-6), name


def test_what_is_watched_is_not_in_the_document(trained: Trained, screener: Screener) -> None:
    screening = screener.screen(read_radiograph(calibration_films(trained)[0]))
    assert screening.watched and "watched" not in screening.model_dump_json(by_alias=True)


def test_a_sites_own_calibration_is_no_drift(trained: Trained, screener: Screener) -> None:
    bundle = screener.bundle
    fusion = bundle.manifest.calibration.fusion
    calibration = bundle.manifest.calibration.model_copy(
        update={"fusion": fusion.model_copy(update={"cam": 3 * fusion.cam})}
    )
    site = replace(
        bundle,
        manifest=bundle.manifest.model_copy(update={"calibration": calibration}),
        site=SiteUse(name="Clinic A", sha256="a" * 64),
    )
    film = read_radiograph(calibration_films(trained)[0])
    own = screener.screen(film)
    with Screener(site) as there:
        theirs = there.screen(film)
    assert theirs.tumour_probability != own.tumour_probability
    assert theirs.watched == own.watched


def test_many_patients_are_more_than_are_needed() -> None:
    labels = np.array([0, 1, 0, 2] * 1000, np.int32)
    patients = np.repeat([f"P{number}" for number in range(2000)], 2).astype(object)
    chosen = chosen_films(labels, patients, seed=3)
    assert len(chosen) == MOST_FILMS and (labels[chosen] == 0).all()
    assert len(set(patients[chosen])) == MOST_FILMS and (np.diff(chosen) > 0).all()
    assert not np.array_equal(chosen, chosen_films(labels, patients, seed=4))
    some = chosen_films(np.array([1, 0, 0, 0], np.int32), np.array(list("aabb"), object), seed=0)
    assert some.tolist() == [1, 2]


def test_the_worker_records_the_first_film_of_each_study(trained: Trained, tmp_path: Path) -> None:
    bundle, keys = servable_bundle(trained.bundle, tmp_path / "bundle", "research")
    unit = settings(tmp_path, bundle, keys)
    films = sorted((trained.dataset / "images").iterdir())[:4]
    unreadable = tmp_path / "unreadable.dcm"
    spoilt = pydicom.dcmread(films[-1])
    spoilt.SOPInstanceUID = spoilt.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    spoilt.StudyInstanceUID = "1.2.3"
    spoilt.BitsAllocated, spoilt.PixelData = 16, b"\0\0"
    spoilt.save_as(unreadable)
    studies = {pydicom.dcmread(film).StudyInstanceUID for film in films}
    with Spool(unit.spool.directory) as spool, Screener(load_servable(unit.bundle)) as screener:
        worker = Worker(unit, spool, screener)
        worker.begin()
        for film in (*films, unreadable):
            copy = spool.folder / "incoming" / film.name
            shutil.copy(film, copy)
            enter(spool, understand(copy, "test"))
        while worker.step():
            pass
        rows = spool.rows("SELECT * FROM drift_film ORDER BY number")
        assert {row["study_instance_uid"] for row in rows} == {*studies, "1.2.3"}
        assert [row["number"] for row in rows] == list(range(1, len(studies) + 2))
        assert {row["bundle_sha256"] for row in rows} == {screener.bundle.sha256}
        *read, unread = rows
        expected = screener.screen(read_radiograph(films[0])).watched
        assert expected is not None
        assert {name: read[0][name] for name in MEASURES} == expected
        assert unread["unable"] == 1 and all(unread[name] is None for name in MEASURES)
        found = drift_status(spool)
        assert (found.available, found.studies, found.blocks) == (True, len(rows), 0)
