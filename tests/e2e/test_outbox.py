"""The outbox with real archives at the other end."""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from edge_runtime.dicom_tls import server_context
from edge_runtime.outbox import dicom_store
from edge_runtime.outbox.commitment import take_report
from edge_runtime.spool import Spool
from edge_runtime.spool.retention import remove_old
from edge_runtime.unit.config import TlsSettings
from edge_runtime.unit.figures import sent_bytes
from tests.conftest import need
from tests.e2e.certificates import Authority
from tests.e2e.orthanc import Orthanc, orthanc, running
from tests.edge_runtime.films import film, ramp
from tests.edge_runtime.outgoing import (
    SC,
    SR,
    capture,
    dicom,
    object_uid,
    outbox_at_work,
    queue_objects,
    report,
    states,
    unit,
)
from tests.processes import free_port, until

__all__ = ["orthanc"]


def fill(folder: Path, destinations: list[str], films: int = 3) -> list[str]:
    """Queue a report and a picture for each of some films; return their UIDs."""
    uids = []
    with Spool(folder) as spool:
        for number in range(films):
            objects = [
                ("sr", report(object_uid("sr", number))),
                ("sc", capture(object_uid("sc", number))),
            ]
            uids += queue_objects(spool, number, destinations, objects)
    return uids


def test_objects_arrive_by_c_store_beside_a_dead_destination(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    config = unit(folder, dicom("dead", free_port()), dicom("pacs", orthanc.port))
    uids = fill(folder, ["dead", "pacs"])
    with outbox_at_work(config):
        until(lambda: set(states(folder, "pacs").values()) == {"sent"}, "delivery")
    assert orthanc.uids() == set(uids)
    assert set(states(folder, "dead").values()) == {"waiting"}
    with Spool(folder) as spool:
        sent = sent_bytes(spool)
    assert sent.keys() == {"pacs"}
    assert 3 * 270_000 < sent["pacs"] < 3 * 290_000


def test_objects_arrive_by_stow(orthanc: Orthanc, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    uids = fill(folder, ["web"])
    with outbox_at_work(unit(folder, {"name": "web", "kind": "stow", "url": orthanc.dicomweb})):
        until(lambda: set(states(folder, "web").values()) == {"sent"}, "delivery")
    assert orthanc.uids() == set(uids)


def test_a_film_is_compressed_on_its_way_and_is_the_same_film(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    drawn = film(ramp(600, 500, 1023), BitsStored=10, HighBit=9, PatientName="Ям^Тест")
    drawn.SpecificCharacterSet = "ISO_IR 192"
    drawn.PatientID, drawn.StudyInstanceUID, drawn.SeriesInstanceUID = "1", "2.25.1", "2.25.2"
    with Spool(folder) as spool:
        (uid,) = queue_objects(spool, 1, ["pacs", "web"], [("original", drawn)])
    web = {"name": "web", "kind": "stow", "url": orthanc.dicomweb, "sends": ["original"]}
    with outbox_at_work(unit(folder, dicom("pacs", orthanc.port, sends=["original"]))):
        until(lambda: states(folder, "pacs")[uid] == "sent", "by C-STORE")
    by_store = orthanc.dataset(uid)
    orthanc.delete_all()
    with outbox_at_work(unit(folder, web)):
        until(lambda: states(folder, "web")[uid] == "sent", "by STOW-RS")
    by_stow = orthanc.dataset(uid)
    for arrived in (by_store, by_stow):
        assert arrived.file_meta.TransferSyntaxUID == JPEGLSLossless
        assert np.array_equal(arrived.pixel_array, drawn.pixel_array)
        del arrived["PixelData"]
        assert arrived == film_without_pixels(drawn)
    with Spool(folder) as spool:
        assert max(sent_bytes(spool).values()) < 600 * 500
    assert not list((folder / "outgoing").iterdir())


def film_without_pixels(dataset: Dataset) -> Dataset:
    rest = deepcopy(dataset)
    del rest["PixelData"]
    return rest


def test_a_film_goes_as_it_is_to_who_takes_only_that(tmp_path: Path) -> None:
    need(shutil.which("storescp"), "dcmtk's storescp")
    folder, inbox = tmp_path / "spool", tmp_path / "inbox"
    inbox.mkdir()
    port = free_port()
    drawn = film(ramp(60, 50))
    with Spool(folder) as spool:
        (uid,) = queue_objects(spool, 1, ["pacs"], [("original", drawn)])
    # Without more arguments it takes the uncompressed transfer syntaxes.
    server = subprocess.Popen(["storescp", "-od", inbox, "--bit-preserving", str(port)])
    try:
        with outbox_at_work(unit(folder, dicom("pacs", port, sends=["original"]))):
            until(lambda: states(folder, "pacs")[uid] == "sent", "the film arrives")
    finally:
        server.terminate()
        server.wait()
    (received,) = inbox.iterdir()
    assert dcmread(received) == drawn


@contextmanager
def archive(
    answer: Callable[[evt.Event], int] = lambda event: 0x0000,
    contexts: Sequence[str] = (SR, SC),
    handlers: Sequence[evt.EventHandlerType] = (),
    tls: ssl.SSLContext | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """A C-STORE service that answers as told; give its port, and the UIDs of what came whole."""
    came: list[str] = []

    def store(event: evt.Event) -> int:
        came.append(str(event.request.AffectedSOPInstanceUID))
        return answer(event)

    entity = AE("ARCHIVE")
    for context in contexts:
        entity.add_supported_context(context)
    entity.add_supported_context(StorageCommitmentPushModel)
    entity.add_supported_context(Verification)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store), *handlers],
        ssl_context=tls,
    )  # fmt: skip
    try:
        yield server.server_address[1], came
    finally:
        server.shutdown()


def test_answers_are_told_apart(tmp_path: Path) -> None:
    """Warnings are of stored objects; refused ones, and a full archive, hold up no others."""
    folder = tmp_path / "spool"
    answers = {
        object_uid("sr", 0): 0xB000, object_uid("sc", 0): 0xB007, object_uid("sr", 1): 0xA900,
        object_uid("sc", 1): 0xC000, object_uid("sr", 2): 0xA700, object_uid("sc", 2): 0x0000,
    }  # fmt: skip
    full = [True]

    def answer(event: evt.Event) -> int:
        status = answers[event.request.AffectedSOPInstanceUID]
        return 0x0000 if status == 0xA700 and not full[0] else status

    fill(folder, ["pacs"])
    with archive(answer) as (port, came), outbox_at_work(unit(folder, dicom("pacs", port))):
        until(lambda: states(folder, "pacs")[object_uid("sc", 2)] == "sent", "the others")
        until(lambda: came.count(object_uid("sr", 2)) > 1, "a full archive is asked again")
        full[0] = False
        until(lambda: states(folder, "pacs")[object_uid("sr", 2)] == "sent", "space was made")
    found = {uid: states(folder, "pacs")[uid] for uid in answers}
    refused = {object_uid("sr", 1), object_uid("sc", 1)}
    assert found == {uid: "waiting" if uid in refused else "sent" for uid in answers}
    assert all(came.count(uid) == 1 for uid in refused), "once, and not before an hour is over"
    with Spool(folder) as spool:
        errors = {
            row["error"] for row in spool.rows("SELECT error FROM delivery WHERE error <> ''")
        }
    assert any("0xA900" in error for error in errors)


def test_a_kind_of_object_that_is_not_taken_does_not_hold_up_another(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    uids = fill(folder, ["pacs"])
    with (
        archive(contexts=[SC]) as (port, came),
        outbox_at_work(unit(folder, dicom("pacs", port))),
    ):
        pictures = {uid for uid in uids if uid in {object_uid("sc", n) for n in range(3)}}
        until(
            lambda: (
                {u for u, state in states(folder, "pacs").items() if state == "sent"} == pictures
            ),
            "pictures arrive",
        )
    assert set(came) == pictures
    assert sorted(states(folder, "pacs").values()) == ["sent"] * 3 + ["waiting"] * 3


def test_nothing_is_deleted_before_the_archive_commits_to_it(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    """Orthanc answers on an association of its own, to the unit's service."""
    folder = tmp_path / "spool"
    uids = fill(folder, ["pacs"], 1)

    def report_came(event: evt.Event) -> tuple[int, None]:
        with Spool(folder) as spool:
            take_report(spool, event.event_information)
        return 0x0000, None

    entity = AE("OSTEOEDGE")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    config = unit(folder, dicom("pacs", orthanc.port, commitment=True))
    with outbox_at_work(config):
        until(lambda: set(states(folder, "pacs").values()) == {"sent"}, "all is sent")
        until(lambda: asked_for(folder) == len(uids), "commitment is asked for")
    with Spool(folder) as spool:
        assert remove_old(spool, 0.0, 0, ["pacs"]) == 0
        # The answer found nobody: it is asked for again once it is overdue.
        with spool.transaction() as execute:
            execute("UPDATE delivery SET commitment_at = commitment_at - 4000")
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, report_came)]
    )
    orthanc.know("unit", "OSTEOEDGE", server.server_address[1], AllowStorageCommitment=True)
    try:
        with outbox_at_work(config):
            until(lambda: set(states(folder, "pacs").values()) == {"committed"}, "Orthanc commits")
    finally:
        server.shutdown()
    with Spool(folder) as spool:
        files = [spool.folder / row["path"] for row in spool.rows("SELECT path FROM document")]
        assert all(file.exists() for file in files)
        assert remove_old(spool, 0.0, 0, ["pacs"]) > 270_000
        assert not any(file.exists() for file in files)


