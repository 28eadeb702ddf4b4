"""Thousands of films: no process of the unit grows."""

from __future__ import annotations

from pathlib import Path

import cv2
import pydicom
import pytest
from pydicom import uid

from tests.conftest import Trained
from tests.e2e.senders import association, encoded, store
from tests.e2e.serving import ServedUnit, receiving, served
from tests.edge_runtime.films import film
from tests.processes import until

CR = uid.ComputedRadiographyImageStorage
WARM = 1000
"""Films after which nothing that is loaded or kept once should be left to load."""
GROWTH = 1.05
WARM_ASSOCIATIONS, ASSOCIATIONS = 20, 4
UIDS = {
    "SOPInstanceUID": "2.25.7100000000",
    "StudyInstanceUID": "2.25.7200000000",
    "SeriesInstanceUID": "2.25.7300000000",
}


def small_film(path: Path) -> bytes:
    """The data set of a film of 300 x 300 pixels, with zeros where its number goes."""
    pixels = cv2.resize(pydicom.dcmread(path).pixel_array, (300, 300), interpolation=cv2.INTER_AREA)
    return encoded(film(pixels, SOPClassUID=CR, Modality="CR", PatientID="1", **UIDS))


def send(port: int, data_set: bytes, first: int, last: int) -> None:
    with association(port, CR) as made:
        made._reactor_checkpoint.clear()
        for number in range(first, last):
            data, sop = data_set, f"2.25.71{number:08}"
            for value in UIDS.values():
                data = data.replace(value.encode(), f"{value[:7]}{number:08}".encode())
            assert store(made, data, sop, CR) == 0
        made._reactor_checkpoint.set()


def memory_kib(unit: ServedUnit) -> dict[str, tuple[int, int]]:
    """Return RSS and what of it is anonymous, of every process, by name and process id.

    Not PSS: of a library that other programs use, each one that ends adds to ours.
    """
    assert unit.process is not None
    found = {}
    for pid in [unit.process.pid, *unit.pids()]:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        child = "edge_runtime.unit.child"
        role = words[words.index(child) + 1] if child in words else "service"
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        values = {name: int(rest.split()[0]) for name, rest in (one.split(":") for one in lines)}
        found[f"{role} {pid}"] = values["Rss"], values["Anonymous"]
    return found


def soak(trained: Trained, home: Path, films: int) -> None:
    data_set = small_film(sorted((trained.dataset / "images").iterdir())[0])
    each = (films - WARM) // ASSOCIATIONS
    with (
        receiving(home / "pacs") as pacs,
        served(home / "unit", trained.bundle, settings=pacs.settings('["sr", "sc"]')) as unit,
    ):
        # By many associations: whichever receiver takes one, each has had some by then.
        for first in range(0, WARM, WARM // WARM_ASSOCIATIONS):
            send(unit.port, data_set, first, first + WARM // WARM_ASSOCIATIONS)
        until(unit.idle, "the first are done", 1800)
        before = memory_kib(unit)
        for number in range(ASSOCIATIONS):
            first = WARM + number * each
            send(unit.port, data_set, first, first + each)
        until(unit.idle, "all are done", 6 * 3600)
        after = memory_kib(unit)
        assert unit.stop() == 0
        states = "SELECT COUNT(*) FROM film WHERE state = 'delivered'"
        assert unit.count(states) == WARM + ASSOCIATIONS * each
    assert before.keys() == after.keys(), "no process ended"
    grown = {}
    for name in before:
        grown[name] = [now / then for then, now in zip(before[name], after[name], strict=True)]
        (rss, anonymous), (rss_now, anonymous_now) = before[name], after[name]
        print(f"{name}: RSS {rss} -> {rss_now} KiB, x {grown[name][0]:.3f}; "
              f"anonymous {anonymous} -> {anonymous_now} KiB, x {grown[name][1]:.3f}")  # fmt: skip
    assert max(map(max, grown.values())) <= GROWTH, grown


@pytest.mark.nightly
@pytest.mark.timeout(8 * 3600)
def test_ten_thousand_films_grow_nothing(trained: Trained, tmp_path: Path) -> None:
    soak(trained, tmp_path, 10_000)
