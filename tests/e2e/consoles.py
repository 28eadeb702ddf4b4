"""A served unit with its console, and who calls it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pydicom

from edge_runtime.console.accounts import make_token
from tests.e2e.serving import ServedUnit, served
from tests.edge_runtime.consoles import Answer, EventStream, SocketConnection, answered
from tests.processes import free_port, until


@dataclass
class Bedside:
    """A unit that is served, called by its socket and by loopback."""

    unit: ServedUnit
    socket: Path
    port: int
    token: str
    folder: Path

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Call by the Unix socket."""
        return answered(SocketConnection(self.socket), method, path, body, headers)

    def by_token(self, method: str, path: str, body: object = None) -> Answer:
        """Call by TCP."""
        shown = {"Authorization": f"Bearer {self.token}"}
        return answered(
            HTTPConnection("127.0.0.1", self.port, timeout=30), method, path, body, shown
        )

    def listen(self) -> EventStream:
        """Listen to events."""
        stream = EventStream(SocketConnection(self.socket), {})
        assert stream.status == 200
        return stream

    def answers(self) -> bool:
        """Tell whether the console is there."""
        try:
            return self.ask("GET", "/v1/status").status == 200
        except OSError:
            return False

    def submit_until_taken(self, film: Path) -> None:
        """Submit as a client does that means it: again until it is told that it was taken."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if self.ask("POST", "/v1/films", film.read_bytes()).status == 202:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError("never taken")


@contextmanager
def at_the_bedside(
    home: Path, tiny_bundle: Path, *, console: str = "", settings: str = "", **served_as: object
) -> Iterator[Bedside]:
    """Serve a unit with a console until the end of the block."""
    home.mkdir(parents=True, exist_ok=True)
    socket, token_file, folder = home / "console.sock", home / "token", home / "submit"
    folder.mkdir()
    port, token = free_port(), make_token(token_file)
    told = (
        f'{settings}[console]\nsocket = "{socket}"\ntoken_file = "{token_file}"\nport = {port}\n'
        f'submit_from = ["{folder}"]\n{console}'
    )
    with served(home / "unit", tiny_bundle, settings=told, **served_as) as unit:
        bedside = Bedside(unit, socket, port, token, folder)
        until(bedside.answers, "the console answers", 30)
        yield bedside


def uids_of(film: Path) -> tuple[str, str]:
    """SOP and Study Instance UID of a film."""
    header = pydicom.dcmread(film, stop_before_pixels=True)
    return str(header.SOPInstanceUID), str(header.StudyInstanceUID)
