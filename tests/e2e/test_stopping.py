"""The service is stopped, killed, and one of its processes falls silent."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest

from edge_runtime.unit.life import Life
from edge_runtime.unit.service import Part, Service
from tests.conftest import Trained
from tests.e2e.serving import ServedUnit, assert_whole, receiving, served
from tests.e2e.test_kill import Sender
from tests.processes import until


def uids_of(films: list[Path]) -> set[str]:
    return {str(pydicom.dcmread(film, stop_before_pixels=True).SOPInstanceUID) for film in films}


def test_a_stop_in_the_middle_of_everything_loses_nothing(trained: Trained, tmp_path: Path) -> None:
    # Many more films than are sent: no sender may run out before all processes are busy.
    first, *films = sorted((trained.dataset / "images").iterdir())
    busy = (
        "SELECT EXISTS (SELECT 1 FROM film WHERE state IN ('received', 'screening')) "
        "AND EXISTS (SELECT 1 FROM delivery WHERE state IN ('waiting', 'sending')) "
        "AND (SELECT COUNT(*) FROM delivery WHERE state = 'sent') > 3"
    )
    with (
        receiving(tmp_path / "pacs") as pacs,
        served(tmp_path / "unit", trained.bundle, settings=pacs.settings()) as unit,
    ):
        assert unit.send(first) == 0
        until(unit.idle, "all processes are at work", 120)
        senders = [Sender(unit, films[n::3]) for n in range(3)]
        for sender in senders:
            sender.start()
        until(lambda: unit.count(busy), "films are received, screened and sent")
        began = time.monotonic()
        assert unit.stop() == 0
        # A supervisor ends what does not end by itself; the time is told, not judged.
        print(f"stopped in {time.monotonic() - began:.2f} s")
        assert not unit.pids()
        for sender in senders:
            sender.enough.set()
        unit.start()
        for sender in senders:
            sender.join(120)
            assert not sender.is_alive(), "every film is acknowledged in the end"
        until(unit.idle, "everything is screened and sent", 120)
        assert unit.stop() == 0
        sent = [film for sender in senders for film in sender.acknowledged]
        received = assert_whole(unit, uids_of([first, *sent]), pacs)
        # What was being sent when it stopped may have arrived, and is sent again.
        assert sum(received.values()) <= len(received) + 1


def test_processes_end_with_their_supervisor(trained: Trained, tmp_path: Path) -> None:
    films = sorted((trained.dataset / "images").iterdir())[:2]
    with (
        receiving(tmp_path / "pacs") as pacs,
        served(tmp_path / "unit", trained.bundle, settings=pacs.settings()) as unit,
    ):
        assert unit.send(films[0]) == 0
        assert len(unit.pids()) == 5
        assert unit.process is not None
        unit.process.kill()
        assert unit.process.wait() == -signal.SIGKILL
        until(lambda: not unit.pids(), "nobody is left")
        unit.start()
        assert unit.send(films[1]) == 0
        until(unit.idle, "everything is screened and sent", 120)
        assert unit.stop() == 0
        assert_whole(unit, uids_of(films), pacs)


def test_a_process_that_falls_silent_is_ended_and_started_again(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unit, life = ServedUnit(tmp_path, trained.bundle, live=False), Life()
    films = sorted((trained.dataset / "images").iterdir())[:2]

    def screened(film: Path) -> bool:
        shutil.copy(film, unit.watched / f"{film.name}.part")
        (unit.watched / f"{film.name}.part").rename(unit.watched / film.name)
        before = unit.count("SELECT COUNT(*) FROM result")
        return bool(until(lambda: unit.count("SELECT COUNT(*) FROM result") > before, "screened"))

    def silence(service: Service, worker: Part) -> bool:
        assert screened(films[0])
        assert worker.process is not None
        os.kill(worker.process.pid, signal.SIGSTOP)
        usual, worker.silence_s = worker.silence_s, 2.0
        until(lambda: service.facts().restarts["worker"], "it was ended")
        worker.silence_s = usual
        return screened(films[1])

    with (
        unit.spool() as spool,
        ThreadPoolExecutor(1) as pool,
        caplog.at_level(logging.WARNING, "edge_runtime.unit.service"),
    ):
        service = Service(unit.unit, unit.toml, spool, None)
        (worker,) = (part for part in service.parts if part.role == "worker")
        played = pool.submit(silence, service, worker)
        played.add_done_callback(lambda _: life.stop())
        try:
            service.run(life)
        finally:
            service.stop()
        assert played.result()
    assert service.facts().restarts == {"folders": 0, "worker": 1}
    assert caplog.messages == ["gave no sign of life, ended", "ended, is started again"]
    assert not unit.pids()
