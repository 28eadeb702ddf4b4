"""PDUs of bounded length in bounded time, from pynetdicom's socket.

It believes a PDU's length, waits for the rest of one for ever, and has the TLS handshake made where
connections are accepted.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from edge_runtime.unit.config import DicomIntake

log = logging.getLogger(__name__)

# An A-ASSOCIATE-RQ may be longer than a P-DATA PDU: 128 contexts of 20 transfer syntaxes each.
_ASSOCIATE_BYTES = 128 << 10


class PduSocket(AssociationSocket):
    """Reads PDUs of bounded length in bounded time."""

    def __init__(self, assoc: Association, connection: socket.socket, settings: DicomIntake):
        super().__init__(assoc, client_socket=connection)
        self._longest = max(settings.pdu_kib << 10, _ASSOCIATE_BYTES)
        self._seconds = settings.pdu_s
        self._greeted = not isinstance(connection, ssl.SSLSocket)

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes, or as many as come before the other side closes."""
        connection = self.socket
        if connection is None:
            raise ConnectionError("closed")
        if nr_bytes > self._longest:
            raise self._refusal("a PDU of more than the largest length")
        connection.settimeout(self._seconds)
        if not self._greeted:
            self._shake_hands(connection)
        # A sender that holds back a PDU's end until its start is acknowledged waits 40 ms for that.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        deadline = time.monotonic() + self._seconds
        data, got = bytearray(nr_bytes), 0
        try:
            with memoryview(data) as view:
                while got < nr_bytes:
                    count = connection.recv_into(view[got:])
                    if not count:
                        break
                    got += count
                    left = deadline - time.monotonic()
                    if left <= 0 and got < nr_bytes:
                        raise TimeoutError
                    connection.settimeout(max(left, 0.001))
        except TimeoutError:
            raise self._refusal("a PDU took too long") from None
        # Answers are to have time, however little was left for the question.
        connection.settimeout(self._seconds)
        del data[got:]
        return data

    def _shake_hands(self, connection: socket.socket) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        try:
            connection.do_handshake()
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise self._refusal(f"TLS handshake: {reason}") from None
        self._greeted = True

    def _refusal(self, why: str) -> ConnectionError:
        refused(self.assoc.requestor.address, why)
        return ConnectionError(why)


def refused(address: str, why: str) -> None:
    """Log that somebody was refused."""
    log.warning("refused", extra={"peer": address, "reason": why})
