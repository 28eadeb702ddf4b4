"""What pynetdicom leaves to whoever runs a service: nothing that a peer sends takes it down.

pynetdicom believes a PDU's length, waits for the rest of one for ever, shakes hands on TLS where
it accepts connections, and keeps a whole film in memory. Here a PDU has a largest length and a
deadline, the handshake is the association's own affair, and films go to the disk as they come.
"""

from __future__ import annotations

import io
import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler

from edge_runtime.errors import SpoolError
from edge_runtime.intake.peers import Peers
from edge_runtime.intake.receiving import IncomingFile
from edge_runtime.unit.config import DicomIntake

log = logging.getLogger("osteoedge.intake")

# An A-ASSOCIATE-RQ may be longer than a P-DATA PDU: 128 contexts of 20 transfer syntaxes each.
_ASSOCIATE_BYTES = 128 << 10
_COMMAND_BYTES = 16 << 10
# What else than films has a data set: an answer on storage commitment.
_OTHER_BYTES = 4 << 20
# Of requests: no more than one at a time is agreed on (PS3.7 D.3.3.3).
_WAITING = 2
_THREADS = 256
# For each association that is allowed, connections that have not become one, or are ending.
_CONNECTIONS = 4
# For each association that it has, a process leaves a new one to the others for so long.
_YIELD_S = 0.002
_LISTEN_S = 0.5

Allocate = Callable[[], IncomingFile]


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


class DataSet(io.BytesIO):
    """Where the data set of one message goes: a film's to the disk, any other's to memory.

    Attributes
    ----------
    film
        None while nothing of it came.
    failure
        Why it is not kept. What still comes of it is passed over: the answer says so.
    """

    def __init__(self, begin: Callable[[], IncomingFile | None]) -> None:
        super().__init__()
        self.film: IncomingFile | None = None
        self.failure: SpoolError | None = None
        self._begin = begin
        self._begun = False

    def write(self, data: Any) -> int:
        """Add a fragment."""
        try:
            if not self._begun:
                self._begun = True
                self.film = self._begin()
            if self.film is not None and self.failure is None:
                self.film.write(data)
        except SpoolError as error:
            self.failure = error
            self.discard()
        if self.film is not None or self.failure is not None:
            return len(data)
        if self.tell() + len(data) > _OTHER_BYTES:
            raise ValueError("a data set that is too long")
        return super().write(data)

    def discard(self) -> None:
        """Delete the film's file unless the spool has it."""
        if self.film is not None:
            self.film.discard()


