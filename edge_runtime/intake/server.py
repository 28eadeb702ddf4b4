"""The server: who may have an association, and what each is made of."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.transport import AssociationServer, RequestHandler

from edge_runtime.intake.messages import Allocate, Messages
from edge_runtime.intake.peers import Peers
from edge_runtime.intake.transport import PduSocket, refused
from edge_runtime.unit.config import DicomIntake

# For each association that is allowed, connections that have not become one, or are ending.
_CONNECTIONS = 4
# For each association that it has, a process leaves a new one to the others for so long.
_YIELD_S = 0.002
_LISTEN_S = 0.5


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
