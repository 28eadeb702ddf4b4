"""Whatever is sent or dropped: the unit stays up, and says of each file what came of it."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from pydicom.filereader import read_file_meta_info

from edge_runtime.dicom_codecs import PLUGIN_OF
from edge_runtime.intake.header import identify
from edge_runtime.spool.admission import FilmIdentity
from tests.conftest import Trained
from tests.e2e.senders import association, store
from tests.e2e.serving import ServedUnit, served
from tests.e2e.test_intake import data_set_of
from tests.edge_runtime.codings import LOSSLESS, LOSSY, as_file
from tests.edge_runtime.fuzzing import adorn, mutate
from tests.processes import until

MEMORY_MIB = 256
"""That the worker may grow by over what it had once it had screened a film."""
TAKEN, NOT_AS_ANNOUNCED, NOT_UNDERSTOOD = 0x0000, 0xA900, 0xC210
CLASSES = (
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.SecondaryCaptureImageStorage,
    uid.KeyObjectSelectionDocumentStorage,
)
SYNTAXES = tuple(PLUGIN_OF)
# Of the film that mutants are made of; each has a number in the place of the zeros.
UIDS = {
    "SOPInstanceUID": "2.25.7100000000",
    "StudyInstanceUID": "2.25.7200000000",
    "SeriesInstanceUID": "2.25.7300000000",
}


@dataclass(frozen=True)
class Object:
    """What a sender announces, and the bytes that it sends."""

    sop_class: str
    instance: str
    syntax: str
    data_set: bytes


def send_all(port: int, objects: list[Object]) -> Counter[int | None]:
    """Send objects on few associations: after an abort, on another."""
    answers: Counter[int | None] = Counter()
    left = list(reversed(objects))
    while left:
        with association(port, *CLASSES, syntaxes=SYNTAXES) as made:
            made._reactor_checkpoint.clear()
            while left:
                one = left.pop()
                answer = store(made, one.data_set, one.instance, one.sop_class, one.syntax)
                answers[answer] += 1
                if answer is None:
                    break
            made._reactor_checkpoint.set()
    return answers


def sound_films() -> list[bytes]:
    """The film in every coding, as files."""
    films = []
    for make in (*LOSSLESS.values(), *LOSSY.values()):
        dataset = make()
        adorn(dataset)
        for keyword, value in UIDS.items():
            setattr(dataset, keyword, value)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        films.append(as_file(dataset))
    return films


def numbered(data: bytes, number: int) -> bytes:
    for value in UIDS.values():
        data = data.replace(value.encode(), f"{value[:7]}{number:08}".encode())
    return data


def mutants(count: int, folder: Path) -> Iterator[bytes | Object]:
    """Damaged films: every other one a file, and the others data sets."""
    films = sound_films()
    kept = folder / "film.dcm"
    for number in range(count):
        rng = np.random.default_rng([62, number])
        film, donor = numbered(films[number // 2 % len(films)], number), films[rng.integers(9)]
        if number % 2:
            yield mutate(film, donor, rng)
        else:
            kept.write_bytes(film)
            meta = read_file_meta_info(kept)
            data_set = mutate(data_set_of(kept), donor, rng)
            # Without a byte of one, it is no object.
            yield Object(
                meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID,
                meta.TransferSyntaxUID, data_set or b"\0\0",
            )  # fmt: skip


def catalogue(folder: Path) -> Iterator[Path | Object]:
    """Every file, and again as an object where its class and coding can be announced."""
    with (folder / "catalog.csv").open(newline="") as stream:
        files = [folder / row["file"] for row in csv.DictReader(stream)]
    for file in files:
        yield file
        try:
            film, _ = identify(file)
            meta = read_file_meta_info(file)
            syntax = meta.TransferSyntaxUID
        except Exception:
            continue
        if isinstance(film, FilmIdentity) and film.sop_class_uid in CLASSES and syntax in SYNTAXES:
            data = data_set_of(file)
            yield Object(film.sop_class_uid, film.sop_instance_uid, syntax, data)


def memory_mib(pid: int, what: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) / 1024


def take_anything(unit: ServedUnit, files: list[bytes | Path], objects: list[Object]) -> None:
    """Send and drop everything; see what came of it."""
    pids = sorted(until(lambda: len(unit.pids()) == 4 and unit.pids(), "all are up"))
    (worker,) = unit.pids("worker")
    (unit.watched / "sound.dcm").write_bytes(sound_films()[0])
    ended = "SELECT COUNT(*) FROM film WHERE state NOT IN ('received', 'screening', 'failed')"
    until(lambda: unit.count(ended) == 1 and unit.idle(), "a sound film")
    before = memory_mib(worker, "VmRSS")

    for number, file in enumerate(files):
        target = unit.watched / f"{number:04}"
        if isinstance(file, Path):
            shutil.copy(file, target)
        else:
            target.write_bytes(file)
    answers = send_all(unit.port, objects)
    seen = "SELECT COUNT(*) FROM seen_file"
    until(
        lambda: unit.count(seen) == len(files) + 1, "every file is dealt with", max(240, len(files))
    )
    until(unit.idle, "every film is screened, and every study reported", max(240, len(files)))

    grown = memory_mib(worker, "VmHWM") - before
    assert sorted(unit.pids()) == pids, "no process ended"
    assert unit.stop() == 0
    with unit.spool() as spool:
        outcomes = Counter(row["outcome"] for row in spool.rows("SELECT outcome FROM seen_file"))
        films = spool.rows(
            "SELECT f.state, r.decision FROM film f LEFT JOIN result r "
            "ON r.film_id = f.id AND r.current"
        )
        aside = spool.rows("SELECT reason FROM quarantine")
        rejected = spool.rows("SELECT 1 FROM rejection")
    print(f"{len(files)} files: {dict(outcomes)}; {len(objects)} objects: {dict(answers)}")
    print(Counter(tuple(row) for row in films), len(aside), "quarantined", len(rejected), "notes")
    print(f"the worker grew by {grown:.0f} MiB")
    # Every object was answered: taken, or kept in quarantine.
    assert set(answers) <= {TAKEN, NOT_AS_ANNOUNCED, NOT_UNDERSTOOD}
    assert set(outcomes) <= {"new", "revised", "duplicate", "quarantined", "rejection note"}
    for row in films:
        if row["state"] in ("superseded", "withdrawn"):
            assert row["decision"] is None
        else:
            assert row["state"] in ("reported", "unable"), "none ended the worker"
            assert (row["decision"] == "unable") == (row["state"] == "unable")
    assert all(row["reason"] for row in aside)
    # Nothing went by the board: what came is a row, or the same as another.
    kept = len(films) + len(aside) + len(rejected)
    new = sum(outcomes[word] for word in ("new", "revised", "quarantined", "rejection note"))
    assert new <= kept <= len(files) + 1 + len(objects)
    assert grown < MEMORY_MIB


def take_mutants(home: Path, trained: Trained, count: int) -> None:
    with served(home / "unit", trained.bundle) as unit:
        made = list(mutants(count, home))
        files: list[bytes | Path] = [one for one in made if isinstance(one, bytes)]
        take_anything(unit, files, [one for one in made if isinstance(one, Object)])


def test_damaged_films(trained: Trained, tmp_path: Path) -> None:
    take_mutants(tmp_path, trained, 500)


@pytest.mark.nightly
def test_many_damaged_films(trained: Trained, tmp_path: Path) -> None:
    take_mutants(tmp_path, trained, 5000)


@pytest.mark.data
def test_every_file_of_the_catalogue(trained: Trained, tmp_path: Path, local_data: Path) -> None:
    with served(tmp_path / "unit", trained.bundle) as unit:
        found = list(catalogue(local_data / "dicom"))
        files: list[bytes | Path] = [one for one in found if isinstance(one, Path)]
        take_anything(unit, files, [one for one in found if isinstance(one, Object)])
