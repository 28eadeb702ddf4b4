"""What people said of studies: a verdict on the unit's decision, or a reading of their own.

A read is never changed. A later one of the same reader, of the same kind, supersedes it; both stay.
What names a study that the unit does not have is kept, unlinked, until the study comes.

Readers are named as they were given, here and in the audit log, as are those who change the mode or
withdraw a film: who said it is what makes it a read. Reports count readers and name none.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import Literal

from edge_runtime.errors import (
    FeedbackError,
    ShadowModeError,
    UndecidedStudyError,
    UnknownStudyError,
)
from edge_runtime.feedback.decided import Decided, decided
from edge_runtime.spool import Spool
from edge_runtime.spool.audit import hashed, record
from edge_runtime.spool.database import Execute

Verdict = Literal["agree", "disagree", "not_sure"]
Reading = Literal["no_tumour", "benign", "malignant", "not_sure"]
Source = Literal["page", "csv", "sr"]

_GONE = "('superseded', 'withdrawn')"


@dataclass(frozen=True)
class Read:
    """What somebody said of one study.

    Attributes
    ----------
    study_instance_uid, accession_number
        One of them names the study; the other may be blank.
    verdict
        On the unit's decision; or else `reading` is not None.
    subtype, other_finding
        Terms of the label map joined by ``;``, or blank.
    read_at
        UTC seconds since 1970.
    """

    study_instance_uid: str
    accession_number: str
    verdict: Verdict | None
    reading: Reading | None
    subtype: str
    other_finding: str
    comment: str
    reader: str
    source: Source
    read_at: float

    @property
    def content_sha256(self) -> str:
        """Of all of it: the same words of the same reader at the same time are the same read."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()


class Entered(StrEnum):
    """What entering a read came to."""

    LINKED = "linked"
    UNLINKED = "unlinked"  # the unit has no such study, or has not said anything of it
    KNOWN = "known"  # entered before


def add_read(spool: Spool, study_uid: str, verdict: Verdict, reason: str, reader: str) -> int:
    """Add a verdict that somebody gave at the unit; return the id of the read.

    Parameters
    ----------
    reason
        In their own words, may be blank.
    reader
        Who they are, for people.

    Raises
    ------
    UnknownStudyError
        The unit has no such study.
    UndecidedStudyError
        It has not said anything of it, or took it back.
    ShadowModeError
        Nobody could see what it said, or the unit is in shadow mode now.
    FeedbackError
        No reader is named.
    """
    if not reader.strip():
        raise FeedbackError("nobody is named who says it", "Name the reader")
    with spool.transaction() as execute:
        now = spool.now()
        said = decided(spool, study_uid)
        if said is None:
            raise _unsaid(spool, study_uid)
        mode = spool.row("SELECT live FROM mode ORDER BY id DESC LIMIT 1")
        if not said.live or mode is None or not mode["live"]:
            raise ShadowModeError(
                "in shadow mode the unit tells nobody what it found in a study",
                "Take the unit live first: osteoedge mode live",
            )
        read = Read(
            study_instance_uid=study_uid,
            accession_number="",
            verdict=verdict,
            reading=None,
            subtype="",
            other_finding="",
            comment=reason.strip(),
            reader=reader.strip(),
            source="page",
            read_at=now,
        )
        known = _known(spool, read)
        return _insert(execute, read, said, now) if known is None else known


def enter_read(spool: Spool, execute: Execute, read: Read) -> Entered:
    """Enter a read, within a transaction, and link it where the unit has decided on its study.

    Raises
    ------
    FeedbackError
        Its accession number is that of several studies, or of another than it names.
    """
    if _known(spool, read) is not None:
        return Entered.KNOWN
    study = _study_of(spool, read.study_instance_uid, read.accession_number)
    said = None if study is None else decided(spool, study)
    _insert(execute, read, said, spool.now())
    return Entered.UNLINKED if said is None else Entered.LINKED


