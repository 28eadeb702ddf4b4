"""STOW-RS (PS3.18 10.5) to a destination, one object a request, streamed from the disk."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

from edge_runtime.outbox.original import LOSSLESS, coded, transfer_syntaxes
from edge_runtime.outbox.store import (
    ANSWER_S,
    CONNECT_S,
    SOCKET_OPTIONS,
    BusyError,
    InterruptedSendError,
    RefusedError,
    UnreachableError,
)
from edge_runtime.spool.delivery import Delivery
from edge_runtime.unit.config import StowDestination

_BLOCK = 16 << 10
# Attributes of the answer (PS3.18 table 10.5.3-1), as DICOM JSON names them.
_STORED, _UID = "00081199", "00081155"
_FAILED, _REASON = "00081198", "00081197"
_VALUE = "Value"
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_SYNTAX_NOT_SUPPORTED = 0xC122
# The service as a whole: who we are, where it is, how busy it is.
_NOT_OF_THE_OBJECT = frozenset({401, 403, 404, 407, 408, 425, 429})


class StowStore:
    """A destination's STOW-RS service.

    Parameters
    ----------
    scratch
        Folder for films that are compressed for it.
    """

    def __init__(self, destination: StowDestination, scratch: Path) -> None:
        self._destination = destination
        self._scratch = scratch
        self._session: requests.Session | None = None
        self._not_taken: set[str] = set()

    def send(self, delivery: Delivery, coming: Sequence[Delivery]) -> int:
        """Send an object; return how many bytes its file had.

        Raises
        ------
        UnreachableError, InterruptedSendError, BusyError, RefusedError
        """
        while True:
            accepted = set(transfer_syntaxes(delivery)) - self._not_taken
            with coded(delivery, accepted, self._scratch) as (file, syntax):
                try:
                    self._post(file, delivery.sop_instance_uid)
                except _CodingRefusedError:
                    if syntax not in LOSSLESS:
                        raise
                    # Nothing is negotiated beforehand: the next film does without it.
                    self._not_taken.add(syntax)
                    continue
                return file.stat().st_size

    def idle(self) -> None:
        """Disconnect."""
        self.close()

    def close(self) -> None:
        """Disconnect."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def abort(self) -> None:
        """Nothing: a thread that waits for an answer ends with the process."""

    def _post(self, file: Path, sop_instance_uid: str) -> None:
        if self._session is None:
            self._session = requests.Session()
            for scheme in ("http://", "https://"):
                self._session.mount(scheme, _Adapter())
        boundary = secrets.token_hex(16)
        body = _Multipart(file, boundary)
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        where = self._destination
        try:
            answer = self._session.post(
                f"{where.url.rstrip('/')}/studies",
                data=body,
                headers={
                    "Content-Type": kind,
                    "Accept": "application/dicom+json",
                    **self._authorization(),
                },
                # Of connecting and of every block that is sent; and of the answer.
                timeout=(CONNECT_S, ANSWER_S),
                allow_redirects=False,
                verify=True if where.authority is None else str(where.authority),
                cert=None if where.certificate is None else str(where.certificate),
            )
        except (requests.RequestException, OSError) as error:
            self.close()
            if body.begun:
                raise InterruptedSendError(type(error).__name__) from None
            raise UnreachableError(type(error).__name__) from None
        _judge(answer, sop_instance_uid)

    def _authorization(self) -> dict[str, str]:
        """Read the token anew each time: whoever renews it writes the file."""
        if self._destination.token_file is None:
            return {}
        try:
            token = self._destination.token_file.read_text("utf-8").strip()
        except OSError as error:
            raise UnreachableError(f"token_file cannot be read ({error.strerror})") from None
        return {"Authorization": f"Bearer {token}"}


class _CodingRefusedError(RefusedError):
    """The service does not know the object's transfer syntax."""


class _Adapter(HTTPAdapter):
    """Connections over a slow link that comes and goes."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Pass our socket options on."""
        defaults = list(HTTPConnection.default_socket_options)
        super().init_poolmanager(*arguments, **options, socket_options=[*defaults, *SOCKET_OPTIONS])


class _Multipart:
    """The body of a request with one DICOM file: read as it is sent, its length known before.

    Attributes
    ----------
    begun
        Whether any of it was asked for: there was a connection.
    """

    def __init__(self, file: Path, boundary: str) -> None:
        # Without its transfer syntax, which stands in the file: Orthanc takes no other.
        self._head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file = file
        self.begun = False

    def __len__(self) -> int:
        return len(self._head) + self._file.stat().st_size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        self.begun = True
        yield self._head
        with self._file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                yield block
        yield self._tail


def _judge(answer: requests.Response, sop_instance_uid: str) -> None:
    """Tell from the answer whether the object was stored (PS3.18 10.5.3).

    Raises
    ------
    UnreachableError, BusyError, RefusedError
    """
    status = answer.status_code
    if status in _NOT_OF_THE_OBJECT:
        raise UnreachableError(f"HTTP {status}")
    if status >= 500:
        raise BusyError(f"HTTP {status}")
    if status == 415:
        raise _CodingRefusedError(f"HTTP {status}")
    stored = status == 200
    reason = 0
    try:
        module = answer.json()
        failed = [_first(item, _REASON) for item in module.get(_FAILED, {}).get(_VALUE, [])]
        listed = [_first(item, _UID) for item in module.get(_STORED, {}).get(_VALUE, [])]
        # 200 is no proof: Orthanc's plug-in 1.7 gives it where it stored nothing.
        stored = status in (200, 202) and sop_instance_uid in listed
        reason = int(failed[0]) if failed else 0
    except (ValueError, AttributeError, LookupError, TypeError):
        pass  # XML, or nothing: the status says it all.
    if stored:
        return
    if reason in _OUT_OF_RESOURCES:
        raise BusyError(f"out of resources (0x{reason:04X})")
    if reason == _SYNTAX_NOT_SUPPORTED:
        raise _CodingRefusedError(f"HTTP {status}, 0x{reason:04X}")
    raise RefusedError(f"refused (HTTP {status}, reason 0x{reason:04X})")


def _first(item: dict[str, dict[str, list[Any]]], tag: str) -> Any:
    return item[tag][_VALUE][0]
