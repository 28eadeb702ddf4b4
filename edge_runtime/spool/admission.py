"""Take what was received into the spool: durable when it returns, once for the same bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from enum import StrEnum
from pathlib import Path

from edge_runtime.rejection import Reason
from edge_runtime.spool.audit import hashed, record
from edge_runtime.spool.database import FILMS, QUARANTINE, Execute, Spool, sync_folder
from edge_runtime.spool.states import ENDED, FilmState
from edge_runtime.spool.withdrawal import supersede, withdraw_film
from edge_runtime.spool.work import WORK_SETTING


@dataclass(frozen=True)
class Received:
    """A file that lies whole and synced among those that are coming in.

    Attributes
    ----------
    content_sha256
        Of the transfer syntax UID and the data set's bytes, without file meta information: the
        same film by network and by folder has the same.
    source
        Who sent it, for people: 'dicom:CONSOLE', 'folder:/media/usb'.
    """

    path: Path
    content_sha256: str
    size: int
    source: str


@dataclass(frozen=True)
class FilmHeader:
    """What of a film's header is kept when its file is gone; blank where it says nothing.

    Attributes
    ----------
    study_date
        YYYYMMDD.
    """

    accession_number: str = ""
    patient_id: str = ""
    study_date: str = ""
    body_part: str = ""
    laterality: str = ""
    view: str = ""


@dataclass(frozen=True)
class FilmIdentity:
    """Which film it is.

    Attributes
    ----------
    patient_sha256
        Of the patient's identity; another one for the same instance is a correction of it.
    urgency
        As requested: 0 stat, 1 high, 2 routine.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    patient_sha256: str
    urgency: int
    header: FilmHeader = FilmHeader()


class Outcome(StrEnum):
    """What admitting a film came to."""

    NEW = "new"
    DUPLICATE = "duplicate"
    REVISED = "revised"  # another content of a known instance: supersedes it
    AGAIN = "again"  # the same content, but its result was made by other software or settings
    WITHDRAWN = "withdrawn"  # a rejection note had come before it


def admit(spool: Spool, received: Received, film: FilmIdentity) -> Outcome:
    """Take a film in. It is durable, and so is its place in the queue, when this returns.

    Raises
    ------
    SpoolFullError, SpoolError
        Nothing was taken; the received file lies where it was.
    """
    target = spool.folder / FILMS / received.content_sha256[:2] / f"{received.content_sha256}.dcm"
    now = spool.now()
    with _moving(received.path, target) as move, spool.transaction() as execute:
        known = execute(
            "SELECT * FROM film WHERE sop_instance_uid = ? AND content_sha256 = ?",
            film.sop_instance_uid, received.content_sha256,
        ).fetchone()  # fmt: skip
        if known is not None:
            outcome = _again(execute, spool, known)
        else:
            outcome = _enter(execute, spool, received, film, target)
            # The rename is inside the transaction: whoever holds the writers' lock sees
            # either a film and its row, or neither, or an orphan that nobody is working on.
            move()
        record(
            execute, now, "received", film=hashed(film.sop_instance_uid),
            content=received.content_sha256, source=received.source, outcome=outcome,
        )  # fmt: skip
    received.path.unlink(missing_ok=True)
    return outcome


def _again(execute: Execute, spool: Spool, film: sqlite3.Row) -> Outcome:
    """Screen a film anew that was sent again, if other work would be done on it than was."""
    work = spool.setting(WORK_SETTING)
    result = execute("SELECT work FROM result WHERE film_id = ? AND current", film["id"]).fetchone()
    if work is None or result is None or result["work"] == work or film["removed_at"]:
        return Outcome.DUPLICATE
    if film["state"] not in (*ENDED, FilmState.DELIVERED):
        return Outcome.DUPLICATE
    execute(
        "UPDATE film SET state = ?, state_since = ?, starts = 0 WHERE id = ?",
        FilmState.RECEIVED, spool.now(), film["id"],
    )  # fmt: skip
    return Outcome.AGAIN