class Messages(DIMSEServiceProvider):
    """Puts messages together, with the films in them on the disk.

    Parameters
    ----------
    allocate
        Reserves a file for a film; raises SpoolFullError.
    """

    def __init__(self, assoc: Association, allocate: Allocate) -> None:
        super().__init__(assoc)
        self._allocate = allocate
        self._reserved: IncomingFile | None = None
        self._open: list[DataSet] = []

    def reserve(self) -> None:
        """Reserve space for the first film.

        Where there is none, an association may still be about something else; each film asks
        again, and is refused.
        """
        try:
            self._reserved = self._allocate()
        except SpoolError as error:
            log.error("no space reserved", extra={"reason": error.what})

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Add to the message that is coming in, or end an association that makes no sense."""
        if self.message is None:
            self.message = self._next_message()
        try:
            super().receive_primitive(primitive)
            message = self.message
            if message and message.encoded_command_set.tell() > _COMMAND_BYTES:
                raise ValueError("a command that is too long")
            # Answers on storage commitment wait in threads of their own.
            if self.msg_queue.qsize() > _WAITING or threading.active_count() > _THREADS:
                raise ValueError("more requests at a time than were agreed on")
        except Exception as error:
            # pynetdicom raises whatever it trips over in a command; it would end the thread.
            refused(self.assoc.requestor.address, f"message not understood: {type(error).__name__}")
            self.dul.event_queue.put("Evt19")

    def discard(self) -> None:
        """Delete what was received and not taken by the spool."""
        if self._reserved is not None:
            self._reserved.discard()
        for data_set in self._open:
            data_set.discard()
        self._open.clear()

    def _next_message(self) -> DIMSEMessage:
        message = DIMSEMessage()
        # One is served and some wait: those before them are dealt with, or were no valid request.
        while len(self._open) > _WAITING + 1:
            self._open.pop(0).discard()

        def begin() -> IncomingFile | None:
            return self._begin(message) if isinstance(message, C_STORE_RQ) else None

        message.data_set = data_set = DataSet(begin)
        self._open.append(data_set)
        return message

    def _begin(self, message: DIMSEMessage) -> IncomingFile:
        """Give the file that a film goes to, with its file meta information (PS3.10 7.1) in it."""
        (context,) = (
            one for one in self.assoc.accepted_contexts if one.context_id == message.context_id
        )
        command = message.command_set
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = command.AffectedSOPClassUID
        meta.MediaStorageSOPInstanceUID = command.AffectedSOPInstanceUID
        meta.TransferSyntaxUID = context.transfer_syntax[0]
        meta.ImplementationClassUID = self.assoc.ae.implementation_class_uid
        meta.ImplementationVersionName = self.assoc.ae.implementation_version_name
        head = DicomBytesIO(bytes(128) + b"DICM")
        head.seek(0, io.SEEK_END)
        write_file_meta_info(head, meta)
        film = self._reserved or self._allocate()
        self._reserved = film
        film.write(head.getvalue())
        self._reserved = None
        return film


class _Connection(RequestHandler):
    """Makes an association of a connection, with the parts above."""

    server: IntakeServer

    def _create_association(self) -> Association:
        association = super()._create_association()
        # The announcement of the socket that is replaced: this one makes its own.
        association.dul.event_queue.get_nowait()
        association.dul.socket = PduSocket(association, self.request, self.server.settings)
        association.dimse = Messages(association, self.server.allocate)
        association.dul.daemon = True
        self.server.associations.append(association)
        return association


class IntakeServer(AssociationServer):
    """Accepts connections from a listening socket that other processes accept from as well.

    Parameters
    ----------
    allocate
        Reserves a file for a film; raises SpoolFullError.

    Attributes
    ----------
    associations
        All whose threads still run.
    """

    def __init__(
        self,
        ae: AE,
        listener: socket.socket,
        settings: DicomIntake,
        tls: ssl.SSLContext | None,
        handlers: list[evt.EventHandlerType],
        allocate: Allocate,
    ) -> None:
        self.settings = settings
        self.allocate = allocate
        self.associations: list[Association] = []
        self._seats: list[Association] = []
        self._seating = threading.Lock()
        self._listener = listener
        self._peers = Peers(settings.peers)
        super().__init__(
            ae, listener.getsockname(), settings.ae_title, ae.supported_contexts, tls, handlers,
            _Connection,
        )  # fmt: skip
        self.bind(evt.EVT_REQUESTED, self._requested)

    def server_bind(self) -> None:
        """Take the socket that is given instead of a new one."""
        assert self.socket is not None
        self.socket.close()
        # With a limit, accepting does not wait for a connection that another process took.
        self._listener.settimeout(_LISTEN_S)
        self.socket = self._listener

    def server_activate(self) -> None:
        """Do nothing: whoever made the socket listens."""

    def server_close(self) -> None:
        """Close our end only: the other processes go on."""
        self._listener.close()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, without waiting for anything that the other side does."""
        # Whoever has least to do is the first to accept.
        self.clear_ended()
        time.sleep(_YIELD_S * len(self.associations))
        connection, address = self._listener.accept()
        if self.ssl_context is not None:
            connection = self.ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether a connection may become an association, by its address and number."""
        if not self._peers.may_connect(client_address[0]):
            refused(client_address[0], "address not listed")
            return False
        if len(self.associations) >= _CONNECTIONS * self.settings.associations:
            refused(client_address[0], "too many connections")
            return False
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection; the service goes on."""
        kind = sys.exc_info()[0]
        refused(client_address[0], f"connection failed: {kind.__name__ if kind else 'unknown'}")

    def _requested(self, event: evt.Event) -> None:
        """Refuse an association, or reserve space for its first film and go on."""
        association = event.assoc
        try:
            refusal = self._refusal(association)
            if refusal is None:
                _messages(association).reserve()
                return
        except Exception as error:
            # pynetdicom would accept the association all the same.
            refusal = f"request not understood: {type(error).__name__}", (1, 1, 1)
        why, codes = refusal
        refused(association.requestor.address, why)
        association.acse.send_reject(*codes)
        association.kill()

    def _refusal(self, association: Association) -> tuple[str, tuple[int, int, int]] | None:
        """Return why an association is not accepted, and the codes of PS3.8 table 9-21."""
        asked = association.requestor.primitive
        assert asked is not None
        address = association.requestor.address
        if not self._peers.may_send(address, asked.calling_ae_title.strip()):
            return "calling AE title not listed", (1, 1, 3)
        if asked.called_ae_title.strip() != self.settings.ae_title:
            return "called AE title not ours", (1, 1, 7)
        with self._seating:
            self._seats = [one for one in self._seats if _goes_on(one)]
            if len(self._seats) >= self.settings.associations:
                return "too many associations", (2, 3, 2)
            self._seats.append(association)
        return None

    def clear_ended(self) -> None:
        """Forget associations that ended, and delete what they left unfinished."""
        for association in list(self.associations):
            if association.ident and not (association.is_alive() or association.dul.is_alive()):
                _messages(association).discard()
                self.associations.remove(association)

    def end_all(self, within_s: float) -> None:
        """Let associations finish what they are at, and end them after so many seconds."""
        deadline = time.monotonic() + within_s
        while self.associations and time.monotonic() < deadline:
            self.clear_ended()
            time.sleep(0.02)
        for association in self.associations:
            if association.dul.socket is not None:
                association.dul.socket._shutdown_socket()
            _messages(association).discard()


def _messages(association: Association) -> Messages:
    assert isinstance(association.dimse, Messages)
    return association.dimse


def _goes_on(association: Association) -> bool:
    return association.dul.is_alive() and not (association.is_released or association.is_aborted)


def refused(address: str, why: str) -> None:
    """Log that somebody was refused."""
    log.warning("refused", extra={"peer": address, "reason": why})
