"""Films that the console is given: the same admission as by network and by folder."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.console import guard
from edge_runtime.rejection import Reason
from edge_runtime.reports.rejection_note import Reference, rejection_note
from edge_runtime.spool.audit import entries
from tests.e2e.test_intake import small_disk
from tests.edge_runtime.consoles import DICOM, Console, bytes_of, console_at_work, film_of
from tests.edge_runtime.films import save
from tests.edge_runtime.screenings import named as instance
from tests.edge_runtime.screenings import screening
from tests.processes import until

__all__ = ["small_disk"]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with console_at_work(tmp_path_factory.mktemp("console")) as console:
        yield console


def leftovers(console: Console) -> list[Path]:
    return [file for file in (console.folder / "incoming").rglob("*") if file.is_file()]


def test_a_film_is_on_the_disk_when_it_is_answered(console: Console) -> None:
    film = film_of(1, 64)
    data = bytes_of(film, console.home)
    answer = console.local("POST", "/v1/films", data)
    assert answer.status == 202
    assert answer.json == {
        "sop_instance_uid": film.SOPInstanceUID, "study_instance_uid": film.StudyInstanceUID,
        "state": "received", "new": True,
    }  # fmt: skip
    (row,) = console.rows("SELECT * FROM film WHERE sop_instance_uid = ?", film.SOPInstanceUID)
    assert (console.folder / row["path"]).read_bytes() == data
    assert row["source"] == f"console:uid {os.geteuid()}"
    again = console.local("POST", "/v1/films", data)
    assert (again.status, again.json["new"]) == (202, False)
    assert not leftovers(console)


def test_another_content_of_a_film_supersedes_it(console: Console) -> None:
    first, second = film_of(2, 32), film_of(2, 32, PatientID="corrected")
    assert console.submit(first).status == 202
    assert console.submit(second).json["new"]
    states = console.rows(
        "SELECT state FROM film WHERE sop_instance_uid = ? ORDER BY id", first.SOPInstanceUID
    )
    assert [row["state"] for row in states] == ["superseded", "received"]


def test_a_film_by_its_path_stays_where_it_is(console: Console) -> None:
    film = film_of(3, 48)
    path = save(film, console.home / "submit" / "film.dcm")
    answer = console.local("POST", "/v1/films", {"path": str(path)})
    assert answer.status == 202
    assert answer.json["sop_instance_uid"] == film.SOPInstanceUID
    assert path.exists() and not leftovers(console)
    (row,) = console.rows("SELECT path FROM film WHERE sop_instance_uid = ?", film.SOPInstanceUID)
    assert (console.folder / row["path"]).read_bytes() == path.read_bytes()


def test_a_path_leads_nowhere_else(console: Console) -> None:
    elsewhere = save(film_of(4, 16), console.home / "secret.dcm")
    inside = console.home / "submit"
    (inside / "link.dcm").symlink_to(elsewhere)
    (inside / "linked").symlink_to(console.home)
    os.mkfifo(inside / "pipe.dcm")
    refusals = {
        console.local("POST", "/v1/films", {"path": path}).body
        for path in (
            str(elsewhere), str(inside / "link.dcm"), str(inside / "linked" / "secret.dcm"),
            str(inside / ".." / "secret.dcm"), str(inside / "pipe.dcm"), str(inside), "/dev/zero",
            str(inside / "absent.dcm"), "secret.dcm", "a\0b", "/etc/shadow",
        )
    }  # fmt: skip
    assert len(refusals) == 1, "nobody learns what is there"
    assert b"no film that may be taken by its path" in refusals.pop()
    by_token = console.remote(
        "POST", "/v1/films", {"path": str(inside / "film.dcm")}, token=console.token
    )
    assert by_token.status == 403
    large = inside / "large.dcm"
    with large.open("wb") as stream:
        stream.truncate(17 << 20)
    assert console.local("POST", "/v1/films", {"path": str(large)}).status == 413
    assert console.local("POST", "/v1/films", {"file": "x"}).status == 422
    assert not leftovers(console)


def test_what_is_no_film_is_kept_and_refused(console: Console) -> None:
    data = b"no film at all" * 100
    answer = console.local("POST", "/v1/films", data)
    assert answer.status == 422
    assert answer.json["error"] == "not a DICOM, PNG or JPEG file"
    (row,) = console.rows(
        "SELECT * FROM quarantine WHERE content_sha256 = ?", hashlib.sha256(data).hexdigest()
    )
    assert (console.folder / row["path"]).read_bytes() == data
    assert console.local("POST", "/v1/films", b"").status == 422


def test_a_rejection_note_takes_a_film_back(console: Console) -> None:
    film = film_of(5, 32)
    assert console.submit(film).status == 202
    named = Reference(
        film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPClassUID, film.SOPInstanceUID
    )
    note = rejection_note(film, Reason.QUALITY, [named], instance("ko", screening()))
    answer = console.submit(note)
    assert answer.status == 202
    assert answer.json["sop_instance_uid"] is None
    (row,) = console.rows("SELECT state FROM film WHERE sop_instance_uid = ?", film.SOPInstanceUID)
    assert row["state"] == "withdrawn"


def test_a_person_withdraws_a_film(console: Console) -> None:
    film = film_of(6, 32)
    assert console.submit(film).status == 202
    path = f"/v1/films/{film.SOPInstanceUID}/withdraw"
    asked = {"person": "Dr M. Weber", "reason": "patient-safety"}
    assert console.local("POST", path, asked).json == {"films": 1}
    assert console.local("POST", path, asked).json == {"films": 0}
    with console.spool() as spool:
        told = [entry.facts for entry in entries(spool) if entry.event == "withdrawn"]
    assert told[0]["person"] == f"Dr M. Weber (by uid {os.geteuid()})"
    for nobody in ({"person": " ", "reason": "quality"}, {"reason": "quality"}, {**asked, "x": 1}):
        assert console.local("POST", path, nobody).status == 422
    assert console.local("POST", "/v1/films/9.9.9/withdraw", asked).status == 404
    study = f"/v1/films/{film.StudyInstanceUID}/withdraw"
    assert console.local("POST", study, asked).status == 404, "a study is no film"


def test_what_is_too_large_is_refused_before_it_is_there(console: Console) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", console.port, timeout=30)
    headers = {"Authorization": f"Bearer {console.token}", "Content-Type": DICOM}
    connection.putrequest("POST", "/v1/films")
    for name, value in {**headers, "Content-Length": str(1 << 30)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    connection.close()
    # Without a length, it is refused on the way.
    connection.request("POST", "/v1/films", iter([bytes(1 << 20)] * 17), headers)
    assert connection.getresponse().status == 413
    connection.close()
    note = {"person": "x" * (70 << 10), "reason": "quality"}
    assert console.local("POST", "/v1/films/1.2/withdraw", note).status == 413
    until(lambda: not leftovers(console), "nothing is left")


def test_a_nearly_full_disk_takes_nothing(small_disk: Path) -> None:
    with console_at_work(small_disk, film_mib=8) as console:
        assert console.submit(film_of(1, 500)).status == 202
        filler = small_disk / "filler"
        filler.write_bytes(bytes(38 << 20))
        answer = console.submit(film_of(2, 500))
        assert answer.status == 507
        assert answer.json == {"error": "the disk is nearly full", "remedy": "Make space on it"}
        path = save(film_of(2, 500), console.home / "submit" / "film.dcm")
        assert console.local("POST", "/v1/films", {"path": str(path)}).status == 507
        filler.unlink()
        assert console.submit(film_of(2, 500)).status == 202
        assert not leftovers(console)


def test_slow_clients_hold_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_PIECE_S", 1.0)
    monkeypatch.setattr("edge_runtime.console.server._HEAD_S", 1.0)
    with console_at_work(tmp_path) as console:
        head = (
            f"POST /v1/films HTTP/1.1\r\nHost: 127.0.0.1:{console.port}\r\n"
            f"Authorization: Bearer {console.token}\r\nContent-Type: {DICOM}\r\n"
            "Content-Length: 100000\r\n\r\n"
        )
        lines = [socket.create_connection(("127.0.0.1", console.port), 30) for _ in range(30)]
        for number, line in enumerate(lines):
            # Some never say what they want, some stop in the middle of a film.
            line.sendall(b"POST /v1" if number % 3 else head.encode() + bytes(1000))
        began = time.monotonic()
        assert console.local("GET", "/v1/status").status == 200
        assert time.monotonic() - began < 1.0
        answers = []
        for line in lines:
            answers.append(line.recv(100).split(b" ")[1:2])
            line.close()
        # Four films are received at a time.
        assert sorted(answers) == [[]] * 20 + [[b"408"]] * 4 + [[b"503"]] * 6
        until(lambda: not leftovers(console), "nothing is left")
        assert console.submit(film_of(1, 64)).status == 202


def test_a_client_that_does_not_read_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_runtime.console.server._UNREAD_S", 1.0)
    with console_at_work(tmp_path) as console:
        film = film_of(1, 600)
        assert console.submit(film).status == 202
        path = f"/v1/films/{film.SOPInstanceUID}/image.png?width=4096"
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(console.socket))
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            began = time.monotonic()
            until(lambda: closed(line), "it is cut off", 30)
            print(f"cut off after {time.monotonic() - began:.1f} s")
            assert console.local("GET", "/v1/status").status == 200


def closed(line: socket.socket) -> bool:
    """Tell whether the other side is gone, without reading what it sent."""
    try:
        line.send(b" ")
    except OSError:
        return True
    return False


def test_what_is_no_request_harms_nobody(console: Console) -> None:
    chance = random.Random(5)
    head = b"POST /v1/films HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\n"
    nonsense = [chance.randbytes(chance.randrange(1, 2000)) for _ in range(40)] + [
        b"GET " + b"/" * 100_000, head + b"A: " + b"x" * 100_000, b"\x16\x03\x01\x02\x00\x01",
        head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nabcde",
        head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", b"PRI * HTTP/2.0\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/events HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ]  # fmt: skip
    for data in nonsense:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(30)
            line.connect(str(console.socket))
            with contextlib.suppress(OSError):
                line.sendall(data)
                line.shutdown(socket.SHUT_WR)
                line.recv(1000)
    assert console.local("GET", "/v1/status").status == 200
    assert console.submit(film_of(9)).status == 202
    until(lambda: not leftovers(console), "nothing is left")


def test_a_sender_that_goes_away_leaves_nothing(console: Console) -> None:
    head = "POST /v1/films HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\n"
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(console.socket))
        line.sendall(f"{head}Content-Length: 9000000\r\n\r\n".encode() + bytes(3_000_000))
        until(lambda: leftovers(console), "it is being received")
    until(lambda: not leftovers(console), "nothing is left")


def test_a_film_that_is_being_received_is_answered_though_it_is_asked_to_stop(
    tmp_path: Path,
) -> None:
    with console_at_work(tmp_path) as console:
        data = bytes_of(film_of(1, 800), tmp_path)
        head = "POST /v1/films HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\n"
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(30)
            line.connect(str(console.socket))
            line.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[:-9])
            until(lambda: leftovers(console), "it is being received")
            console.life.stop()
            time.sleep(0.5)
            line.sendall(data[-9:])
            assert line.recv(100).startswith(b"HTTP/1.1 202")
        assert len(console.rows("SELECT * FROM film")) == 1


def test_what_a_dead_console_was_receiving_is_deleted(tmp_path: Path) -> None:
    incoming = tmp_path / "spool" / "incoming" / "console"
    incoming.mkdir(parents=True)
    (incoming / "0").write_bytes(b"half a film")
    with console_at_work(tmp_path) as console:
        assert not leftovers(console)
