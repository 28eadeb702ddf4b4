"""kill -9 at random instants: nothing that was acknowledged is lost, nothing is done twice."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import pydicom
import pytest

from tests.conftest import Trained
from tests.e2e.serving import ServedUnit, assert_whole, receiving, served
from tests.processes import until

ROLES = ("receiver", "receiver", "folders", "worker", "outbox")


class Sender(threading.Thread):
    """Sends films one by one, each again until it is acknowledged, as a console does.

    It begins no further film once told that it is `enough`.
    """

    def __init__(self, unit: ServedUnit, films: list[Path]) -> None:
        super().__init__(daemon=True)
        self._unit, self._films = unit, films
        self.acknowledged: list[Path] = []
        self.enough = threading.Event()

    def run(self) -> None:
        for film in self._films:
            if self.enough.is_set():
                return
            while self._unit.send(film) != 0:
                time.sleep(0.05)
            self.acknowledged.append(film)


def kill_at_random(trained: Trained, home: Path, kills: int, films_each: int, seed: int) -> None:
    chance = random.Random(seed)
    films = sorted((trained.dataset / "images").iterdir())
    with (
        receiving(home / "pacs") as pacs,
        served(home / "unit", trained.bundle, settings=pacs.settings()) as unit,
    ):
        senders = [Sender(unit, films[n::20][:films_each]) for n in range(2)]
        dropped = films[2::20][:films_each]
        for sender in senders:
            sender.start()
        done = 0
        while done < kills:
            time.sleep(chance.uniform(0.0, 0.8))
            assert unit.process is not None and unit.process.poll() is None, "the service is up"
            if done % 5 == 0 and dropped:
                film = dropped.pop()
                part = unit.watched / f"{film.name}.part"
                part.write_bytes(film.read_bytes())
                part.rename(unit.watched / film.name)
            if pids := unit.pids(chance.choice(ROLES)):
                os.kill(chance.choice(pids), signal.SIGKILL)
                done += 1
        for sender in senders:
            sender.join(300)
            assert not sender.is_alive(), "every film is acknowledged in the end"
        acknowledged = [film for sender in senders for film in sender.acknowledged]
        watched = [unit.watched / file.name for file in unit.watched.iterdir()]
        uids = {
            str(pydicom.dcmread(film, stop_before_pixels=True).SOPInstanceUID)
            for film in [*acknowledged, *watched]
        }
        until(lambda: unit.count("SELECT COUNT(*) FROM film") >= len(uids), "folder taken", 120)
        until(unit.idle, "everything is screened and sent", 300)
        assert unit.stop() == 0

        received = assert_whole(unit, uids, pacs)
        again = sum(times - 1 for times in received.values())
        # An answer that a kill cut off cannot be known: the same object goes again, same UID.
        print(f"{len(uids)} films, {done} kills, {len(received)} objects, {again} came again")
        assert again <= kills


def test_fifty_kills_lose_and_repeat_nothing(trained: Trained, tmp_path: Path) -> None:
    kill_at_random(trained, tmp_path, kills=50, films_each=12, seed=1)


@pytest.mark.nightly
def test_five_hundred_kills_lose_and_repeat_nothing(trained: Trained, tmp_path: Path) -> None:
    kill_at_random(trained, tmp_path, kills=500, films_each=20, seed=2)
