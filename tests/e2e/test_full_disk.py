"""A full disk: nobody is told of success for what is not there, and it recovers by itself."""

from __future__ import annotations

import hashlib
import random
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from edge_runtime.errors import SpoolFullError
from edge_runtime.screener import Screener
from edge_runtime.spool import Spool
from edge_runtime.spool.admission import FilmIdentity, Received, admit, quarantine
from edge_runtime.spool.audit import verify
from edge_runtime.spool.delivery import claim_delivery, delivered
from edge_runtime.spool.retention import free_bytes, remove_old
from edge_runtime.spool.work import claim_film, finish
from edge_runtime.unit.mode import load_servable
from edge_runtime.unit.status import read_status
from edge_runtime.unit.worker import Worker
from tests.conftest import Trained
from tests.e2e.senders import association, encoded, store
from tests.e2e.serving import Receiver, ServedUnit, receiving, served
from tests.e2e.test_intake import noise, small_disk
from tests.edge_runtime.films import save
from tests.edge_runtime.test_spool import RESULT, document
from tests.processes import until

__all__ = ["small_disk"]

SUCCESS, FULL = 0x0000, 0xA700


def film_of(side: int, seed: int) -> Dataset:
    """A film of a study of its own."""
    return noise(
        side, seed, StudyInstanceUID=f"2.25.1{seed}", SeriesInstanceUID=f"2.25.2{seed}",
        PatientID=str(seed),
    )  # fmt: skip


class Ballast:
    """Takes all the space that is left on a disk, and gives it back."""

    def __init__(self, disk: Path) -> None:
        self._file = disk / "ballast"

    def fill(self, leave: int = 0) -> None:
        with self._file.open("ab", buffering=0) as stream:
            for step in (1 << 20, 1 << 12):
                try:
                    while stream.write(bytes(step)):
                        pass
                except OSError:
                    continue
            stream.truncate(max(stream.tell() - leave, 0))

    def drop(self) -> None:
        self._file.unlink(missing_ok=True)


def send(port: int, films: list[Dataset]) -> list[int | None]:
    """Send films on one association; return the answers, None for an abort and all after it."""
    with association(port) as made:
        if not made.is_established:
            return [None] * len(films)
        made._reactor_checkpoint.clear()
        answers: list[int | None] = []
        for film in films:
            ended = answers and answers[-1] is None
            answers.append(None if ended else store(made, encoded(film), film.SOPInstanceUID))
        made._reactor_checkpoint.set()
    return answers


def names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder.parent)) for file in folder.rglob("*") if file.is_file()}


def everything_is_in_its_place(unit: ServedUnit, acknowledged: set[UID]) -> None:
    """Each film that was acknowledged has its one result, and each file its row."""
    with unit.spool() as spool:
        films = spool.rows("SELECT * FROM film")
        stored = spool.rows("SELECT path FROM film WHERE removed_at IS NULL")
        results = spool.rows("SELECT film_id FROM result WHERE current")
        documents = spool.rows("SELECT path FROM document WHERE removed_at IS NULL")
        reports = spool.rows("SELECT 1 FROM document WHERE kind = 'sr' AND withdrawn IS NULL")
        verify(spool)
    assert {row["sop_instance_uid"] for row in films} == acknowledged
    assert {row["state"] for row in films} <= {"delivered"}
    assert sorted(row["film_id"] for row in results) == sorted(row["id"] for row in films)
    assert len(reports) == len(films), "each is a study of its own"
    assert names(unit.spool_folder / "films") == {row["path"] for row in stored}
    assert names(unit.spool_folder / "results") == {row["path"] for row in documents}
    for folder in ("incoming", "outgoing", "quarantine"):
        assert not names(unit.spool_folder / folder)


def in_good_health(unit: ServedUnit, pids: list[int]) -> None:
    assert unit.unit.health is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{unit.unit.health.port}/healthz") as answer:
        assert answer.status == 200
    assert read_status(unit.unit).running
    assert sorted(unit.pids()) == pids, "no process ended"


@pytest.fixture
def pacs(tmp_path: Path) -> object:
    with receiving(tmp_path / "pacs") as receiver:
        yield receiver


