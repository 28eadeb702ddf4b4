"""From the spool's rows to what the API answers.

In shadow mode nothing of a result is told, and what was made in shadow mode stays untold when the
unit goes live.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from edge_runtime.bundle import ModelBundle
from edge_runtime.console.documents import (
    ConsoleDrift,
    ConsoleStatus,
    DeliveryView,
    DriftNote,
    FilmResult,
    FilmView,
    ModeName,
    Study,
    StudyLine,
    StudyList,
    StudyState,
)
from edge_runtime.console.headers import FilmHeader, FilmHeaders
from edge_runtime.console.problems import RefusedError
from edge_runtime.decision import Decision
from edge_runtime.drift.status import drift_status
from edge_runtime.feedback.reads import last_verdict
from edge_runtime.phrases import Phrase, say
from edge_runtime.policy import Language
from edge_runtime.screening import Screening
from edge_runtime.spool import FilmState, Spool
from edge_runtime.spool.database import utc
from edge_runtime.spool.states import TAKEN_BACK
from edge_runtime.summary import film_summary, study_summary, to_do
from edge_runtime.unit import figures
from edge_runtime.unit.config import UnitConfig
from edge_runtime.unit.machine import battery, temperature_c
from edge_runtime.unit.mode import current_mode
from edge_runtime.unit.status import delegate_of, destinations_of, disk_of

_HAS_RESULT = (FilmState.UNABLE, FilmState.DELIVERED, FilmState.QUARANTINED)
# A film, and of its result what a line tells.
_FILMS = (
    "SELECT f.*, r.decision, r.made_at, r.document FROM film f "
    "LEFT JOIN result r ON r.film_id = f.id AND r.current WHERE f.state <> 'superseded' "
)


def told_since(spool: Spool, bundle: ModelBundle) -> float | None:
    """Return since when results may be told, UTC seconds since 1970; None in shadow mode."""
    mode = current_mode(spool, bundle)
    return mode.since if mode.live else None


def must_tell(spool: Spool, bundle: ModelBundle) -> float:
    """Return since when results may be told.

    Raises
    ------
    RefusedError
        The unit is in shadow mode.
    """
    since = told_since(spool, bundle)
    if since is None:
        raise RefusedError(
            403,
            "the unit is in shadow mode: it checks films and tells nothing",
            "Let results out with 'osteoedge mode live', if you may",
        )
    return since


def status_of(
    unit: UnitConfig, spool: Spool, bundle: ModelBundle, language: Language
) -> ConsoleStatus:
    """Return how the unit does."""
    live = told_since(spool, bundle) is not None
    films = figures.films_by_state(spool)
    if not live:
        for state in _HAS_RESULT:
            films[FilmState.REPORTED] += films.pop(state)
    delegate, degraded = delegate_of(spool)
    return ConsoleStatus(
        notice=_notice("en"),
        unit=unit.name,
        at=utc(spool.now()),
        mode=_mode(live),
        films=films,
        oldest_waiting_s=figures.oldest_waiting_s(spool),
        quarantined=sum(figures.quarantined(spool).values()),
        destinations=destinations_of(unit, spool, spool.now()),
        disk=disk_of(unit, spool),
        battery=battery(),
        temperature_c=temperature_c(),
        delegate=None if delegate is None else delegate.name,
        degraded=degraded,
        drift=_drift(spool, language) if live else None,
    )


def _drift(spool: Spool, language: Language) -> ConsoleDrift:
    found = drift_status(spool)
    return ConsoleDrift(
        available=found.available,
        reason=found.reason,
        alarms=tuple(
            DriftNote(
                figure=alarm.figure,
                since=alarm.since,
                text=_sentence(say(alarm.phrase, language)),
                action_text=_sentence(say(alarm.action_phrase, language)),
            )
            for alarm in found.alarms
        ),
    )


def studies_of_day(
    spool: Spool, bundle: ModelBundle, headers: FilmHeaders, day: date | None, language: Language
) -> StudyList:
    """Return the studies of which a film came on a day, newest first.

    Parameters
    ----------
    day
        Local time; None for today.
    """
    now, since = spool.now(), told_since(spool, bundle)
    day = day or datetime.fromtimestamp(now).date()
    span = _seconds_of(day)
    lines = [] if since is None else list(_lines(spool, headers, span, since, language))
    return StudyList(
        mode=_mode(since is not None),
        notice=_notice(language),
        at=utc(now),
        day=day,
        studies=tuple(sorted(lines, key=lambda line: line.received_at, reverse=True)),
    )


def study_of(
    spool: Spool, bundle: ModelBundle, headers: FilmHeaders, uid: str, language: Language
) -> Study:
    """Return a study with its films.

    Raises
    ------
    RefusedError
        There is none, or nothing is told.
    """
    since = must_tell(spool, bundle)
    films = spool.rows(_FILMS + "AND f.study_instance_uid = ? ORDER BY f.id", uid)
    if not films:
        raise RefusedError(404, "no study with this UID is here", "Check the UID")
    row = spool.row("SELECT * FROM study WHERE study_instance_uid = ?", uid)
    live = [film for film in films if film["state"] not in TAKEN_BACK]
    found = _gathered(spool, headers, live or films, row, since, language)
    views = tuple(_film_view(spool.folder, headers, film, since, language) for film in films)
    told = row is not None and found["decision"] is not None
    screenings = [view.screening for view in views if view.screening is not None]
    summary = study_summary(found["decision"], screenings) if told and screenings else ()
    return Study(
        **found,
        notice=_notice(language),
        summary=tuple(say(phrase, language) for phrase in summary),
        reasons=tuple(json.loads(row["reasons"])) if row is not None and told else (),
        revision=row["revision"] if row is not None and told else None,
        films=views,
        deliveries=tuple(_deliveries(spool, uid)),
    )


def film_of(spool: Spool, bundle: ModelBundle, uid: str) -> FilmResult:
    """Return how far a film is, and its result.

    Raises
    ------
    RefusedError
        There is none, or nothing is told.
    """
    film = newest_film(spool, bundle, uid)
    return FilmResult(
        sop_instance_uid=uid,
        study_instance_uid=film.row["study_instance_uid"],
        state=_told_state(film.row, film.screening),
        reason=film.row["reason"],
        received_at=utc(film.row["received_at"]),
        screening=film.screening,
    )


@dataclass(frozen=True)
class NewestFilm:
    """The newest content of a film.

    Attributes
    ----------
    screening
        None: none yet, or none that is told.
    """

    row: sqlite3.Row
    path: Path
    screening: Screening | None


def newest_film(spool: Spool, bundle: ModelBundle, uid: str) -> NewestFilm:
    """Return the newest content of a film.

    Raises
    ------
    RefusedError
        There is none, or nothing is told.
    """
    since = must_tell(spool, bundle)
    row = spool.row(_FILMS + "AND f.sop_instance_uid = ? ORDER BY f.revision DESC LIMIT 1", uid)
    if row is None:
        raise RefusedError(404, "no film with this UID is here", "Check the UID")
    return NewestFilm(row, spool.folder / row["path"], _screening(row, since))


def study_state(films: Iterable[str], reported: bool) -> StudyState:
    """Return how far a study is.

    Parameters
    ----------
    films
        States of its films, those that were taken back left out.
    reported
        Whether it was decided on since a film of it last changed.
    """
    states = set(films)
    if FilmState.SCREENING in states:
        return "checking"
    if states & {FilmState.RECEIVED, FilmState.FAILED}:
        return "waiting"
    return "done" if reported else "checking"


def told_decision(study: sqlite3.Row | None, since: float) -> Decision | None:
    """Return the decision on a study; the last one stands while another film is being checked."""
    if study is None or study["updated_at"] < since:
        return None
    decision: Decision | None = study["decision"]
    return decision


def _lines(
    spool: Spool, headers: FilmHeaders, span: tuple[float, float], since: float, language: Language
) -> Iterator[StudyLine]:
    of_day = "(SELECT study_instance_uid FROM film WHERE received_at >= ? AND received_at < ?)"
    films: defaultdict[str, list[sqlite3.Row]] = defaultdict(list)
    for film in spool.rows(
        f"{_FILMS} AND f.state <> 'withdrawn' AND f.study_instance_uid IN {of_day} ORDER BY f.id",
        *span,
    ):
        films[film["study_instance_uid"]].append(film)
    rows = spool.rows(f"SELECT * FROM study WHERE study_instance_uid IN {of_day}", *span)
    decided = {row["study_instance_uid"]: row for row in rows}
    for uid, of_study in films.items():
        found = _gathered(spool, headers, of_study, decided.get(uid), since, language)
        yield StudyLine(**found, films=len(of_study))


def _gathered(
    spool: Spool,
    headers: FilmHeaders,
    films: Sequence[sqlite3.Row],
    study: sqlite3.Row | None,
    since: float,
    language: Language,
) -> dict[str, Any]:
    """Return the fields of StudyFacts, of one film or more."""
    uid = films[0]["study_instance_uid"]
    facts = [headers.of(film["id"], spool.folder / film["path"]) for film in films]
    results = [
        json.loads(film["document"])
        for film in films
        if film["document"] is not None and film["made_at"] >= since
    ]
    decision = told_decision(study, since) if results else None
    # Only these say more than their decision does.
    unable = [
        Screening.model_validate(result)
        for result in results
        if decision == "unable" and result["decision"] == "unable"
    ]
    reported = study is not None and study["reported"] >= study["revision"]
    parts = dict.fromkeys(fact.body_part for fact in facts if fact.body_part is not None)
    return {
        "study_instance_uid": uid,
        "patient_name": _all(facts, "patient_name"),
        "patient_id": _all(facts, "patient_id"),
        "accession_number": _all(facts, "accession_number"),
        "body_parts": tuple(parts),
        "received_at": utc(max(film["received_at"] for film in films)),
        "state": study_state((film["state"] for film in films), reported),
        "decision": decision,
        "decision_text": _headline(decision, language),
        "action_text": _action(decision, unable, language),
        "synthetic": any(result.get("synthetic", False) for result in results),
        "degraded": any(result.get("degraded") for result in results),
        "read": last_verdict(spool, uid),
    }


def _film_view(
    folder: Path, headers: FilmHeaders, film: sqlite3.Row, since: float, language: Language
) -> FilmView:
    header = headers.of(film["id"], folder / film["path"])
    screening = _screening(film, since)
    told = None if screening is None else screening.decision
    summary = () if screening is None else film_summary(screening)
    return FilmView(
        sop_instance_uid=film["sop_instance_uid"],
        state=_told_state(film, screening),
        received_at=utc(film["received_at"]),
        reason=film["reason"],
        body_part=header.body_part,
        view=header.view,
        laterality=header.laterality,
        rows=header.rows,
        columns=header.columns,
        decision=told,
        decision_text=_headline(told, language),
        action_text=_action(told, [screening] if screening else [], language),
        summary=tuple(say(phrase, language) for phrase in summary),
        reasons=screening.reasons if screening else (),
        quality=screening.quality if screening else (),
        probabilities=screening.probabilities if screening else None,
        tumour_probability=screening.tumour_probability if screening else None,
        operating_points=screening.operating_points if screening else (),
        lesions=screening.lesions if screening else (),
        out_of_distribution=screening.out_of_distribution if screening else None,
        context=screening.context if screening else None,
        degraded=screening.degraded if screening else (),
        delegate=screening.delegate.name if screening else None,
        bundle=screening.bundle if screening else None,
        screening=screening,
    )


def _screening(film: sqlite3.Row, since: float) -> Screening | None:
    """Return a film's result if it may be told."""
    if film["document"] is None or film["made_at"] < since or film["state"] in TAKEN_BACK:
        return None
    return Screening.model_validate_json(film["document"])


