"""What a unit knows of drift, read from its spool: no bundle is needed, and no arithmetic."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.drift.reference import BLOCK, FIGURES, Direction, Figure
from edge_runtime.phrases import Phrase, say
from edge_runtime.spool import Spool
from edge_runtime.spool.database import utc
from edge_runtime.spool.drift import watched_studies

# Row of the table `setting`: the bundle that the worker screens with, and whether it has a
# reference.
BUNDLE_SETTING = "drift.bundle"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FigureStatus(_Part):
    """One figure of a block: grey 0..255, distance, score 0..1, share 0..1."""

    figure: Figure
    then: float = Field(description="median of the reference; of unable, the share")
    now: float = Field(description="the same of the block")
    p: float = Field(description="of as large a difference, if nothing had changed")
    alarm: bool


class DriftAlarm(_Part):
    """Something that changed."""

    figure: Figure
    direction: Direction
    then: float
    now: float
    p: float = Field(description="of the newest block")
    since: datetime = Field(description="when the first block of the alarm began")
    phrase: Phrase = Field(description="what changed, for people of any language")
    finding: str = Field(description="the same in English")
    action_phrase: Phrase = Field(description="what to do about it")
    action: str


class Acceptance(_Part):
    """Who took the unit's own films for the reference."""

    person: str
    reason: str
    at: datetime


class DriftStatus(_Part):
    """Whether a unit's films drift from the reference."""

    available: bool
    reason: str | None = Field(None, description="why it is not known")
    reference: Literal["bundle", "unit"] | None = Field(None, description="whose films")
    accepted: Acceptance | None = Field(None, description="None: the reference is the bundle's")
    studies: int = Field(0, description="screened with this bundle")
    blocks: int = Field(0, description=f"of {BLOCK} studies, that were compared")
    figures: tuple[FigureStatus, ...] = Field((), description="of the newest block")
    alarms: tuple[DriftAlarm, ...] = ()


class JudgedBlock(_Part):
    """A block that was compared with the reference."""

    number: int = Field(description="1, 2, 3, ... with this bundle")
    began: datetime
    figures: tuple[FigureStatus, ...]


def drift_status(spool: Spool) -> DriftStatus:
    """Return whether the films drift, by the newest block."""
    watched = watched_bundle(spool)
    if watched is None:
        return DriftStatus(
            available=False, reason="no film was screened since drift is watched: start the service"
        )
    bundle, has_reference = watched
    accepted, studies = acceptance(spool, bundle), watched_studies(spool, bundle)
    if accepted is None and not has_reference:
        return DriftStatus(
            available=False,
            reason=f"the bundle holds no reference; after {BLOCK} studies 'osteoedge drift accept' "
            "takes the unit's own films for one",
            studies=studies,
        )
    verdicts = newest_verdicts(spool, bundle)
    (judged,) = spool.rows(
        "SELECT COUNT(DISTINCT block) FROM drift_block WHERE bundle_sha256 = ?", bundle
    )
    return DriftStatus(
        available=True,
        reference="bundle" if accepted is None else "unit",
        accepted=None
        if accepted is None
        else Acceptance(
            person=accepted["person"], reason=accepted["reason"], at=utc(accepted["at"])
        ),
        studies=studies,
        blocks=judged[0],
        figures=tuple(map(_figure, verdicts)),
        alarms=tuple(_alarm(row) for row in verdicts if row["alarm_since"] is not None),
    )


def drift_history(spool: Spool) -> list[JudgedBlock]:
    """Return all blocks that were judged with the bundle in use, oldest first."""
    watched = watched_bundle(spool)
    if watched is None:
        return []
    found: dict[int, list[sqlite3.Row]] = {}
    for row in spool.rows(
        "SELECT * FROM drift_block WHERE bundle_sha256 = ? ORDER BY block", watched[0]
    ):
        found.setdefault(row["block"], []).append(row)
    return [
        JudgedBlock(
            number=number,
            began=utc(rows[0]["began_at"]),
            figures=tuple(map(_figure, _in_order(rows))),
        )
        for number, rows in found.items()
    ]


def drift_line(status: DriftStatus) -> str:
    """Return in one line how a unit's films stand."""
    if not status.available:
        return f"unavailable: {status.reason}"
    if status.alarms:
        return "; ".join(
            f"ALARM: {alarm.finding}, since {alarm.since.astimezone():%Y-%m-%d}. "
            f"{alarm.action[:1].upper()}{alarm.action[1:]}"
            for alarm in status.alarms
        )
    if not status.figures:
        return f"{status.studies % BLOCK} of {BLOCK} studies for the next comparison"
    return f"none in the newest {BLOCK} studies of {status.studies}"


def watched_bundle(spool: Spool) -> tuple[str, bool] | None:
    """Return the hash of the bundle in use, and whether it has a reference; None: never used."""
    told = spool.setting(BUNDLE_SETTING)
    if told is None:
        return None
    bundle = json.loads(told)
    return bundle["sha256"], bundle["reference"]


def acceptance(spool: Spool, bundle_sha256: str) -> sqlite3.Row | None:
    """Return the newest acceptance of a bundle, a row of `drift_acceptance`."""
    return spool.row(
        "SELECT * FROM drift_acceptance WHERE bundle_sha256 = ? ORDER BY id DESC LIMIT 1",
        bundle_sha256,
    )


def newest_verdicts(spool: Spool, bundle_sha256: str) -> list[sqlite3.Row]:
    """Return the rows of the newest block that was judged by the reference in force."""
    accepted = acceptance(spool, bundle_sha256)
    return _in_order(
        spool.rows(
            "SELECT * FROM drift_block WHERE bundle_sha256 = ?1 AND block > ?2 AND block = "
            "(SELECT MAX(block) FROM drift_block WHERE bundle_sha256 = ?1)",
            bundle_sha256,
            0 if accepted is None else accepted["last_block"],
        )
    )


def alarmed(verdicts: Sequence[sqlite3.Row]) -> dict[Figure, float]:
    """Return since when there is an alarm, by figure."""
    return {row["figure"]: row["alarm_since"] for row in verdicts if row["alarm_since"] is not None}


def _in_order(rows: Sequence[sqlite3.Row]) -> list[sqlite3.Row]:
    return sorted(rows, key=lambda row: FIGURES.index(row["figure"]))


def _figure(row: sqlite3.Row) -> FigureStatus:
    return FigureStatus(
        figure=row["figure"],
        then=row["value_then"],
        now=row["value_now"],
        p=row["p"],
        alarm=row["alarm_since"] is not None,
    )


def _alarm(row: sqlite3.Row) -> DriftAlarm:
    figure, direction = row["figure"], row["direction"]
    phrase = Phrase(
        key=f"drift.{figure}_{direction}",
        values={"then": row["value_then"], "now": row["value_now"]},
    )
    if direction == "varied":
        phrase = Phrase(key="drift.varied", values={"figure": f"drift.{figure}"})
    action = Phrase(key=f"drift.{figure}_do")
    return DriftAlarm(
        figure=figure,
        direction=direction,
        then=row["value_then"],
        now=row["value_now"],
        p=row["p"],
        since=utc(row["alarm_since"]),
        phrase=phrase,
        finding=say(phrase),
        action_phrase=action,
        action=say(action),
    )
