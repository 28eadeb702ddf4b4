"""C-STORE to a destination: one association for many objects."""

from __future__ import annotations

import logging
import queue
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import MaximumLengthNotification
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from edge_runtime.dicom_tls import client_context
from edge_runtime.errors import ConfigError
from edge_runtime.outbox.commitment import Commitment
from edge_runtime.outbox.original import coded, transfer_syntaxes
from edge_runtime.outbox.store import (
    ANSWER_S,
    CONNECT_S,
    SOCKET_OPTIONS,
    STALL_S,
    BusyError,
    InterruptedSendError,
    RefusedError,
    UnreachableError,
)
from edge_runtime.spool.delivery import Delivery
from edge_runtime.unit.config import DicomDestination

_log = logging.getLogger(__name__)

# PDUs of an object that wait for the kernel to take them.
_PDUS_AHEAD = 4
# The longest that we send, though the peer may take longer ones: 2 s at 256 kbit/s.
_MAX_PDU = 64 << 10
# PS3.8 9.3.2.2: identifiers are odd and below 256.
_MAX_CONTEXTS = 128
_OUT_OF_RESOURCES = range(0xA700, 0xA800)

# Objects go from the disk to the network as they are.
_config.STORE_SEND_CHUNKED_DATASET = True


class DicomStore:
    """A destination's C-STORE service.

    Parameters
    ----------
    scratch
        Folder for films that are compressed for it.
    commitment
        Asks for storage commitment where that is wanted.
    """

    def __init__(
        self, destination: DicomDestination, scratch: Path, commitment: Commitment | None
    ) -> None:
        self._destination = destination
        self._scratch = scratch
        self._commitment = commitment
        self._association: Association | None = None
        self._proposed: frozenset[tuple[str, str]] = frozenset()
        self._messages = 0

    def send(self, delivery: Delivery, coming: Sequence[Delivery]) -> int:
        """Send an object; return how many bytes its file had.

        Raises
        ------
        UnreachableError, InterruptedSendError, BusyError, RefusedError
        """
        wanted = _codings(delivery)
        if not self._proposed.issuperset(wanted):
            self.close()
        if self._association is None or not self._association.is_established:
            self._connect(wanted, coming)
        assert self._association is not None
        accepted = {
            context.transfer_syntax[0]
            for context in self._association.accepted_contexts
            if context.abstract_syntax == delivery.sop_class_uid
        }
        with coded(delivery, accepted, self._scratch) as (file, _):
            self._store(file)
            return file.stat().st_size

    def idle(self) -> None:
        """Ask for storage commitment where something is to be committed to, and disconnect."""
        if self._commitment is not None and self._commitment.is_due():
            try:
                if self._association is None or not self._association.is_established:
                    self._connect([], ())
                assert self._association is not None
                self._commitment.ask(self._association)
            except UnreachableError as error:
                _log.info("commitment not asked for", extra={"reason": str(error)})
        self.close()

    def close(self) -> None:
        """Release the association."""
        association, self._association = self._association, None
        self._proposed = frozenset()
        if association is not None and association.is_established:
            association.release()

    def abort(self) -> None:
        """End the association at once, from another thread."""
        association = self._association
        if association is not None:
            _cut(association)

    def _connect(self, wanted: Sequence[tuple[str, str]], coming: Sequence[Delivery]) -> None:
        """Associate, with presentation contexts for what is to be sent.

        One transfer syntax a context: the peer says of each whether it takes it.
        """
        proposed = dict.fromkeys(wanted)
        for delivery in coming:
            with suppress(RefusedError):  # When its turn comes.
                proposed |= dict.fromkeys(_codings(delivery))
        pairs = list(proposed)[: _MAX_CONTEXTS - 2]
        contexts: list[PresentationContext] = [build_context(*pair) for pair in pairs]
        # Whoever accepts associations accepts this one: else one whose other contexts are all
        # refused would look like no association at all.
        contexts.append(build_context(Verification))
        handlers: list[evt.EventHandlerType] = [(evt.EVT_REQUESTED, self._requested)]
        if self._commitment is not None:
            contexts.append(self._commitment.context())
            handlers += self._commitment.handlers()
        entity = AE(ae_title=self._destination.calling_ae_title)
        entity.connection_timeout = CONNECT_S
        entity.acse_timeout = STALL_S
        entity.dimse_timeout = ANSWER_S
        where = self._destination
        try:
            # Anew each time: certificates are renewed under the same names.
            tls = (client_context(where.tls), where.host) if where.tls is not None else None
            association = entity.associate(
                _address(where.host), where.port, contexts, where.ae_title, tls_args=tls,
                evt_handlers=handlers,
            )  # fmt: skip
        except (ConfigError, OSError) as error:
            raise UnreachableError(str(error)) from None
        if association.is_rejected:
            primitive = association.acceptor.primitive
            raise UnreachableError(
                f"the association was rejected ({primitive.reason_str if primitive else ''})"
            )
        if not association.is_established:
            raise UnreachableError("no association: nobody there, or TLS failed")
        _tune(association)
        self._proposed = frozenset(pairs)

    def _requested(self, event: evt.Event) -> None:
        # Before it is connected: that takes its time, and may have to be aborted.
        self._association = event.assoc

    def _store(self, file: Path) -> None:
        assert self._association is not None
        self._messages = self._messages % 0xFFFF + 1
        try:
            answer = self._association.send_c_store(file, msg_id=self._messages)
        except RuntimeError:
            raise InterruptedSendError("the association had ended") from None
        except (AttributeError, ValueError, OSError) as error:
            raise RefusedError(f"the file cannot be sent ({type(error).__name__})") from None
        if "Status" not in answer:
            raise InterruptedSendError("the association ended, or no answer came")
        status = int(answer.Status)
        if status in _OUT_OF_RESOURCES:
            raise BusyError(f"out of resources (0x{status:04X})")
        kind, words = STORAGE_SERVICE_CLASS_STATUS.get(status, ("Failure", ""))
        # Warnings (PS3.4 B.2.3) are of objects that were stored.
        if status != 0 and kind != "Warning":
            raise RefusedError(f"refused (0x{status:04X} {words})")