def _told_state(film: sqlite3.Row, screening: Screening | None) -> FilmState:
    """Return a film's state, without what it would tell of a result that is not told."""
    state = FilmState(film["state"])
    return FilmState.REPORTED if screening is None and state in _HAS_RESULT else state


def _headline(decision: Decision | None, language: Language) -> str | None:
    return None if decision is None else say(Phrase(key=f"decision.{decision}"), language)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _action(
    decision: Decision | None, films: Sequence[Screening], language: Language
) -> str | None:
    """Return what to do now, and where a film could not be checked, why."""
    if decision is None:
        return None
    return _sentence(" ".join(say(phrase, language) for phrase in to_do(decision, films)))


def _deliveries(spool: Spool, study_uid: str) -> Iterator[DeliveryView]:
    for row in spool.rows(
        "SELECT x.destination, d.kind, x.state, x.sent_at, x.error FROM document d "
        "JOIN delivery x ON x.document_id = d.id WHERE d.study_instance_uid = ? ORDER BY x.id",
        study_uid,
    ):
        yield DeliveryView(
            destination=row["destination"],
            kind=row["kind"],
            state=row["state"],
            sent_at=None if row["sent_at"] is None else utc(row["sent_at"]),
            error=row["error"],
        )


def _all(facts: Iterable[FilmHeader], name: str) -> str | None:
    """Return what the films of a study say; where they differ, every answer."""
    said = dict.fromkeys(getattr(fact, name) for fact in facts)
    return " / ".join(filter(None, said)) or None


def _seconds_of(day: date) -> tuple[float, float]:
    """Return when a day begins and ends, local time; nothing where the clock cannot tell."""
    begins = datetime.combine(day, time())
    try:
        return begins.timestamp(), (begins + timedelta(days=1)).timestamp()
    except (OverflowError, ValueError):
        # At the ends of the calendar; no film came then.
        return 0.0, 0.0


def _notice(language: Language) -> str:
    return say(Phrase(key="notice.standing"), language)


def _mode(live: bool) -> ModeName:
    return "live" if live else "shadow"
