"""A week at two hours of network a day, 256 kbit/s, in pieces of three minutes, 60 films a day."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from datetime import date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from pydicom import Dataset
from pydicom.uid import JPEGLSLossless

from edge_runtime.outbox.courier import Courier
from edge_runtime.outbox.dicom_store import DicomStore
from edge_runtime.spool import Spool
from edge_runtime.spool.database import FILMS, OUTGOING, RESULTS
from edge_runtime.unit.life import Life
from tests.conftest import need
from tests.e2e.slow_link import SimulatedClock, SlowLink
from tests.edge_runtime.films import film
from tests.edge_runtime.outgoing import (
    capture,
    dicom,
    object_uid,
    queue_objects,
    report,
    unit,
)
from tests.processes import free_port, until

DAYS, FILMS_A_DAY = 7, 60
FLAP_S = 180
ORIGINAL_BYTES = 5_000_000
ZONE = ZoneInfo("Africa/Kampala")
TEMPLATE = object_uid("template")
OPENS, CLOSES = 18, 20
START = datetime(2026, 3, 2, 7, 0, tzinfo=ZONE)


def is_up(moment: float) -> bool:
    """Three minutes up, three minutes down, from 18:00 to 20:00."""
    local = datetime.fromtimestamp(moment, ZONE)
    seconds = (local.hour - OPENS) * 3600 + local.minute * 60 + local.second
    return OPENS <= local.hour < CLOSES and seconds // FLAP_S % 2 == 0


def as_bytes(dataset: Dataset) -> bytes:
    """A file, to be stamped with UIDs: a hundred times faster than to write each anew."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def stamp(content: bytes, folder: Path, *name: object) -> Path:
    """Write a copy of an object under a UID of its own."""
    uid = object_uid(*name)
    assert len(uid) == len(TEMPLATE)
    path = folder / f"{uid}.dcm"
    path.write_bytes(content.replace(TEMPLATE.encode(), uid.encode()))
    return path


def coded_header() -> bytes:
    """A film up to its pixels, which are compressed already."""
    dataset = film(SOPInstanceUID=TEMPLATE)
    dataset.file_meta.MediaStorageSOPInstanceUID = TEMPLATE
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    del dataset.PixelData
    return as_bytes(dataset)