def link_reads(spool: Spool) -> int:
    """Link reads to studies that have come, or been decided on, since; return how many."""
    waiting = spool.rows(
        "SELECT * FROM read r WHERE NOT EXISTS (SELECT 1 FROM read_link l WHERE l.read_id = r.id) "
        "ORDER BY id"
    )
    # A look first: of a hospital's whole list, most may be of studies that never come here.
    found = [(row["id"], study) for row in waiting if (study := _waiting_for(spool, row))]
    if not found:
        return 0
    linked = 0
    with spool.transaction() as execute:
        for read_id, study in found:
            said = decided(spool, study)
            other = spool.row("SELECT 1 FROM read_link WHERE read_id = ?", read_id)
            if said is None or other is not None:
                continue
            _link(execute, read_id, said, spool.now())
            record(
                execute, spool.now(), "read linked", read=read_id,
                study=hashed(said.study_instance_uid), revision=said.revision,
                decision=said.decision,
            )  # fmt: skip
            linked += 1
    return linked


def last_verdict(spool: Spool, study_uid: str) -> Verdict | None:
    """Return the newest verdict on a study, of anybody; None: there is none."""
    row = spool.row(
        "SELECT verdict FROM current_read WHERE study_instance_uid = ? AND verdict IS NOT NULL "
        "ORDER BY read_at DESC, id DESC LIMIT 1",
        study_uid,
    )
    return None if row is None else row["verdict"]


def named_study(spool: Spool, name: str) -> str:
    """Return the UID of a study that is named by its UID or accession number.

    Raises
    ------
    UnknownStudyError
        The unit has none.
    FeedbackError
        Several have that accession number.
    """
    found = _study_of(spool, name, "") or _study_of(spool, "", name)
    if found is None:
        raise UnknownStudyError("the unit has no such study", "Check the number")
    return found


def _unsaid(spool: Spool, study_uid: str) -> FeedbackError:
    if _study_of(spool, study_uid, "") is None:
        return UnknownStudyError("the unit has no such study", "Check its Study Instance UID")
    return UndecidedStudyError(
        "the unit has said nothing of this study, or took it back",
        "Wait until its films are checked",
    )


def _study_of(spool: Spool, study_uid: str, accession_number: str) -> str | None:
    """Return the study that is meant; None: it has not come."""
    if accession_number:
        found = {
            row["study_instance_uid"]
            for row in spool.rows(
                "SELECT DISTINCT f.study_instance_uid FROM film_header h "
                "JOIN film f ON f.id = h.film_id WHERE h.accession_number = ? "
                f"AND h.accession_number <> '' AND f.state NOT IN {_GONE}",
                accession_number,
            )
        }
        if study_uid and found and study_uid not in found:
            raise FeedbackError(
                "its accession number is that of another study than its study_instance_uid",
                "Keep the one that is right",
            )
        if len(found) > 1 and not study_uid:
            raise FeedbackError(
                f"its accession number is that of {len(found)} studies",
                "Name the study by study_instance_uid",
            )
        if not study_uid:
            return next(iter(found), None)
    film = spool.row("SELECT 1 FROM film WHERE study_instance_uid = ? LIMIT 1", study_uid)
    return None if film is None else study_uid


def _waiting_for(spool: Spool, read: sqlite3.Row) -> str | None:
    try:
        return _study_of(spool, read["study_instance_uid"], read["accession_number"])
    except FeedbackError:
        # It was sound when it was entered; a later study took its accession number.
        return None


def _known(spool: Spool, read: Read) -> int | None:
    row = spool.row("SELECT id FROM read WHERE content_sha256 = ?", read.content_sha256)
    return None if row is None else int(row["id"])


def _insert(execute: Execute, read: Read, said: Decided | None, now: float) -> int:
    read_id = execute(
        "INSERT INTO read (content_sha256, study_instance_uid, accession_number, verdict, reading, "
        "subtype, other_finding, comment, reader, source, read_at, entered_at) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
        read.content_sha256, *astuple(read), now,
    ).lastrowid  # fmt: skip
    assert read_id is not None
    if said is not None:
        _link(execute, read_id, said, now)
    record(
        execute, now, "read", read=read_id,
        study=hashed(said.study_instance_uid if said else read.study_instance_uid or
                     read.accession_number),
        said=read.verdict or read.reading, reader=read.reader, source=read.source,
        revision=said.revision if said else None, decision=said.decision if said else None,
    )  # fmt: skip
    return read_id


def _link(execute: Execute, read_id: int, said: Decided, now: float) -> None:
    execute(
        "INSERT INTO read_link VALUES (?, ?, ?, ?, ?, ?)",
        read_id, said.study_instance_uid, said.revision, said.decision, said.bundle_sha256, now,
    )  # fmt: skip