def test_films_until_the_disk_is_full(
    small_disk: Path, tmp_path: Path, trained: Trained, pacs: Receiver
) -> None:
    """48 MiB, of which 10 are kept free: what does not fit is refused, and fits afterwards."""
    ballast = Ballast(small_disk)
    with served(
        tmp_path / "unit", trained.bundle, settings=pacs.settings(),
        spool=small_disk / "spool", film_mib=6,
    ) as unit:  # fmt: skip
        pids = sorted(until(lambda: len(unit.pids()) == 5 and unit.pids(), "all are up"))
        films = [film_of(1400, seed) for seed in range(12)]
        answers = send(unit.port, films)
        assert set(answers) == {SUCCESS, FULL}
        assert answers == sorted(answers), "full from some film on"
        acknowledged = {
            film.SOPInstanceUID
            for film, answer in zip(films, answers, strict=True)
            if answer == SUCCESS
        }
        in_good_health(unit, pids)
        # Not one byte is left, for the database neither, and the service is told to stop.
        until(unit.idle, "all that was taken is screened")
        ballast.fill()
        assert set(send(unit.port, films[-2:])) == {FULL}
        in_good_health(unit, pids)
        assert unit.stop() == 0
        # It starts on a full disk, too, and makes room: all that it holds is delivered.
        unit.start()
        until(lambda: send(unit.port, films[-1:]) == [SUCCESS], "there is room again")
        until(unit.idle, "the last one is screened")
        assert unit.stop() == 0
        everything_is_in_its_place(unit, acknowledged | {films[-1].SOPInstanceUID})


def test_a_disk_that_is_full_at_random_moments(
    small_disk: Path, tmp_path: Path, trained: Trained, pacs: Receiver
) -> None:
    """Films are received, screened, reported and sent while somebody else fills the disk."""
    chance, ballast = random.Random(7), Ballast(small_disk)
    with served(
        tmp_path / "unit", trained.bundle, settings=pacs.settings(),
        spool=small_disk / "spool", film_mib=4,
    ) as unit:  # fmt: skip
        pids = sorted(until(lambda: len(unit.pids()) == 5 and unit.pids(), "all are up"))
        films = [film_of(300, seed) for seed in range(30)]
        assert send(unit.port, films[:1]) == [SUCCESS]
        until(lambda: unit.count("SELECT COUNT(*) FROM delivery") == 2 and unit.idle(), "warm")
        answers: Counter[int | None] = Counter()

        def send_all() -> None:
            for film in films:
                while (answer := send(unit.port, [film])[0]) != SUCCESS:
                    answers[answer] += 1
                    time.sleep(0.05)
                answers[SUCCESS] += 1

        dropped = [film_of(300, seed) for seed in range(100, 106)]
        for number, film in enumerate(dropped):
            save(film, unit.watched / f"{number}.dcm")
        sender = threading.Thread(target=send_all, daemon=True)
        sender.start()
        for _ in range(12):
            time.sleep(chance.uniform(0.0, 1.0))
            ballast.fill(leave=chance.choice((0, 0, 4096, 40_000, 200_000)))
            in_good_health(unit, pids)
            time.sleep(chance.uniform(0.0, 1.5))
            ballast.drop()
        until(lambda: unit.count("SELECT COUNT(*) FROM film") == 36 and unit.idle(), "recovers")
        sender.join()
        print("answers", dict(answers))
        assert set(answers) <= {SUCCESS, FULL, None}
        assert answers[FULL] > 0
        assert '"no space"' in unit.log.read_text(), "the worker met it, too"
        in_good_health(unit, pids)
        assert unit.stop() == 0
        everything_is_in_its_place(unit, {film.SOPInstanceUID for film in [*films, *dropped]})
    times = Counter(pacs.received().values())
    assert set(times) == {1}, "each object is sent once"


