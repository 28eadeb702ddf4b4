"""DIMSE messages as they come in: films to the disk, all else to little memory.

pynetdicom keeps a whole film in memory, or writes it to a temporary file in a thread that a full
disk ends.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable
from typing import Any

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA

from edge_runtime.errors import SpoolError
from edge_runtime.intake.receiving import IncomingFile
from edge_runtime.intake.transport import refused

log = logging.getLogger(__name__)

_COMMAND_BYTES = 16 << 10
# What else than films has a data set: an answer on storage commitment.
_OTHER_BYTES = 4 << 20
# Of requests: no more than one at a time is agreed on (PS3.7 D.3.3.3).
_WAITING = 2
_THREADS = 256

Allocate = Callable[[], IncomingFile]


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