def asked_for(folder: Path) -> int:
    with Spool(folder) as spool:
        return len(spool.rows("SELECT 1 FROM delivery WHERE commitment_uid IS NOT NULL"))


def test_an_answer_on_the_same_association_counts_and_what_was_lost_is_sent_again(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "spool"
    sr, sc = fill(folder, ["pacs"], 1)
    lost = [sc]

    def action(event: evt.Event) -> tuple[int, None]:
        wanted = event.action_information
        answer = Dataset()
        answer.TransactionUID = wanted.TransactionUID
        kept, failed = [], []
        for item in wanted.ReferencedSOPSequence:
            if item.ReferencedSOPInstanceUID in lost:
                lost.remove(item.ReferencedSOPInstanceUID)
                item.FailureReason = 0x0112
                failed.append(item)
            else:
                kept.append(item)
        answer.ReferencedSOPSequence = kept
        if failed:
            answer.FailedSOPSequence = failed
        association = event.assoc

        def send() -> None:
            # Once N-ACTION is answered.
            until(answered.is_set, "N-ACTION is answered")
            association.send_n_event_report(
                answer, 2 if failed else 1, StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )  # fmt: skip

        answered.clear()
        threading.Thread(target=send).start()
        return 0x0000, None

    answered = threading.Event()
    handlers = [
        (evt.EVT_N_ACTION, action),
        (evt.EVT_DIMSE_SENT, lambda event: answered.set()),
    ]
    with (
        archive(handlers=handlers) as (port, came),
        outbox_at_work(unit(folder, dicom("pacs", port, commitment=True))),
    ):
        until(lambda: set(states(folder, "pacs").values()) == {"committed"}, "commitment")
    assert (came.count(sr), came.count(sc)) == (1, 2)


OUTBOX = """
import sys
from edge_runtime import outbox
from edge_runtime.unit.life import Life
from edge_runtime.unit.config import UnitConfig
life = Life()
life.stop_on_signals()
outbox.run(UnitConfig.model_validate_json(sys.argv[1]), life, lambda spool: True)
"""


def test_an_outbox_killed_in_mid_send_delivers_once_after_it_starts_again(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    uids = []
    with Spool(folder) as spool:
        for number in range(3):
            # More than the buffers on the way take in, which arrives whoever is killed.
            picture = capture(object_uid("sc", number), 12_000)
            uids += queue_objects(spool, number, ["pacs"], [("sc", picture)])
    victim: list[subprocess.Popen[bytes]] = []
    pdus, killed_at = [0], set()

    def begins(event: evt.Event) -> int:
        pdus[0] = 0
        return 0x0000

    def pdu_came(event: evt.Event) -> None:
        pdus[0] += 1
        # Of each picture once, early: it is of 700.
        if pdus[0] == 100 and len(came) not in killed_at:
            killed_at.add(len(came))
            victim[-1].kill()

    handlers = [(evt.EVT_PDU_RECV, pdu_came), (evt.EVT_REQUESTED, begins)]
    with archive(begins, handlers=handlers) as (port, came):
        config = unit(folder, dicom("pacs", port)).model_dump_json()
        kills = 0
        while set(states(folder, "pacs").values()) != {"sent"}:
            with subprocess.Popen([sys.executable, "-c", OUTBOX, config]) as process:
                victim.append(process)
                until(
                    lambda process=process: (
                        process.poll() is not None
                        or set(states(folder, "pacs").values()) == {"sent"}
                    ),
                    "killed, or done",
                    60,
                )
                kills += process.poll() == -signal.SIGKILL
                process.terminate()
    assert kills == 3
    assert sorted(came) == sorted(uids), "each came whole once"


def test_stops_at_once_in_mid_send(tmp_path: Path) -> None:
    """What waits for a peer that says nothing does not keep the unit from stopping."""
    folder = tmp_path / "spool"
    (uid, *_) = fill(folder, ["pacs"], 1)
    asked, released = threading.Event(), threading.Event()

    def silent(event: evt.Event) -> int:
        asked.set()
        released.wait(30)
        return 0x0000

    with archive(silent) as (port, _):
        with outbox_at_work(unit(folder, dicom("pacs", port))):
            assert asked.wait(30)
        assert not released.is_set()
        assert states(folder, "pacs")[uid] in ("waiting", "sending")
        released.set()


def test_a_link_that_says_nothing_is_given_up_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "spool"
    with Spool(folder) as spool:
        (uid,) = queue_objects(spool, 1, ["pacs"], [("sc", capture(object_uid("large"), 8_000))])
    monkeypatch.setattr(dicom_store, "STALL_S", 1.0)
    stuck = threading.Event()

    def pdu_came(event: evt.Event) -> None:
        if not stuck.is_set() and event.pdu.__class__.__name__ == "P_DATA_TF":
            stuck.set()
            # The reactor reads no more, and the sender's buffers fill up.
            until(lambda: states(folder, "pacs")[uid] == "waiting", "it was given up")

    with (
        archive(handlers=[(evt.EVT_PDU_RECV, pdu_came)]) as (port, came),
        outbox_at_work(unit(folder, dicom("pacs", port))),
    ):
        until(lambda: states(folder, "pacs")[uid] == "sent", "the second try")
    assert stuck.is_set()
    assert came == [uid]


def test_tls_wants_certificates_of_both_sides(tmp_path: Path) -> None:
    """Orthanc with DICOM TLS takes the unit's certificate, and no stranger's."""
    ours, stranger = Authority(tmp_path / "ours"), Authority(tmp_path / "strangers")
    server = ours.issue("orthanc")
    options = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(server.certificate),
        "DicomTlsPrivateKey": str(server.key),
        "DicomTlsTrustedCertificates": str(server.authority),
    }
    good = ours.issue("unit").model_dump()
    doubtful = stranger.issue("unit").model_dump()
    expired = ours.issue("expired", days=-1).model_dump()
    folder = tmp_path / "spool"
    names = ["good", "plain", "doubtful", "trusting", "expired", "keyless"]
    with running(tmp_path / "orthanc", **options) as orthanc:
        port = orthanc.port
        uids = fill(folder, names, 1)
        config = unit(
            folder,
            dicom("good", port, tls=good),
            dicom("plain", port),
            dicom("doubtful", port, tls=doubtful),
            # It has our certificate, and would take a server's of another authority.
            dicom("trusting", port, tls={**good, "authority": doubtful["authority"]}),
            dicom("expired", port, tls=expired),
            dicom("keyless", port, tls={**good, "key": tmp_path / "none"}),
        )
        with outbox_at_work(config):
            until(lambda: set(states(folder, "good").values()) == {"sent"}, "over TLS")
            for name in names[1:]:
                until(lambda name=name: tried(folder, name), name)
        assert orthanc.uids() == set(uids)
        for name in names[1:]:
            assert set(states(folder, name).values()) <= {"waiting", "sending"}, name


def tried(folder: Path, destination: str) -> bool:
    """Whether a destination's objects were put back with a reason."""
    with Spool(folder) as spool:
        return bool(
            spool.rows("SELECT 1 FROM delivery WHERE destination = ? AND error <> ''", destination)
        )


class Web(BaseHTTPRequestHandler):
    """A STOW-RS service that answers as its server was told."""

    protocol_version = "HTTP/1.1"
    server: WebServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        start = body.index(b"DICM") - 128
        dataset = dcmread(BytesIO(body[start:]), force=True, stop_before_pixels=True)
        status, answer = self.server.answer(self, dataset)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


class WebServer(ThreadingHTTPServer):
    daemon_threads = True
    answer: Callable[[Web, Dataset], tuple[int, object]]


def module(stored: Sequence[str] = (), failed: Sequence[int] = ()) -> dict[str, object]:
    """A Store Instances Response Module as JSON."""
    return {
        "00081199": {
            "vr": "SQ",
            "Value": [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in stored],
        },
        "00081198": {
            "vr": "SQ",
            "Value": [{"00081197": {"vr": "US", "Value": [reason]}} for reason in failed],
        },
    }


@contextmanager
def web(
    answer: Callable[[Web, Dataset], tuple[int, object]], tls: TlsSettings | None = None
) -> Iterator[str]:
    """Give the URL of a service."""
    server = WebServer(("127.0.0.1", 0), Web)
    server.answer = answer
    if tls is not None:
        server.socket = server_context(tls).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()


def test_answers_of_stow_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    answers = {
        object_uid("sr", 0): (200, module([object_uid("sr", 0)])),
        object_uid("sc", 0): (409, module(failed=[0xC000])),
        object_uid("sr", 1): (400, None),
        object_uid("sc", 1): (200, module()),
        object_uid("sr", 2): (503, None),
        object_uid("sc", 2): (202, module([object_uid("sc", 2)])),
    }
    came: list[str] = []

    def answer(_: Web, dataset: Dataset) -> tuple[int, object]:
        came.append(dataset.SOPInstanceUID)
        if came.count(object_uid("sr", 2)) > 1 and dataset.SOPInstanceUID == object_uid("sr", 2):
            return 200, module([dataset.SOPInstanceUID])
        return answers[dataset.SOPInstanceUID]

    fill(folder, ["web"])
    with (
        web(answer) as url,
        outbox_at_work(unit(folder, {"name": "web", "kind": "stow", "url": url})),
    ):
        until(lambda: states(folder, "web")[object_uid("sr", 2)] == "sent", "no longer busy")
        until(lambda: states(folder, "web")[object_uid("sc", 2)] == "sent", "the others")
        until(lambda: set(came) == set(answers), "all are tried")
    stored = {object_uid("sr", 0), object_uid("sr", 2), object_uid("sc", 2)}
    found = states(folder, "web")
    assert {uid for uid in answers if found[uid] == "sent"} == stored
    refused = answers.keys() - stored
    assert all(came.count(uid) == 1 for uid in refused), "once, and not before an hour is over"


def test_stow_shows_its_token_and_certificate(tmp_path: Path) -> None:
    """A token that is refused is no fault of the objects; the next one is read from the file."""
    folder, token = tmp_path / "spool", tmp_path / "token"
    authority = Authority(tmp_path / "authority")
    ours = authority.issue("unit")
    both = tmp_path / "both.pem"
    both.write_bytes(ours.certificate.read_bytes() + ours.key.read_bytes())
    token.write_text("old\n")
    seen: list[str] = []

    def answer(request: Web, dataset: Dataset) -> tuple[int, object]:
        seen.append(request.headers["Authorization"])
        if seen[-1] != "Bearer new":
            return 401, None
        return 200, module([dataset.SOPInstanceUID])

    fill(folder, ["web", "nobody"], 1)
    with web(answer, authority.issue("server")) as url:
        settings = {"kind": "stow", "url": url, "authority": ours.authority}
        config = unit(
            folder,
            {**settings, "name": "web", "certificate": both, "token_file": token},
            {**settings, "name": "nobody", "token_file": token},
        )
        with outbox_at_work(config):
            until(lambda: seen, "the first try")
            token.write_text("new\n")
            until(lambda: set(states(folder, "web").values()) == {"sent"}, "the new token")
            until(lambda: tried(folder, "nobody"), "without a certificate")
    assert set(seen) == {"Bearer old", "Bearer new"}
    assert set(states(folder, "nobody").values()) <= {"waiting", "sending"}


def test_stow_sends_a_film_uncompressed_where_its_coding_is_not_known(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    came: list[str] = []

    def answer(_: Web, dataset: Dataset) -> tuple[int, object]:
        came.append(dataset.file_meta.TransferSyntaxUID)
        if dataset.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian:
            return 409, module(failed=[0xC122])
        return 200, module([dataset.SOPInstanceUID])

    with Spool(folder) as spool:
        for number in range(2):
            drawn = film(SOPInstanceUID=object_uid(number))
            drawn.file_meta.MediaStorageSOPInstanceUID = drawn.SOPInstanceUID
            queue_objects(spool, number, ["web"], [("original", drawn)])
    with web(answer) as url:
        config = unit(folder, {"name": "web", "kind": "stow", "url": url, "sends": ["original"]})
        with outbox_at_work(config):
            until(lambda: set(states(folder, "web").values()) == {"sent"}, "delivery")
    assert came == [
        JPEGLSLossless, JPEG2000Lossless, ExplicitVRLittleEndian, ExplicitVRLittleEndian,
    ]  # fmt: skip


def test_who_rejects_us_is_asked_again_and_says_why(orthanc: Orthanc, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    fill(folder, ["pacs"], 1)
    with outbox_at_work(unit(folder, dicom("pacs", orthanc.port, "SOMEONE"))):
        until(lambda: tried(folder, "pacs"), "the first try")
    with Spool(folder) as spool:
        reasons = {row["error"] for row in spool.rows("SELECT error FROM delivery")}
        assert {row["attempts"] for row in spool.rows("SELECT attempts FROM delivery")} == {0}
    assert "the association was rejected (Called AE title not recognised)" in reasons