def test_a_full_disk_is_not_held_against_films_and_studies(
    small_disk: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    """However often the worker tries."""
    served_unit = ServedUnit(tmp_path / "unit", tiny_bundle, spool=small_disk / "spool")
    unit, ballast = served_unit.unit, Ballast(small_disk)
    results = unit.spool.directory / "results"
    with Spool(unit.spool.directory) as spool, Screener(load_servable(unit.bundle)) as screener:
        for seed in range(2):
            film = save(film_of(300, seed), spool.folder / "incoming" / "film")
            admit(spool, taken(film), identity(film_of(300, seed)))
        worker = Worker(unit, spool, screener)
        worker.begin()

        def try_in_vain(*leaves: int) -> None:
            for leave in leaves:
                ballast.fill(leave)
                with pytest.raises(SpoolFullError):
                    worker.let_go()
                    while worker.step():
                        pass
                ballast.drop()
            worker.let_go()
            rows = spool.rows("SELECT path FROM document")
            assert names(results) == {row["path"] for row in rows}

        # Less than the picture has: it is begun, and cannot be ended.
        try_in_vain(0, *[100_000] * 5)
        assert worker.step(), "a film"
        # Less than the report has.
        try_in_vain(0, *[8192] * 5)
        while worker.step():
            pass
        films = spool.rows("SELECT state, starts FROM film")
        assert [tuple(row) for row in films] == [("unable", 0)] * 2, "as noise is"
        kinds = Counter(row["kind"] for row in spool.rows("SELECT kind FROM document"))
        assert kinds == {"sc": 2, "sr": 2}
        assert all(row["reported"] == row["revision"] for row in spool.rows("SELECT * FROM study"))


def test_a_database_that_cannot_grow_takes_nothing_and_loses_nothing(small_disk: Path) -> None:
    ballast = Ballast(small_disk)
    with Spool(small_disk / "spool") as spool:
        waiting = [save(noise(8, n), spool.folder / "incoming" / str(n)) for n in range(400)]
        ballast.fill()
        for take in (
            lambda file: admit(spool, taken(file), identity(noise(8, int(file.name)))),
            lambda file: quarantine(spool, taken(file), "no film"),
        ):
            kept = 0
            with pytest.raises(SpoolFullError):
                for file in waiting:
                    if file.exists():
                        take(file)
                        kept += 1
            assert sum(file.exists() for file in waiting) == len(waiting) - len(held(spool))
            assert names(spool.folder / "films") | names(spool.folder / "quarantine") == held(spool)
        ballast.drop()
        for file in waiting:
            if file.exists():
                admit(spool, taken(file), identity(noise(8, int(file.name))))
        assert len(held(spool)) == len(waiting)
        verify(spool)


def test_a_full_disk_is_tidied_up(small_disk: Path) -> None:
    """Rows can only be written once files are deleted."""
    ballast = Ballast(small_disk)
    with Spool(small_disk / "spool") as spool:
        for number in range(8):
            file = save(film_of(700, number), spool.folder / "incoming" / "film")
            admit(spool, taken(file), identity(film_of(700, number)))
            film = claim_film(spool)
            assert film is not None
            uid = f"2.25.{number}"
            finish(spool, film, RESULT, [document(spool, "sc", uid, ("pacs",) if number else ())])
            with spool.transaction() as execute:
                execute("UPDATE study SET reported = revision")
        waiting = claim_delivery(spool, "pacs")
        while delivery := claim_delivery(spool, "pacs"):
            delivered(spool, delivery, delivery.size)
        assert waiting is not None
        # Not a row can be written without a byte more.
        spool.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        ballast.fill()
        for _ in range(3):
            try:
                remove_old(spool, 30 * 86400.0, 5 << 20, ())
            except SpoolFullError:
                assert free_bytes(spool) > 0, "the next time it can be recorded"
        assert free_bytes(spool) >= 5 << 20
        assert names(spool.folder / "films") == {
            row["path"] for row in spool.rows("SELECT path FROM film WHERE removed_at IS NULL")
        }
        assert waiting.path.exists(), "what is not sent stays"
        assert len(names(spool.folder / "films")) == 8 - 6, "and no more goes than has to"


def taken(file: Path) -> Received:
    data = file.read_bytes()
    return Received(file, hashlib.sha256(data).hexdigest(), len(data), "test")


def identity(film: Dataset) -> FilmIdentity:
    uid = str(film.SOPInstanceUID)
    return FilmIdentity(str(film.SOPClassUID), uid, uid, uid, "patient", 2)


def held(spool: Spool) -> set[str]:
    rows = spool.rows("SELECT path FROM film UNION SELECT path FROM quarantine")
    return {row["path"] for row in rows}
