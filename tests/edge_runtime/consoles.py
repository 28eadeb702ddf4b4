"""A console at work in a thread, its spool filled by hand, and those who call it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from pydicom.dataset import Dataset

from edge_runtime.console import server
from edge_runtime.console.accounts import make_token
from edge_runtime.screening import Screening
from edge_runtime.spool import FilmState, Spool
from edge_runtime.spool.studies import claim_study, report_study
from edge_runtime.spool.work import NewResult, claim_film, finish
from edge_runtime.unit.config import UnitConfig
from edge_runtime.unit.life import Life
from tests.e2e.test_intake import noise
from tests.edge_runtime import screenings
from tests.edge_runtime.films import save
from tests.edge_runtime.units import WORK, settings
from tests.processes import free_port, until

BUNDLE: Any = SimpleNamespace(
    deployed_sha256=screenings.BUNDLE, manifest=SimpleNamespace(purpose="evaluated")
)
JSON, DICOM = "application/json", "application/dicom"


@dataclass(frozen=True)
class Answer:
    """What was answered."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answered(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request; a body that is no bytes goes as JSON."""
    told = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body, told = json.dumps(body).encode(), {"Content-Type": JSON, **told}
    elif body is not None:
        told = {"Content-Type": DICOM, **told}
    try:
        connection.request(method, path, body, told)
        got = connection.getresponse()
        return Answer(got.status, got.read(), dict(got.getheaders()))
    finally:
        connection.close()


class Console:
    """A console on a Unix socket and on loopback."""

    def __init__(self, home: Path, **console: object) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.socket = home / "console.sock"
        self.port = free_port()
        token_file = home / "token"
        self.token = make_token(token_file)
        self.unit: UnitConfig = settings(
            home, home / "none.osteo", home / "keys",
            console={
                "socket": self.socket, "port": self.port, "token_file": token_file,
                "submit_from": [home / "submit"], "film_mib": 16, **console,
            },
        )  # fmt: skip
        (home / "submit").mkdir(exist_ok=True)
        self.life = Life()
        self.failure: BaseException | None = None
        self.folder = self.unit.spool.directory
        Spool(self.folder).close()

    def run(self) -> None:
        try:
            with mock.patch.object(server, "load_servable", lambda _: BUNDLE):
                server.run(self.unit, self.life)
        except BaseException as error:
            self.failure = error

    def spool(self) -> Spool:
        return Spool(self.folder)

    def go(self, live: bool = True) -> None:
        """Go live, or into shadow mode."""
        with self.spool() as spool, spool.transaction() as execute:
            execute(
                "INSERT INTO mode (live, bundle_sha256, person, reason, at) VALUES (?,?,?,?,?)",
                live, BUNDLE.deployed_sha256, "Dr Test", "a test", spool.now(),
            )  # fmt: skip

    def local(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Call by the Unix socket."""
        return answered(SocketConnection(self.socket), method, path, body, headers)

    def remote(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None,
        *, token: str | None = None, tls: ssl.SSLContext | None = None,
    ) -> Answer:  # fmt: skip
        """Call by TCP."""
        told = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection: http.client.HTTPConnection = (
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            if tls is None
            else http.client.HTTPSConnection("localhost", self.port, timeout=30, context=tls)
        )
        return answered(connection, method, path, body, {**told, **(headers or {})})

    def submit(self, film: Dataset) -> Answer:
        """Submit a film's bytes."""
        return self.local("POST", "/v1/films", bytes_of(film, self.home))

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        with self.spool() as spool:
            return [dict(row) for row in spool.rows(sql, *values)]

    def screen(self, result: Screening) -> None:
        """Do what the worker does with the next film, and decide on its study likewise."""
        with self.spool() as spool:
            film = claim_film(spool)
            assert film is not None
            state = FilmState.UNABLE if result.decision == "unable" else FilmState.REPORTED
            document = result.model_dump_json(by_alias=True)
            finish(spool, film, NewResult(state, result.decision, 0.5, 0.5, document, WORK), [])
            study = claim_study(spool)
            assert study is not None
            report_study(spool, study, result.decision, json.dumps(result.reasons), None)


@contextmanager
def console_at_work(home: Path, *, live: bool = True, **settings: object) -> Iterator[Console]:
    """Answer until the end of the block."""
    console = Console(home, **settings)
    console.go(live)
    thread = threading.Thread(target=console.run)
    thread.start()
    try:
        until(lambda: console.failure or listening(console), "the console answers", 20)
        if console.failure is not None:
            raise console.failure
        yield console
    finally:
        console.life.stop()
        thread.join(20)
        assert not thread.is_alive(), "it stops"


def listening(console: Console) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", console.port), 5):
            return True
    except OSError:
        return False


def film_of(number: int, side: int = 64, **attributes: object) -> Dataset:
    """A film of a study of its own, unless told otherwise."""
    told = {
        "StudyInstanceUID": f"2.25.1{number}", "SeriesInstanceUID": f"2.25.2{number}",
        "PatientName": "Doe^Jane", "PatientID": f"P{number}", **attributes,
    }  # fmt: skip
    return noise(side, number, **told)


def bytes_of(film: Dataset, folder: Path) -> bytes:
    """The bytes of a film's file."""
    path = folder / f"{os.urandom(4).hex()}.dcm"
    data = save(film, path).read_bytes()
    path.unlink()
    return data


class EventStream:
    """Reads events of a console, in a thread."""

    def __init__(self, connection: http.client.HTTPConnection, headers: Mapping[str, str]) -> None:
        self.events: list[dict[str, Any]] = []
        self.ended = threading.Event()
        connection.request("GET", "/v1/events", headers=dict(headers))
        self._connection = connection
        self._answer = connection.getresponse()
        self.status = self._answer.status
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self.ended.wait(10)
        self._connection.close()

    def _read(self) -> None:
        told: dict[str, str] = {}
        try:
            for line in self._answer:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    told[name] = value
                    continue
                if told.get("event") == "study":
                    self.events.append({**json.loads(told["data"]), "id": told["id"]})
                told = {}
        except (OSError, ValueError, http.client.HTTPException):
            pass
        self.ended.set()
