"""Studies that somebody has to deal with: found by the unit and not read, or missed by it.

A study that the unit flagged is open until a radiologist has read it, one that a radiologist read
as a tumour though the unit had not flagged it until somebody says that the patient was seen to.
A verdict from the unit's page closes nothing. Anybody may close a case, by name and with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.errors import FeedbackError, RadiographError
from edge_runtime.feedback.decided import FLAGGED, decided, was_told
from edge_runtime.feedback.figures import TUMOURS
from edge_runtime.intake.header import read_patient_name
from edge_runtime.spool import Spool
from edge_runtime.spool.audit import hashed, record

_DAY_S = 86400.0
_HEADERS = (
    "SELECT h.accession_number, h.patient_id, h.study_date FROM film f "
    "JOIN film_header h ON h.film_id = f.id WHERE f.study_instance_uid = ? "
    "AND f.state NOT IN ('superseded', 'withdrawn') ORDER BY f.id"
)


class Case(BaseModel):
    """One study, named so that it is found on the ward."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study_instance_uid: str
    accession_number: str
    patient_id: str
    patient_name: str | None = Field(
        description="None where names are not asked for, blank where the film's file is gone"
    )
    study_date: str = Field(description="as the header has it, YYYYMMDD, or blank")
    age_days: int = Field(description="since its first film came, by the unit's clock")
    decision: str = Field(description="what the unit says, or had said when it was read")
    reading: str | None = Field(description="of a radiologist; None where there is none")


class Cases(BaseModel):
    """Studies, the oldest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cases: tuple[Case, ...]
    in_shadow: int = Field(description="more that were decided in shadow mode and are not listed")


def open_cases(spool: Spool, *, with_names: bool) -> Cases:
    """Return the studies that somebody has to deal with still."""
    flagged = spool.rows(
        "SELECT s.study_instance_uid, s.decision, NULL AS reading FROM study s "
        "WHERE s.decision IN ('urgent_review', 'routine_review') "
        "AND NOT EXISTS (SELECT 1 FROM study_reading r "
        "                WHERE r.study_instance_uid = s.study_instance_uid) "
        "AND NOT EXISTS (SELECT 1 FROM recall_closure c "
        "                WHERE c.study_instance_uid = s.study_instance_uid "
        f"               AND c.decision IN {FLAGGED})"
    )
    missed = spool.rows(
        "SELECT r.study_instance_uid, r.decision, r.reading FROM study_reading r "
        "JOIN study s ON s.study_instance_uid = r.study_instance_uid "
        f"WHERE r.reading IN {TUMOURS} AND r.decision NOT IN {FLAGGED} "
        "AND s.decision IS NOT NULL AND NOT EXISTS (SELECT 1 FROM recall_closure c "
        "  WHERE c.study_instance_uid = r.study_instance_uid AND c.at >= r.entered_at)"
    )
    return _cases(spool, [tuple(row) for row in (*missed, *flagged)], with_names)


def misses(spool: Spool, begins: float, ends: float, *, with_names: bool) -> Cases:
    """Return studies that were read as a tumour and not flagged, by readings linked in a time.

    Parameters
    ----------
    begins, ends
        UTC seconds since 1970.
    """
    return _differing(
        spool, f"r.reading IN {TUMOURS} AND r.decision NOT IN {FLAGGED}", begins, ends, with_names
    )


def false_alarms(spool: Spool, begins: float, ends: float, *, with_names: bool) -> Cases:
    """Return studies that were flagged and read as no tumour, by readings linked in a time."""
    return _differing(
        spool, f"r.reading = 'no_tumour' AND r.decision IN {FLAGGED}", begins, ends, with_names
    )


def close_case(spool: Spool, study_uid: str, person: str, reason: str) -> None:
    """Say that a study needs no recall any more.

    Raises
    ------
    FeedbackError
        No person, or no reason, is named.
    """
    person, reason = person.strip(), reason.strip()
    if not person or not reason:
        raise FeedbackError("a closure needs a named person and a reason", "Give both")
    now = spool.now()
    with spool.transaction() as execute:
        said = decided(spool, study_uid)
        decision = said.decision if said else None
        execute(
            "INSERT INTO recall_closure (study_instance_uid, decision, person, reason, at) "
            "VALUES (?, ?, ?, ?, ?)",
            study_uid, decision, person, reason, now,
        )  # fmt: skip
        record(
            execute, now, "recall closed", study=hashed(study_uid), decision=decision,
            person=person, reason=reason,
        )  # fmt: skip


def _differing(spool: Spool, what: str, begins: float, ends: float, with_names: bool) -> Cases:
    rows = spool.rows(
        "SELECT r.study_instance_uid, r.decision, r.reading FROM study_reading r "
        "JOIN study s ON s.study_instance_uid = r.study_instance_uid "
        f"JOIN read_link l ON l.read_id = r.id WHERE {what} AND s.decision IS NOT NULL "
        "AND l.linked_at >= ? AND l.linked_at < ?",
        begins, ends,
    )  # fmt: skip
    return _cases(spool, [tuple(row) for row in rows], with_names)


def _cases(spool: Spool, found: list[tuple[str, str, str | None]], with_names: bool) -> Cases:
    listed, in_shadow = [], 0
    for study_uid, decision, reading in found:
        said = decided(spool, study_uid)
        # Shadow mode tells nobody what the unit found: not in a list either.
        if said is None or not (said.live or was_told(spool, study_uid)):
            in_shadow += 1
            continue
        headers = spool.rows(_HEADERS, study_uid)
        came = spool.rows(
            "SELECT MIN(received_at) FROM film WHERE study_instance_uid = ?", study_uid
        )[0][0]
        listed.append(
            Case(
                study_instance_uid=study_uid,
                accession_number=_each(header["accession_number"] for header in headers),
                patient_id=_each(header["patient_id"] for header in headers),
                study_date=_each(header["study_date"] for header in headers),
                age_days=max(0, int((spool.now() - came) // _DAY_S)),
                decision=decision,
                reading=reading,
                patient_name=_names(spool, study_uid) if with_names else None,
            )
        )
    # The oldest first; of one day, those that were missed and those that are urgent.
    listed.sort(key=lambda c: (-c.age_days, c.reading is None, c.decision != "urgent_review"))
    return Cases(cases=tuple(listed), in_shadow=in_shadow)


def _names(spool: Spool, study_uid: str) -> str:
    """Return the patient's name from films that lie there still; it is kept nowhere else."""
    names = []
    for film in spool.rows(
        "SELECT path FROM film WHERE study_instance_uid = ? AND removed_at IS NULL "
        "AND state NOT IN ('superseded', 'withdrawn') ORDER BY id",
        study_uid,
    ):
        with suppress(RadiographError, OSError):
            names.append(read_patient_name(spool.folder / film["path"]))
    return _each(names)


def _each(values: Iterable[str]) -> str:
    """Return what films of one study say: all of it, where they contradict each other."""
    return " / ".join(dict.fromkeys(value for value in values if value))
