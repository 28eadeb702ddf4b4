"""Films come to the unit from real senders, from hostile ones, and not at all on a full disk."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from edge_runtime.dicom_codecs import PLUGIN_OF
from edge_runtime.dicom_file import parse_header
from tests.e2e.certificates import Authority
from tests.e2e.receivers import Unit, running
from tests.e2e.senders import (
    DX,
    association,
    data_pdu,
    dcmtk,
    encoded,
    request_pdu,
    send_file,
    send_film,
    store,
)
from tests.edge_runtime.codings import LOSSLESS, LOSSY, as_file
from tests.edge_runtime.films import film, save
from tests.edge_runtime.fuzzing import mutate
from tests.processes import until

SUCCESS, FULL, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC210


def noise(side: int, seed: int = 0, **attributes: object) -> Dataset:
    """A film of ``side`` x ``side`` pixels of two bytes."""
    pixels = np.random.default_rng(seed).integers(0, 4096, (side, side)).astype(np.uint16)
    return film(pixels, SOPInstanceUID=uid.generate_uid(entropy_srcs=[str(seed)]), **attributes)


def data_set_of(file: Path) -> bytes:
    """What follows the file meta information, whose length stands first (PS3.10 7.1)."""
    data = file.read_bytes()
    return data[144 + int.from_bytes(data[140:144], "little") :]


def stored(unit: Unit) -> list[Path]:
    return [unit.spool / row["path"] for row in unit.rows("SELECT path FROM film ORDER BY id")]


def in_good_health(unit: Unit) -> None:
    """The service answers, nothing was left, and no process was replaced."""
    assert dcmtk("echoscu", unit.port) == 0
    assert all(process.poll() is None for process in unit.processes)
    until(lambda: not unit.leftovers(), "nothing is left of what was not taken")


# Films.


def test_a_film_is_stored_as_it_came(tmp_path: Path) -> None:
    dataset = noise(64, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4")
    path = save(dataset, tmp_path / "film.dcm")
    with running(tmp_path) as unit:
        assert dcmtk("echoscu", unit.port) == 0
        assert send_file(unit.port, path) == 0
        (row,) = unit.rows("SELECT * FROM film")
        in_good_health(unit)
    assert (row["state"], row["source"], row["urgency"]) == ("received", "dicom:CONSOLE", 2)
    assert (row["study_instance_uid"], row["series_instance_uid"]) == ("1.2.3", "1.2.4")
    assert row["sop_instance_uid"] == dataset.SOPInstanceUID
    held = unit.spool / row["path"]
    assert (pydicom.dcmread(held).pixel_array == dataset.pixel_array).all()
    content = uid.ExplicitVRLittleEndian.encode() + data_set_of(held)
    assert row["content_sha256"] == hashlib.sha256(content).hexdigest()
    assert row["size"] == held.stat().st_size
    assert pydicom.dcmread(held).file_meta.ImplementationVersionName.startswith("OSTEOEDGE_")


@pytest.mark.parametrize("syntax", sorted(PLUGIN_OF))
def test_every_transfer_syntax_that_is_read_is_accepted(syntax: str, receiver: Unit) -> None:
    classes = (
        DX, uid.ComputedRadiographyImageStorage, uid.SecondaryCaptureImageStorage,
        uid.DigitalXRayImageStorageForProcessing,
    )  # fmt: skip
    with association(receiver.port, *classes, syntaxes=(syntax,)) as made:
        assert made.is_established
        assert not made.rejected_contexts


def test_what_is_no_film_is_not_negotiated(receiver: Unit) -> None:
    with association(receiver.port, uid.CTImageStorage, DX) as made:
        assert [one.abstract_syntax for one in made.rejected_contexts] == [uid.CTImageStorage]


def test_twice_is_once_and_other_content_is_a_revision(tmp_path: Path) -> None:
    first = noise(64, PatientID="WRONG")
    path = save(first, tmp_path / "film.dcm")
    with running(tmp_path) as unit:
        assert [send_file(unit.port, path) for _ in range(3)] == [0, 0, 0]
        first.PatientID = "RIGHT"
        assert send_file(unit.port, save(first, path)) == 0
        rows = unit.rows("SELECT revision, state, patient_sha256 FROM film ORDER BY id")
        in_good_health(unit)
    assert [(row["revision"], row["state"]) for row in rows] == [
        (1, "superseded"), (2, "received"),
    ]  # fmt: skip
    assert rows[0]["patient_sha256"] != rows[1]["patient_sha256"]
    outcomes = [record["outcome"] for record in unit.logged("received")]
    assert outcomes == ["new", "duplicate", "duplicate", "revised"]


def test_the_log_names_no_patient_and_no_uid(tmp_path: Path) -> None:
    dataset = noise(16, PatientID="Secret-1")
    with running(tmp_path) as unit:
        send_film(unit.port, dataset)
        log = unit.log.read_text()
    assert "received" in log
    assert "Secret" not in log
    assert dataset.SOPInstanceUID not in log


# What is not taken.


def test_what_is_not_understood_is_kept_with_the_reason(tmp_path: Path) -> None:
    good = noise(16)
    with running(tmp_path) as unit, association(unit.port) as made:
        made._reactor_checkpoint.clear()
        assert store(made, b"\x08\x00\x05\x00CS\x0a\x00ISO", good.SOPInstanceUID) == NOT_UNDERSTOOD
        assert store(made, b"no DICOM at all" * 99, good.SOPInstanceUID) == NOT_UNDERSTOOD
        # The right data set under another name, and of another class than was said.
        assert store(made, encoded(good), "1.2.3.4") == MISMATCH
        good.SOPClassUID = uid.ComputedRadiographyImageStorage
        assert store(made, encoded(good), good.SOPInstanceUID) == MISMATCH
        good.SOPClassUID = DX
        assert store(made, encoded(good), good.SOPInstanceUID) == SUCCESS
        made._reactor_checkpoint.set()
        kept = unit.rows("SELECT * FROM quarantine")
        assert len(unit.rows("SELECT * FROM film")) == 1
    assert len(kept) == 4
    for row in kept:
        assert (unit.spool / row["path"]).stat().st_size == row["size"]
        assert row["reason"]


def test_a_film_beyond_the_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "[intake.dicom]\nfilm_mib = 1\n") as unit:
        assert send_film(unit.port, noise(1000)) == FULL
        assert send_film(unit.port, noise(500)) == SUCCESS
        assert len(stored(unit)) == 1
        in_good_health(unit)
        (told,) = unit.logged("not received")
    assert told["reason"] == "a file of more than 1 MiB"


def test_rejection_notes_withdraw_films(tmp_path: Path) -> None:
    here, later = noise(16, 1), noise(16, 2)

    def note(instance: str, *rejected: str) -> Dataset:
        title, made = Dataset(), Dataset()
        title.CodeValue, title.CodingSchemeDesignator = "113037", "DCM"
        title.CodeMeaning = "Rejected for Patient Safety Reasons"
        made.SOPClassUID, made.SOPInstanceUID = uid.KeyObjectSelectionDocumentStorage, instance
        made.Modality, made.ConceptNameCodeSequence = "KO", [title]
        made.ContentSequence = []
        for one in rejected:
            content, reference = Dataset(), Dataset()
            content.RelationshipType, content.ValueType = "CONTAINS", "IMAGE"
            reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = DX, one
            content.ReferencedSOPSequence = [reference]
            made.ContentSequence.append(content)
        return made

    with running(tmp_path) as unit:
        assert send_film(unit.port, here) == SUCCESS
        rejected = note("1.2.3.1", here.SOPInstanceUID, later.SOPInstanceUID)
        assert send_film(unit.port, rejected) == SUCCESS
        assert send_film(unit.port, rejected) == SUCCESS
        assert send_film(unit.port, later) == SUCCESS
        assert send_film(unit.port, note("1.2.3.2")) == NOT_UNDERSTOOD
        states = [row["state"] for row in unit.rows("SELECT state FROM film")]
        in_good_health(unit)
    assert states == ["withdrawn", "withdrawn"]


# Who may not send.


def test_strangers_are_refused(tmp_path: Path) -> None:
    path = save(noise(16), tmp_path / "film.dcm")
    peers = (
        '[intake.dicom]\npeers = [{ae_title = "CONSOLE", address = "127.0.0.0/8"}, '
        '{ae_title = "ELSEWHERE", address = "192.0.2.0/24"}]\n'
    )
    with running(tmp_path, peers) as unit:
        assert dcmtk("storescu", unit.port, path, calling="STRANGER") != 0
        assert dcmtk("storescu", unit.port, path, calling="ELSEWHERE") != 0
        assert dcmtk("storescu", unit.port, path, called="SOMEBODY") != 0
        assert not stored(unit)
        assert send_file(unit.port, path) == 0
        in_good_health(unit)
        told = [record["reason"] for record in unit.logged("refused")]
    assert told == ["calling AE title not listed"] * 2 + ["called AE title not ours"]


def test_a_wrong_address_gets_no_answer(tmp_path: Path) -> None:
    peers = '[intake.dicom]\npeers = [{ae_title = "CONSOLE", address = "192.0.2.7"}]\n'
    with running(tmp_path, peers) as unit:
        with socket.create_connection(("127.0.0.1", unit.port), 60) as caller:
            assert caller.recv(1) == b""
        assert dcmtk("echoscu", unit.port) != 0
        told = {(record["peer"], record["reason"]) for record in unit.logged("refused")}
    assert told == {("127.0.0.1", "address not listed")}


def test_no_more_associations_than_allowed(tmp_path: Path) -> None:
    with running(tmp_path, "[intake.dicom]\nassociations = 2\n") as unit:
        with association(unit.port) as first, association(unit.port) as second:
            assert first.is_established
            assert second.is_established
            with association(unit.port) as third:
                assert third.is_rejected
        until(lambda: dcmtk("echoscu", unit.port) == 0, "a seat is free again")
        assert unit.logged("refused")[0]["reason"] == "too many associations"


# TLS.


@contextmanager
def secured(tmp_path: Path, extra: str = "") -> Iterator[tuple[Unit, Authority]]:
    authority = Authority(tmp_path / "tls")
    ours = authority.issue("unit")
    tls = (
        f"[intake.dicom]\n{extra}[intake.dicom.tls]\n"
        f'certificate = "{ours.certificate}"\nkey = "{ours.key}"\n'
        f'authority = "{authority.certificate}"\n'
    )
    with running(tmp_path, tls) as unit:
        yield unit, authority


def test_only_who_has_a_certificate_is_served(tmp_path: Path) -> None:
    path = save(noise(64), tmp_path / "film.dcm")
    with secured(tmp_path, "pdu_s = 1.0\n") as (unit, authority):

        def send(*arguments: object) -> int:
            return send_file(unit.port, path, *arguments)

        def tls(*, expired: bool = False, signed_by: Authority = authority) -> tuple[object, ...]:
            theirs = signed_by.issue("console", days=-1 if expired else 10)
            return ("+tls", theirs.key, theirs.certificate, "+cf", authority.certificate)

        assert send(*tls(expired=True)) != 0
        assert send(*tls(signed_by=Authority(tmp_path / "other"))) != 0
        assert send("+tla", "-ic") != 0
        assert send() != 0
        assert not stored(unit)
        # Somebody who never shakes hands keeps nobody waiting.
        with socket.create_connection(("127.0.0.1", unit.port)) as silent:
            silent.sendall(b"\x16\x03\x01")
            assert send(*tls()) == 0
            until(lambda: silent.recv(100) == b"", "the silent caller is hung up on")
        assert len(stored(unit)) == 1
        reasons = [record["reason"] for record in unit.logged("refused")]
        until(lambda: not unit.leftovers(), "no leftovers")
        assert all(process.poll() is None for process in unit.processes)
    assert sum("TLS handshake" in reason for reason in reasons) >= 4


# Hostile peers.


def memory_mib(unit: Unit) -> float:
    (process,) = unit.processes
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def test_a_pdu_that_claims_to_be_huge_takes_no_memory(receiver: Unit) -> None:
    assert dcmtk("echoscu", receiver.port) == 0
    before = memory_mib(receiver)
    for head in (request_pdu(), b""):
        with socket.create_connection(("127.0.0.1", receiver.port), 60) as caller:
            caller.sendall(head)
            if head:
                assert caller.recv(6)[0] == 2
            caller.sendall(struct.pack(">BxL", 4 if head else 1, 0xFFFFFFF0) + bytes(1000))
            until(lambda: not caller.recv(4096), "the caller is hung up on")
    assert memory_mib(receiver) - before < 32
    assert "a PDU of more than the largest length" in {
        record["reason"] for record in receiver.logged("refused")
    }
    in_good_health(receiver)


def test_nobody_is_kept_waiting_by_who_is_slow(tmp_path: Path) -> None:
    with running(tmp_path, "[intake.dicom]\npdu_s = 1.0\nidle_s = 1.0\n") as unit:
        with (
            socket.create_connection(("127.0.0.1", unit.port), 60) as loris,
            socket.create_connection(("127.0.0.1", unit.port), 60) as idle,
            socket.create_connection(("127.0.0.1", unit.port), 60) as mute,
        ):
            idle.sendall(request_pdu())
            loris.sendall(request_pdu())
            for accepted in (idle, loris):
                head = accepted.recv(6, socket.MSG_WAITALL)
                accepted.recv(struct.unpack(">2xL", head)[0], socket.MSG_WAITALL)
            loris.sendall(data_pdu(bytes(1000), 0)[:20])

            def drip() -> bool:
                loris.settimeout(0.1)
                try:
                    loris.sendall(b"x")
                    return loris.recv(100) == b""
                except TimeoutError:
                    return False
                except OSError:
                    return True

            assert send_film(unit.port, noise(64)) == SUCCESS
            until(drip, "one byte after the other does not go on for ever")
            for silent in (idle, mute):
                while silent.recv(4096):
                    pass
        in_good_health(unit)
        assert "a PDU took too long" in {record["reason"] for record in unit.logged("refused")}


@pytest.mark.parametrize(
    "rude",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        bytes(6000),
        request_pdu() + data_pdu(b"\xff" * 100, 3),
        request_pdu() + data_pdu(b"data without a command", 2),
        # A command of implicit VR whose field says nothing that exists.
        request_pdu() + data_pdu(struct.pack("<HHLH", 0, 0x100, 2, 0x7777), 3),
        request_pdu() + data_pdu(bytes(8000), 1) * 3,
        request_pdu() + request_pdu(),
        request_pdu() + struct.pack(">BxL", 4, 6) + struct.pack(">LBB", 0xFFFF, 1, 3),
    ],
    ids=["http", "zeros", "noise", "no-command", "no-field", "endless", "twice", "cut"],
)  # fmt: skip
def test_nonsense_ends_its_own_association(rude: bytes, receiver: Unit) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port), 60) as caller:
        try:
            caller.sendall(rude)
            while caller.recv(4096):
                pass
        except ConnectionError:
            pass
    in_good_health(receiver)


def test_no_more_requests_at_a_time_than_agreed(receiver: Unit) -> None:
    command = Dataset()
    command.AffectedSOPClassUID, command.CommandField = DX, 1
    command.MessageID, command.Priority, command.CommandDataSetType = 1, 2, 1
    command.AffectedSOPInstanceUID = "1.2.3"
    flood = (data_pdu(implicit(command), 3) + data_pdu(encoded(noise(16)), 2)) * 50
    with socket.create_connection(("127.0.0.1", receiver.port), 60) as caller:
        caller.sendall(request_pdu())
        try:
            caller.sendall(flood)
            while caller.recv(4096):
                pass
        except ConnectionError:
            pass
    in_good_health(receiver)


def implicit(dataset: Dataset) -> bytes:
    from pynetdicom.dsutils import encode

    return bytes(encode(dataset, True, True) or b"")


def test_500_damaged_films_each_have_a_place(tmp_path: Path) -> None:
    films = [make() for make in (*LOSSLESS.values(), *LOSSY.values())]
    syntaxes = tuple(sorted({one.file_meta.TransferSyntaxUID for one in films}))
    bodies = []
    for dataset in films:
        path = tmp_path / "film.dcm"
        path.write_bytes(as_file(dataset))
        bodies.append(data_set_of(path))
    sent, statuses = set(), []
    with running(tmp_path) as unit:
        with association(unit.port, DX, syntaxes=syntaxes) as made:
            made._reactor_checkpoint.clear()
            for number in range(500):
                rng = np.random.default_rng([60, number])
                which = number % len(films)
                body = mutate(bodies[which], bodies[rng.integers(len(films))], rng)
                if not body:
                    continue
                syntax = films[which].file_meta.TransferSyntaxUID
                status = store(made, body, films[which].SOPInstanceUID, DX, syntax)
                assert status in (SUCCESS, MISMATCH, NOT_UNDERSTOOD), (number, status)
                statuses.append(status)
                sent.add(hashlib.sha256(body).hexdigest())
            made._reactor_checkpoint.set()
        paths = [
            row["path"]
            for row in unit.rows("SELECT path FROM film UNION SELECT path FROM quarantine")
        ]
        in_good_health(unit)
    kept = {hashlib.sha256(data_set_of(unit.spool / path)).hexdigest() for path in paths}
    assert kept == sent
    assert {SUCCESS, NOT_UNDERSTOOD} < set(statuses)


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_catalogued_files_by_network(local_data: Path, tmp_path: Path) -> None:
    """Each object of a class that is negotiated has its place; the others never get that far."""
    sent, not_negotiated = set(), 0
    with running(tmp_path) as unit:
        for path in catalogued(local_data):
            try:
                header = pydicom.dcmread(path, stop_before_pixels=True)
                body = path.read_bytes()[parse_header(path, [], path.name)[1] :]
                names = header.file_meta.MediaStorageSOPClassUID, header.file_meta.TransferSyntaxUID
                instance = header.file_meta.MediaStorageSOPInstanceUID
            except Exception:
                # No file meta information that a sender could announce it by.
                continue
            with association(unit.port, names[0], syntaxes=(names[1],)) as made:
                if not made.is_established:
                    not_negotiated += 1
                    continue
                made._reactor_checkpoint.clear()
                status = store(made, body, instance, *names)
                made._reactor_checkpoint.set()
                assert status in (SUCCESS, MISMATCH, NOT_UNDERSTOOD), path.name
                sent.add(hashlib.sha256(body).hexdigest())
        held = unit.rows("SELECT path FROM film UNION SELECT path FROM quarantine")
        in_good_health(unit)
    print(len(sent), "sent,", not_negotiated, "not negotiated")
    assert {
        hashlib.sha256(data_set_of(unit.spool / row["path"])).hexdigest() for row in held
    } == sent
    assert len(sent) > 20


def catalogued(local_data: Path) -> list[Path]:
    folder = local_data / "dicom"
    with (folder / "catalog.csv").open(newline="") as stream:
        return [folder / row["file"] for row in csv.DictReader(stream)]


# Trouble of our own.


def test_kill_in_mid_receive_leaves_nothing_and_loses_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as unit:
        acknowledged = [noise(64, seed) for seed in range(3)]
        assert [send_film(unit.port, one) for one in acknowledged] == [SUCCESS] * 3
        cut = noise(500, 9)
        command = Dataset()
        command.AffectedSOPClassUID, command.CommandField = DX, 1
        command.MessageID, command.Priority, command.CommandDataSetType = 1, 2, 1
        command.AffectedSOPInstanceUID = cut.SOPInstanceUID
        with socket.create_connection(("127.0.0.1", unit.port), 60) as sender:
            sender.sendall(request_pdu())
            assert sender.recv(6)[0] == 2
            sender.sendall(data_pdu(implicit(command), 3))
            sender.sendall(data_pdu(encoded(cut)[:100_000], 0))
            written = lambda: sum(path.stat().st_blocks for path in unit.leftovers())  # noqa: E731
            until(lambda: written() > 100, "the film is on its way to the disk")
            unit.processes.pop().send_signal(signal.SIGKILL)
        unit.start()
        assert not unit.leftovers()
        rows = unit.rows("SELECT sop_instance_uid FROM film ORDER BY id")
        assert [row["sop_instance_uid"] for row in rows] == [
            one.SOPInstanceUID for one in acknowledged
        ]
        assert len(list((unit.spool / "films").rglob("*.dcm"))) == 3
        assert send_film(unit.port, cut) == SUCCESS
        in_good_health(unit)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_refuses_films_and_recovers(small_disk: Path) -> None:
    limits = "[intake.dicom]\nfilm_mib = 8\n"
    with running(small_disk, limits, reserve_mib=10) as unit:
        assert send_film(unit.port, noise(1000, 1)) == SUCCESS
        # Nearly full: less than the reserve and the largest film.
        filler = small_disk / "filler"
        filler.write_bytes(bytes(32 << 20))
        assert dcmtk("echoscu", unit.port) == 0
        assert send_film(unit.port, noise(1000, 2)) == FULL
        in_good_health(unit)
        # Full in the middle of a film, after its space was reserved.
        filler.unlink()
        with association(unit.port) as made:
            made._reactor_checkpoint.clear()
            with filler.open("wb", buffering=0) as others:
                while True:
                    try:
                        others.write(bytes(1 << 16))
                    except OSError:
                        break
            assert store(made, encoded(noise(1500, 3)), noise(1500, 3).SOPInstanceUID) == FULL
            filler.unlink()
            again = noise(1500, 4)
            assert store(made, encoded(again), again.SOPInstanceUID) == SUCCESS
            made._reactor_checkpoint.set()
        assert len(stored(unit)) == 2
        in_good_health(unit)


def test_each_association_has_its_space(small_disk: Path) -> None:
    """Of 48 MiB, 10 are kept free: two films of 16 MiB fit, a third does not."""
    limits = "[intake.dicom]\nfilm_mib = 16\n"
    with running(small_disk, limits, reserve_mib=10) as unit:
        unit.start(1)
        with association(unit.port), association(unit.port), association(unit.port) as third:
            third._reactor_checkpoint.clear()
            assert store(third, encoded(noise(16)), noise(16).SOPInstanceUID) == FULL
            third._reactor_checkpoint.set()
        until(lambda: send_film(unit.port, noise(16)) == SUCCESS, "space is given back")


def test_a_large_film_takes_little_memory(receiver: Unit) -> None:
    assert send_film(receiver.port, noise(64)) == SUCCESS
    before = memory_mib(receiver)
    assert send_film(receiver.port, noise(5000, 5)) == SUCCESS
    assert memory_mib(receiver) - before < 16


def test_receivers_share_the_work(tmp_path: Path) -> None:
    with running(tmp_path) as unit:
        unit.start(1)
        with association(unit.port) as one, association(unit.port) as other:
            until(lambda: len(unit.leftovers()) == 2, "each reserved its space")
            assert one.is_established
            assert other.is_established
        films = [noise(16, seed) for seed in range(20)]
        assert [send_film(unit.port, one) for one in films] == [SUCCESS] * 20
        assert len(stored(unit)) == 20
        # The other goes on where one is gone.
        unit.processes.pop(0).kill()
        assert send_film(unit.port, noise(16, 99)) == SUCCESS


def test_it_stops_when_asked_though_somebody_is_connected(tmp_path: Path) -> None:
    with running(tmp_path) as unit, association(unit.port):
        (process,) = unit.processes
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not unit.leftovers()


# Storage commitment.


def test_a_destination_answers_on_storage_commitment(tmp_path: Path) -> None:
    from pynetdicom import AE, build_role
    from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

    from edge_runtime.spool import Spool

    with running(tmp_path) as unit:
        with Spool(unit.spool) as spool, spool.transaction() as execute:
            for number, instance in enumerate(("1.2.1", "1.2.2"), 1):
                execute(
                    "INSERT INTO document (id, kind, sop_class_uid, sop_instance_uid, "
                    "series_instance_uid, study_instance_uid, path, size, made_at) "
                    "VALUES (?, 'sc', '1.2', ?, '1.3', '1.4', 'x', 1, 0)", number, instance,
                )  # fmt: skip
                execute(
                    "INSERT INTO delivery (document_id, destination, state, rank, urgency, size, "
                    "commitment_uid) VALUES (?, 'pacs', 'sent', 0, 2, 1, '1.9')", number,
                )  # fmt: skip
        kept, lost, answer = Dataset(), Dataset(), Dataset()
        kept.ReferencedSOPClassUID, kept.ReferencedSOPInstanceUID = "1.2", "1.2.1"
        lost.ReferencedSOPClassUID, lost.ReferencedSOPInstanceUID = "1.2", "1.2.2"
        lost.FailureReason = 0x0110
        answer.TransactionUID = "1.9"
        answer.ReferencedSOPSequence, answer.FailedSOPSequence = [kept], [lost]
        entity = AE("PACS")
        entity.add_requested_context(StorageCommitmentPushModel)
        made = entity.associate(
            "127.0.0.1", unit.port, ae_title="OSTEOEDGE",
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
        )  # fmt: skip
        status, _ = made.send_n_event_report(
            answer, 2, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        made.release()
        assert status.Status == SUCCESS
        states = [row["state"] for row in unit.rows("SELECT state FROM delivery ORDER BY id")]
    assert states == ["committed", "waiting"]


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unit]:
    """One receiver for all tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("receiver")) as unit:
        yield unit