class _Pipeline(queue.Queue[Any]):
    """PDUs on their way to the kernel: few, so that what is waited for is progress.

    pynetdicom would take in the whole of an object at once, and then wait for the answer for as
    long as for the answer to a small one.
    """

    def __init__(self, association: Association) -> None:
        super().__init__(_PDUS_AHEAD)
        self._association = association

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Wait for a place while the connection lives and moves; then end it.

        What is put into an ended connection is forgotten: its end is the answer that waits for
        whoever sends.
        """
        stalled = time.monotonic() + STALL_S
        while self._association.dul.is_alive():
            with suppress(queue.Full):
                super().put(item, timeout=0.1)
                return
            if time.monotonic() > stalled:
                _cut(self._association)


def _tune(association: Association) -> None:
    connection = association.dul.socket
    assert connection is not None
    if connection.socket is not None:
        for option in SOCKET_OPTIONS:
            connection.socket.setsockopt(*option)
    association.dul.to_provider_queue = _Pipeline(association)
    for item in association.acceptor.user_information:
        if isinstance(item, MaximumLengthNotification):
            # 0 is without limit.
            item.maximum_length_received = min(item.maximum_length_received or _MAX_PDU, _MAX_PDU)


def _cut(association: Association) -> None:
    """End a connection whatever is being done with it."""
    connection = association.dul.socket
    if connection is not None and connection.socket is not None:
        with suppress(OSError):  # It is gone.
            connection.socket.shutdown(socket.SHUT_RDWR)


def _codings(delivery: Delivery) -> list[tuple[str, str]]:
    return [(delivery.sop_class_uid, syntax) for syntax in transfer_syntaxes(delivery)]


def _address(host: str) -> str:
    """Resolve a name: pynetdicom knows IPv6 by its colons alone."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return str(found[0][4][0])
