"""Counts of a week, and how what was read agrees with what the unit decided.

All are aggregates of SQL over indices; only films that could not be checked are looked at one by
one, for their reasons.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.feedback.decided import FLAGGED
from edge_runtime.feedback.intervals import Share, share
from edge_runtime.feedback.week import Week
from edge_runtime.spool import Spool

DECISIONS = ("urgent_review", "routine_review", "not_flagged", "unable")
READINGS = ("no_tumour", "benign", "malignant")
TUMOURS = ("benign", "malignant")
VERDICTS = ("agree", "disagree", "not_sure")

# Below that many reads a share says next to nothing: Wilson's interval of 5 of 9 is 0.27 to 0.81.
ENOUGH_READS = 10
# Later than that it is another examination, not a retake.
RETAKE_S = 86400.0
_GONE = "('superseded', 'withdrawn')"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Reason(_Part):
    """Why films could not be checked."""

    reason: str
    films: int


class Unable(_Part):
    """Films that could not be checked."""

    films: int
    reasons: tuple[Reason, ...] = Field(description="most frequent first; a film may have several")
    retaken: int = Field(
        description="a later film of the same study, or patient, of the same body part, side and "
        "view came within a day"
    )
    retaken_and_checked: int = Field(description="of those, where a later one could be checked")


class WeekFigures(_Part):
    """What came in a week, and what the unit said of it."""

    films: int = Field(description="that came and were not replaced or withdrawn")
    films_by_decision: dict[str, int]
    films_waiting: int = Field(description="without a decision yet")
    films_taken_back: int = Field(description="replaced by other content, or withdrawn")
    studies: int = Field(description="whose first film came in the week")
    studies_by_decision: dict[str, int]
    studies_waiting: int
    studies_unread: dict[str, int] = Field(description="by decision: no radiologist's reading yet")
    unable: Unable


class Agreement(_Part):
    """What radiologists read, against what the unit had decided by then; one reading a study."""

    studies: int
    readers: int
    studies_with_differing_readers: int = Field(description="tumour or none; the newest counts")
    table: dict[str, dict[str, int]] = Field(description="decision, reading: studies")
    sensitivity: Share = Field(description="flagged, of those read as tumour that were checked")
    specificity: Share = Field(description="not flagged, of those read as none that were checked")
    misses: int = Field(description="read as tumour, not flagged")
    false_alarms: int = Field(description="read as no tumour, flagged")
    tumours_unable: int = Field(description="read as tumour, could not be checked")


class Coverage(_Part):
    """Which studies were read at all, so far."""

    read_by_decision: dict[str, Share]
    only_flagged: bool = Field(description="of those not flagged, none was read")
    selective: bool = Field(description="flagged studies are read more than twice as often")


class WeekFilms(_Part):
    """Films of one week by decision, for the chart."""

    week: str
    films_by_decision: dict[str, int]


def week_figures(spool: Spool, week: Week) -> WeekFigures:
    """Return what came in a week."""
    within = (week.begins, week.ends)
    decided = _by(
        DECISIONS,
        spool.rows(
            "SELECT r.decision AS key, COUNT(*) AS number FROM film f "
            "JOIN result r ON r.film_id = f.id AND r.current "
            f"WHERE f.received_at >= ? AND f.received_at < ? AND f.state NOT IN {_GONE} GROUP BY 1",
            *within,
        ),
    )
    states = {
        row["gone"]: row["number"]
        for row in spool.rows(
            f"SELECT state IN {_GONE} AS gone, COUNT(*) AS number FROM film "
            "WHERE received_at >= ? AND received_at < ? GROUP BY 1",
            *within,
        )
    }
    # A study belongs to the week of its first film.
    first = (
        "SELECT DISTINCT f.study_instance_uid AS uid FROM film f "
        f"WHERE f.received_at >= ? AND f.received_at < ? AND f.state NOT IN {_GONE} "
        "AND NOT EXISTS (SELECT 1 FROM film e WHERE e.study_instance_uid = f.study_instance_uid "
        "AND e.received_at < ?)"
    )
    studies = {
        row["key"]: (row["number"], row["unread"])
        for row in spool.rows(
            "SELECT s.decision AS key, COUNT(*) AS number, SUM(NOT EXISTS ("
            "  SELECT 1 FROM study_reading r WHERE r.study_instance_uid = w.uid)) AS unread "
            f"FROM ({first}) w LEFT JOIN study s ON s.study_instance_uid = w.uid GROUP BY 1",
            *within, week.begins,
        )
    }  # fmt: skip
    films = states.get(0, 0)
    return WeekFigures(
        films=films,
        films_by_decision=decided,
        films_waiting=films - sum(decided.values()),
        films_taken_back=states.get(1, 0),
        studies=sum(number for number, _ in studies.values()),
        studies_by_decision={key: studies.get(key, (0, 0))[0] for key in DECISIONS},
        studies_waiting=studies.get(None, (0, 0))[0],
        studies_unread={key: studies.get(key, (0, 0))[1] for key in DECISIONS},
        unable=_unable(spool, week),
    )


def films_of_weeks(spool: Spool, last: Week, weeks: int) -> tuple[WeekFilms, ...]:
    """Return films by decision of some weeks, the oldest first."""
    return tuple(
        WeekFilms(
            week=week.name,
            films_by_decision=_by(
                DECISIONS,
                spool.rows(
                    "SELECT r.decision AS key, COUNT(*) AS number FROM film f "
                    "JOIN result r ON r.film_id = f.id AND r.current "
                    "WHERE f.received_at >= ? AND f.received_at < ? "
                    f"AND f.state NOT IN {_GONE} GROUP BY 1",
                    week.begins, week.ends,
                ),
            ),
        )
        for week in (last.before(back) for back in reversed(range(weeks)))
    )  # fmt: skip


def agreement(spool: Spool, begins: float, ends: float) -> Agreement:
    """Return how readings that were linked in a time agree with what the unit had decided.

    Parameters
    ----------
    begins, ends
        UTC seconds since 1970; the end does not belong to it.
    """
    table = {decision: dict.fromkeys(READINGS, 0) for decision in DECISIONS}
    within = "l.linked_at >= ? AND l.linked_at < ?"
    for row in spool.rows(
        "SELECT r.decision, r.reading, COUNT(*) AS number FROM study_reading r "
        f"JOIN read_link l ON l.read_id = r.id WHERE {within} GROUP BY 1, 2",
        begins, ends,
    ):  # fmt: skip
        table[row["decision"]][row["reading"]] = row["number"]
    who = spool.rows(
        "SELECT COUNT(DISTINCT r.reader) AS readers FROM read r "
        f"JOIN read_link l ON l.read_id = r.id WHERE r.reading IS NOT NULL AND {within}",
        begins, ends,
    )  # fmt: skip
    differing = spool.rows(
        "SELECT COUNT(*) AS studies FROM (SELECT r.study_instance_uid FROM current_read r "
        f"JOIN read_link l ON l.read_id = r.id WHERE r.reading IN {READINGS} AND {within} "
        "GROUP BY 1 HAVING COUNT(DISTINCT r.reading = 'no_tumour') > 1)",
        begins, ends,
    )  # fmt: skip
    flagged = {reading: sum(table[one][reading] for one in FLAGGED) for reading in READINGS}
    tumours_flagged = sum(flagged[reading] for reading in TUMOURS)
    misses = sum(table["not_flagged"][reading] for reading in TUMOURS)
    right = table["not_flagged"]["no_tumour"]
    return Agreement(
        studies=sum(sum(row.values()) for row in table.values()),
        readers=who[0]["readers"],
        studies_with_differing_readers=differing[0]["studies"],
        table=table,
        sensitivity=share(tumours_flagged, tumours_flagged + misses),
        specificity=share(right, right + flagged["no_tumour"]),
        misses=misses,
        false_alarms=flagged["no_tumour"],
        tumours_unable=sum(table["unable"][reading] for reading in TUMOURS),
    )


def coverage(spool: Spool) -> Coverage:
    """Return which studies were read, of all that the unit has decided on."""
    all_ = _by(
        DECISIONS,
        spool.rows(
            "SELECT decision AS key, COUNT(*) AS number FROM study "
            "WHERE decision IS NOT NULL GROUP BY 1"
        ),
    )
    read = _by(
        DECISIONS,
        spool.rows(
            "SELECT s.decision AS key, COUNT(*) AS number FROM study_reading r "
            "JOIN study s ON s.study_instance_uid = r.study_instance_uid "
            "WHERE s.decision IS NOT NULL GROUP BY 1"
        ),
    )
    flagged = share(sum(read[one] for one in FLAGGED), sum(all_[one] for one in FLAGGED))
    other = share(read["not_flagged"], all_["not_flagged"])
    return Coverage(
        read_by_decision={one: share(read[one], all_[one]) for one in DECISIONS},
        only_flagged=flagged.count > 0 and other.count == 0,
        selective=(flagged.value or 0.0) > 2 * (other.value or 0.0),
    )


def verdicts(spool: Spool, week: Week) -> dict[str, dict[str, int]]:
    """Return what people said at the unit in a week of its decisions: decision, verdict, studies.

    One verdict a reader and study.
    """
    found = {decision: dict.fromkeys(VERDICTS, 0) for decision in DECISIONS}
    for row in spool.rows(
        "SELECT decision, verdict, COUNT(*) AS number FROM current_read "
        "WHERE verdict IS NOT NULL AND entered_at >= ? AND entered_at < ? GROUP BY 1, 2",
        week.begins, week.ends,
    ):  # fmt: skip
        found[row["decision"]][row["verdict"]] = row["number"]
    return found


def unlinked_reads(spool: Spool) -> int:
    """Return how many reads are of studies that the unit does not have, or not decided on."""
    return int(
        spool.rows(
            "SELECT COUNT(*) FROM read r WHERE NOT EXISTS ("
            "SELECT 1 FROM read_link l WHERE l.read_id = r.id)"
        )[0][0]
    )


def superseded_reads(spool: Spool) -> int:
    """Return how many reads a later one of the same reader supersedes."""
    return int(
        spool.rows("SELECT (SELECT COUNT(*) FROM read_link) - (SELECT COUNT(*) FROM current_read)")[
            0
        ][0]
    )


def _unable(spool: Spool, week: Week) -> Unable:
    later = (
        "FROM film n JOIN film_header m ON m.film_id = n.id "
        "LEFT JOIN result q ON q.film_id = n.id AND q.current "
        "WHERE {same} AND n.id <> f.id AND n.received_at > f.received_at "
        f"AND n.received_at <= f.received_at + {RETAKE_S} AND n.state NOT IN {_GONE} "
        "AND (m.body_part, m.laterality, m.view) = (h.body_part, h.laterality, h.view)"
    )
    # A patient without an ID may be anybody: then only the study tells.
    ways = (
        later.format(same="n.study_instance_uid = f.study_instance_uid"),
        later.format(same="h.patient_id <> '' AND n.patient_sha256 = f.patient_sha256"),
    )
    retaken = " OR ".join(f"EXISTS (SELECT 1 {way})" for way in ways)
    checked = " OR ".join(f"EXISTS (SELECT 1 {way} AND q.decision <> 'unable')" for way in ways)
    films = spool.rows(
        f"SELECT r.document, ({retaken}) AS retaken, ({checked}) AS checked FROM film f "
        "JOIN result r ON r.film_id = f.id AND r.current "
        "LEFT JOIN film_header h ON h.film_id = f.id WHERE r.decision = 'unable' "
        f"AND f.received_at >= ? AND f.received_at < ? AND f.state NOT IN {_GONE}",
        week.begins, week.ends,
    )  # fmt: skip
    reasons: Counter[str] = Counter()
    for film in films:
        reasons.update(_reasons(film["document"]))
    return Unable(
        films=len(films),
        reasons=tuple(
            Reason(reason=reason, films=number) for reason, number in reasons.most_common()
        ),
        retaken=sum(bool(film["retaken"]) for film in films),
        retaken_and_checked=sum(bool(film["checked"]) for film in films),
    )


def _reasons(document: str) -> set[str]:
    """Return why a film could not be checked: what is wrong with it, without what to do."""
    screening = json.loads(document)
    refusing = {one["finding"] for one in screening.get("quality", ()) if one.get("refuses")}
    told = {reason.partition(": ")[0] for reason in screening.get("reasons", ())}
    return refusing or told or {"not told"}


def _by(keys: Iterable[str], rows: Iterable[sqlite3.Row]) -> dict[str, int]:
    found = {row["key"]: row["number"] for row in rows}
    return {key: found.get(key, 0) for key in keys}
