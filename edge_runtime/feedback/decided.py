"""What the unit has said of a study, and whether anybody could see it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from edge_runtime.bundle import deployed_sha256
from edge_runtime.spool import Spool
from edge_runtime.unit.mode import was_live

FLAGGED = ("urgent_review", "routine_review")
"""Decisions that ask for a radiologist because something was seen."""


@dataclass(frozen=True)
class Decided:
    """What the unit has said of a study.

    Attributes
    ----------
    revision
        Of the study, that the decision is of.
    bundle_sha256
        Of the bundle, without site file, that the newest film was screened with; blank where no
        result tells it.
    live
        Whether it was said outside shadow mode.
    """

    study_instance_uid: str
    revision: int
    decision: str
    bundle_sha256: str
    live: bool


def decided(spool: Spool, study_uid: str) -> Decided | None:
    """Return what the unit has said of a study; None: nothing, or it took all of it back."""
    study = spool.row(
        "SELECT reported, decision FROM study WHERE study_instance_uid = ? "
        "AND decision IS NOT NULL",
        study_uid,
    )
    newest = spool.row(
        "SELECT r.document, r.made_at FROM film f JOIN result r ON r.film_id = f.id AND r.current "
        "WHERE f.study_instance_uid = ? ORDER BY r.id DESC LIMIT 1",
        study_uid,
    )
    if study is None or newest is None:
        return None
    bundle = _bundle(newest)
    return Decided(
        study_instance_uid=study_uid,
        revision=study["reported"],
        decision=study["decision"],
        bundle_sha256=str(bundle.get("sha256", "")),
        live=_was_live(spool, newest),
    )


def was_told(spool: Spool, study_uid: str) -> bool:
    """Return whether anybody could see that the unit flagged a film of a study.

    A film that comes in shadow mode to a study that was flagged before does not take that back.
    """
    return any(
        _was_live(spool, result)
        for result in spool.rows(
            "SELECT r.document, r.made_at FROM film f JOIN result r ON r.film_id = f.id "
            f"AND r.current WHERE f.study_instance_uid = ? AND r.decision IN {FLAGGED}",
            study_uid,
        )
    )


def _was_live(spool: Spool, result: sqlite3.Row) -> bool:
    bundle = _bundle(result)
    site = bundle.get("site") or {}
    deployed = deployed_sha256(str(bundle.get("sha256", "")), site.get("sha256"))
    return was_live(spool, deployed, result["made_at"])


def _bundle(result: sqlite3.Row) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result["document"]).get("bundle") or {}
    return found