def add_pixels(path: Path) -> None:
    """Make a film of 5 MB of a header: a hole, which takes no space on the disk.

    How the pixels read is of no concern here: nobody decodes what comes compressed.
    """
    length = ORIGINAL_BYTES - path.stat().st_size
    with path.open("r+b") as stream:
        # Fragments (PS3.5 A.4): an empty offset table, one fragment, the end.
        stream.seek(0, 2)
        stream.write(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\0\0\0\0")
        stream.write(b"\xfe\xff\x00\xe0" + length.to_bytes(4, "little"))
        stream.seek(length, 1)
        stream.write(b"\xfe\xff\xdd\xe0\0\0\0\0")


def test_every_result_is_out_the_day_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    need(shutil.which("storescp"), "dcmtk's storescp")
    # After each connection that fails pynetdicom waits for 0.1 s of real time: two minutes a week.
    quick = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, 0.001)))
    monkeypatch.setattr("pynetdicom.association.time", quick)
    caplog.set_level(logging.CRITICAL, "pynetdicom")
    folder, inbox, log = tmp_path / "spool", tmp_path / "inbox", tmp_path / "received.txt"
    inbox.mkdir()
    log.touch()
    port = free_port()
    server = subprocess.Popen(
        ["storescp", "--accept-all", "--max-pdu", "131072", "-aet", "PACS", "-od", inbox,
         "--bit-preserving", "--exec-sync", "--exec-on-reception",
         f"echo #f >> {log}; rm #p/#f", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        # Else each answer waits 40 ms of real time for a confirmation.
        env={**os.environ, "TCP_NODELAY": "1"},
    )  # fmt: skip
    life = Life()
    begin = START.timestamp()
    # To the end of the last window, and its night.
    clock = SimulatedClock(begin, begin + (DAYS - 1) * 86400 + 16 * 3600, ZONE, life)
    link = SlowLink(clock, port, 256_000, 0.3, is_up)
    made: dict[str, float] = {}
    urgent: set[str] = set()

    sr, sc = as_bytes(report(TEMPLATE)), as_bytes(capture(TEMPLATE))
    header = coded_header()

    def come(number: int) -> None:
        with Spool(folder, clock.now) as spool:
            original = stamp(header, folder / FILMS, "film", number)
            add_pixels(original)
            objects = [
                ("sr", stamp(sr, folder / RESULTS, "sr", number)),
                ("sc", stamp(sc, folder / RESULTS, "sc", number)),
                ("original", original),
            ]
            decision = "urgent_review" if number % 10 == 0 else "not_flagged"
            uids = queue_objects(spool, number, ["pacs"], objects, decision)
            made.update(dict.fromkeys(uids, clock.now()))
            if decision == "urgent_review":
                urgent.update(uids)

    # From 7:00 to 19:40: some come while the network is there.
    for number in range(DAYS * FILMS_A_DAY):
        day, of_day = divmod(number, FILMS_A_DAY)
        moment = START + timedelta(days=day, minutes=of_day * 760 / (FILMS_A_DAY - 1))
        clock.at(moment.timestamp(), lambda number=number: come(number))
    config = unit(
        folder,
        dicom(
            "pacs", link.port, "PACS",
            sends=("sr", "sc", "original"), windows=[f"{OPENS}:00-{CLOSES}:00"],
        ),
    )  # fmt: skip
    (destination,) = config.destinations
    until(lambda: _listens(port), "storescp")
    try:
        with Spool(folder, clock.now) as spool:
            store = DicomStore(destination, folder / OUTGOING, None)
            Courier(destination, store, spool, life, clock, link, lambda _: True).run()
            rows = spool.rows(
                "SELECT d.sop_instance_uid, d.kind, x.state, x.sent_at "
                "FROM delivery x JOIN document d ON d.id = x.document_id"
            )
    finally:
        link.close()
        server.terminate()
        server.wait()

    received = Counter(line.split(".", 1)[1] for line in log.read_text().split())
    sent = {row["sop_instance_uid"]: row["sent_at"] for row in rows if row["state"] == "sent"}
    results = {row["sop_instance_uid"] for row in rows if row["kind"] != "original"}
    films = made.keys() - results
    again = received.total() - len(received)
    inside = [sent[uid] - max(made[uid], _opening(made[uid])) for uid in results & sent.keys()]
    print(
        f"{len(results & sent.keys())} of {len(results)} results and {len(films & sent.keys())} of "
        f"{len(films)} films sent, {again} twice, {link.cuts} cuts, {link.bytes_up / 1e6:.0f} MB, "
        f"results out at most {max(inside) / 60:.0f} minutes after the network was there"
    )
    assert len(results) == 2 * DAYS * FILMS_A_DAY
    assert results <= sent.keys()
    assert all(_day(sent[uid]) == _day(made[uid]) for uid in results)
    assert received.keys() == sent.keys()
    # Each once, but for those whose answer a cut took away.
    assert again <= link.cuts / 20
    # Urgent ones first, of those that the network found waiting.
    for day in range(DAYS):
        opens = _opening((START + timedelta(days=day)).timestamp())
        found = {uid for uid in results if opens - 12 * 3600 < made[uid] < opens}
        assert max(sent[uid] for uid in found & urgent) < min(sent[uid] for uid in found - urgent)
    # Films take their turns in what is left of the link; nothing of it is left, and none starves.
    usual = films - urgent
    newest = max(made[uid] for uid in usual & sent.keys())
    assert min(made[uid] for uid in usual - sent.keys()) > newest - 86400
    assert urgent - sent.keys() <= {uid for uid in urgent if made[uid] > newest}
    assert 2 * DAYS * FILMS_A_DAY / 8 < len(films & sent.keys()) < len(films)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _day(moment: float) -> date:
    return datetime.fromtimestamp(moment, ZONE).date()


def _opening(moment: float) -> float:
    local = datetime.fromtimestamp(moment, ZONE)
    return local.replace(hour=OPENS, minute=0, second=0, microsecond=0).timestamp()