def _enter(
    execute: Execute, spool: Spool, received: Received, film: FilmIdentity, target: Path
) -> Outcome:
    now = spool.now()
    earlier = execute(
        "SELECT * FROM film WHERE sop_instance_uid = ? ORDER BY revision DESC LIMIT 1",
        film.sop_instance_uid,
    ).fetchone()
    outcome, state, reason = Outcome.NEW, FilmState.RECEIVED, None
    if earlier is not None:
        outcome = Outcome.REVISED
    else:
        awaited = execute(
            "SELECT r.reason FROM rejected_instance i JOIN rejection r ON r.id = i.rejection_id "
            "WHERE i.sop_instance_uid = ? AND i.awaited", film.sop_instance_uid,
        ).fetchone()  # fmt: skip
        if awaited is not None:
            outcome, state = Outcome.WITHDRAWN, FilmState.WITHDRAWN
            reason = Reason(awaited["reason"]).words
            execute(
                "UPDATE rejected_instance SET awaited = 0 WHERE sop_instance_uid = ?",
                film.sop_instance_uid,
            )
    film_id = execute(
        "INSERT INTO film (sop_instance_uid, revision, content_sha256, sop_class_uid, "
        "series_instance_uid, study_instance_uid, patient_sha256, path, size, source, urgency, "
        "received_at, state, state_since, reason) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        film.sop_instance_uid, 1 if earlier is None else earlier["revision"] + 1,
        received.content_sha256, film.sop_class_uid, film.series_instance_uid,
        film.study_instance_uid, film.patient_sha256, str(target.relative_to(spool.folder)),
        received.size, received.source, film.urgency, now, state, now, reason,
    ).lastrowid  # fmt: skip
    assert film_id is not None
    keep_header(execute, film_id, film.header)
    if earlier is not None:
        corrected = earlier["patient_sha256"] != film.patient_sha256
        supersede(execute, earlier, now, patient_corrected=corrected)
    return outcome


def keep_header(execute: Execute, film_id: int, header: FilmHeader) -> None:
    """Keep what of a film's header outlives its file, within a transaction."""
    execute("INSERT INTO film_header VALUES (?,?,?,?,?,?,?)", film_id, *astuple(header))


def quarantine(spool: Spool, received: Received, reason: str) -> None:
    """Keep what cannot be understood, and why.

    Raises
    ------
    SpoolFullError, SpoolError
        It was not kept; the received file lies where it was.
    """
    target = spool.folder / QUARANTINE / f"{received.content_sha256}.dcm"
    with _moving(received.path, target) as move, spool.transaction() as execute:
        execute(
            "INSERT INTO quarantine (content_sha256, path, size, source, reason, received_at) "
            "VALUES (?,?,?,?,?,?) ON CONFLICT (content_sha256) DO UPDATE SET "
            "reason = excluded.reason, received_at = excluded.received_at, removed_at = NULL",
            received.content_sha256, str(target.relative_to(spool.folder)), received.size,
            received.source, reason, spool.now(),
        )  # fmt: skip
        record(
            execute, spool.now(), "quarantined", content=received.content_sha256,
            source=received.source, reason=reason,
        )  # fmt: skip
        move()


def take_rejection(
    spool: Spool, received: Received, reason: Reason, rejected: Iterable[str]
) -> int:
    """Withdraw what a rejection note names, now or when it comes; return how many films it is.

    The same note again withdraws nothing more.

    Parameters
    ----------
    rejected
        SOP Instance UIDs.
    """
    now = spool.now()
    withdrawn = 0
    with spool.transaction() as execute:
        if execute(
            "SELECT 1 FROM rejection WHERE content_sha256 = ?", received.content_sha256
        ).fetchone():
            received.path.unlink(missing_ok=True)
            return 0
        note = execute(
            "INSERT INTO rejection (content_sha256, reason, source, received_at) VALUES (?,?,?,?)",
            received.content_sha256, reason, received.source, now,
        ).lastrowid  # fmt: skip
        for uid in dict.fromkeys(rejected):
            films = execute("SELECT * FROM film WHERE sop_instance_uid = ?", uid).fetchall()
            for film in films:
                withdrawn += withdraw_film(execute, film, reason, now)
            execute("INSERT INTO rejected_instance VALUES (?, ?, ?)", note, uid, not films)
        record(
            execute, now, "rejection note", source=received.source, reason=reason.words,
            films=withdrawn,
        )  # fmt: skip
    received.path.unlink(missing_ok=True)
    return withdrawn


def sweep(spool: Spool, incoming: Path) -> int:
    """Delete what was received but never acknowledged; return how many files that were.

    Parameters
    ----------
    incoming
        The caller's own folder of those that are coming in: nobody else writes to it.
    """
    removed = 0
    for file in incoming.iterdir():
        file.unlink(missing_ok=True)
        removed += 1
    # Films are moved under the writers' lock, so that no film is on its way while it is held.
    with spool.transaction() as execute:
        for folder, table in ((FILMS, "film"), (QUARANTINE, "quarantine")):
            for file in (spool.folder / folder).rglob("*.dcm"):
                path = str(file.relative_to(spool.folder))
                if not execute(f"SELECT 1 FROM {table} WHERE path = ?", path).fetchone():
                    file.unlink(missing_ok=True)
                    removed += 1
    return removed


@contextmanager
def _moving(file: Path, target: Path) -> Iterator[Callable[[], None]]:
    """Give what renames a file durably; where its row is not committed, it is moved back."""
    moved = False

    def move() -> None:
        nonlocal moved
        if not target.parent.exists():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            sync_folder(target.parent.parent)
        # The same bytes may lie there, of a row that is committed: then nothing is to be undone.
        there = target.exists()
        file.rename(target)
        moved = not there
        sync_folder(target.parent)

    try:
        yield move
    except BaseException:
        if moved:
            target.rename(file)
        raise
