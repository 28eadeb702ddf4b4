"""What a file that came in is, and what is done with it: the same by network and by folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import KeyObjectSelectionDocumentStorage

from edge_runtime.dicom_file import parse_dicom
from edge_runtime.errors import ContradictionError, RadiographError, UnsupportedRadiographError
from edge_runtime.intake.header import identify
from edge_runtime.rejection import RejectionNote, parse_rejection_note
from edge_runtime.spool import Spool
from edge_runtime.spool.admission import (
    FilmIdentity,
    Received,
    admit,
    quarantine,
    take_rejection,
)

# Ten thousand images and their evidence. Beyond that it is no rejection note.
_MAX_NOTE = 16 << 20


@dataclass(frozen=True)
class Arrival:
    """A file that lies whole and synced among those that are coming in, and what it is.

    Attributes
    ----------
    content
        The error says why it is neither film nor rejection note.
    """

    received: Received
    content: FilmIdentity | RejectionNote | RadiographError


def understand(file: Path, source: str, claimed: tuple[str, str] | None = None) -> Arrival:
    """Say what a file is.

    Parameters
    ----------
    source
        Who sent it, for people.
    claimed
        SOP Class and SOP Instance UID that it was announced with.
    """
    content: FilmIdentity | RejectionNote | RadiographError
    content, digest = identify(file)
    received = Received(file, digest, file.stat().st_size, source)
    if isinstance(content, FilmIdentity):
        if claimed not in (None, (content.sop_class_uid, content.sop_instance_uid)):
            content = ContradictionError.because("announced", file.name)
        elif content.sop_class_uid == KeyObjectSelectionDocumentStorage:
            # Of another title it is no film either: it must not make its study `unable`.
            content = _rejection(file, received.size) or UnsupportedRadiographError.because(
                "key_object", file.name
            )
    return Arrival(received, content)


def enter(spool: Spool, arrival: Arrival) -> str:
    """Take a file into the spool, durably; return what that came to, in a word.

    Raises
    ------
    SpoolFullError, SpoolError
        Nothing was taken; the file lies where it was.
    """
    match arrival.content:
        case FilmIdentity() as film:
            return admit(spool, arrival.received, film).value
        case RejectionNote() as note:
            take_rejection(spool, arrival.received, note.reason, note.rejected)
            return "rejection note"
        case error:
            quarantine(spool, arrival.received, error.what)
            return "quarantined"


def _rejection(file: Path, size: int) -> RejectionNote | RadiographError | None:
    if size > _MAX_NOTE:
        return None
    try:
        return parse_rejection_note(parse_dicom(file.read_bytes(), file.name), file.name)
    except RadiographError as error:
        return error
