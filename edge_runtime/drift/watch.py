"""A unit's watch over its films: blocks are judged as they fill, alarms rise and end.

The worker judges (:func:`begin_watch`, :func:`judge_blocks`). A named person may take the unit's
own films for the reference (:func:`accept`): another hospital's films differ from the first day,
and an alarm that never ends tells nothing.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from edge_runtime.drift.blocks import alarms, compare
from edge_runtime.drift.reference import BLOCK, MOST_FILMS, DriftReference
from edge_runtime.drift.status import (
    BUNDLE_SETTING,
    acceptance,
    alarmed,
    newest_verdicts,
    watched_bundle,
)
from edge_runtime.errors import ConfigError
from edge_runtime.spool import Spool
from edge_runtime.spool.audit import record
from edge_runtime.spool.database import Execute, set_settings
from edge_runtime.spool.drift import films_of_blocks, watched_studies

if TYPE_CHECKING:
    from edge_runtime.bundle import ModelBundle

log = logging.getLogger(__name__)


def begin_watch(spool: Spool, bundle: ModelBundle) -> None:
    """Say which bundle films are screened with from now on, and judge what was left over."""
    told = {
        "sha256": bundle.sha256,
        "reference": bundle.manifest.calibration.drift is not None,
    }
    with spool.transaction() as execute:
        set_settings(execute, {BUNDLE_SETTING: json.dumps(told)})
    judge_blocks(spool, bundle)


def judge_blocks(spool: Spool, bundle: ModelBundle) -> None:
    """Compare every block that is full with the reference, once; record verdicts and alarms."""
    studies = watched_studies(spool, bundle.sha256)
    # Without a transaction first: nearly always, no block has become full.
    while _next_block(spool, bundle.sha256) * BLOCK <= studies:
        with spool.transaction() as execute:
            block = _next_block(spool, bundle.sha256)
            reference = _reference(spool, bundle)
            # Somebody may have accepted meanwhile, and the next block is a later one.
            if reference is None or block * BLOCK > studies:
                return
            _judge(execute, spool, bundle.sha256, block, reference)


def accept(spool: Spool, person: str, reason: str) -> int:
    """Take the newest films of this unit for the reference, from the next block on.

    Returns
    -------
    int
        How many they are: whole blocks, up to :data:`MOST_FILMS`.

    Raises
    ------
    ConfigError
        No person or no reason is named, or there is no whole block of films yet.
    """
    person, reason = person.strip(), reason.strip()
    if not person or not reason:
        raise ConfigError("to accept needs a named person and a reason", "Give --by and --reason")
    with spool.transaction() as execute:
        watched = watched_bundle(spool)
        blocks = 0 if watched is None else watched_studies(spool, watched[0]) // BLOCK
        if watched is None or blocks == 0:
            raise ConfigError(
                f"fewer than {BLOCK} studies were screened with this bundle",
                "Accept when there are more",
            )
        first = max(1, blocks - MOST_FILMS // BLOCK + 1)
        now, bundle = spool.now(), watched[0]
        ended = sorted(alarmed(newest_verdicts(spool, bundle)))
        execute(
            "INSERT INTO drift_acceptance (bundle_sha256, first_block, last_block, person, reason, "
            "at) VALUES (?, ?, ?, ?, ?, ?)",
            bundle, first, blocks, person, reason, now,
        )  # fmt: skip
        record(
            execute, now, "drift accepted", bundle=bundle, first_block=first,
            last_block=blocks, alarms=ended, person=person, reason=reason,
        )  # fmt: skip
    return (blocks - first + 1) * BLOCK


def _judge(
    execute: Execute, spool: Spool, bundle_sha256: str, block: int, reference: DriftReference
) -> None:
    films = films_of_blocks(spool, bundle_sha256, block, block)
    began = execute(
        "SELECT at FROM drift_film WHERE bundle_sha256 = ? AND number = ?",
        bundle_sha256, (block - 1) * BLOCK + 1,
    ).fetchone()["at"]  # fmt: skip
    before = alarmed(newest_verdicts(spool, bundle_sha256))
    now = spool.now()
    compared = compare(reference, films)
    for figure in sorted(before.keys() - compared.keys()):
        record(
            execute, now, "drift alarm over", figure=figure, block=block, bundle=bundle_sha256,
            reason="too few films have this figure",
        )  # fmt: skip
    for figure, found in compared.items():
        since = before.get(figure)
        alarm = alarms(found.p, before=since is not None)
        facts = {
            "figure": figure, "direction": found.direction, "block": block,
            "bundle": bundle_sha256, "p": float(f"{found.p:.2g}"),
            "value_then": round(found.then, 4), "value_now": round(found.now, 4),
        }  # fmt: skip
        if alarm and since is None:
            since = began
            record(execute, now, "drift alarm", **facts)
            log.warning("drift alarm", extra={"kind": figure, "status": found.direction})
        elif since is not None and not alarm:
            since = None
            record(execute, now, "drift alarm over", **facts)
            log.info("drift alarm over", extra={"kind": figure})
        execute(
            "INSERT INTO drift_block VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            bundle_sha256, block, figure, found.p, found.direction, found.then, found.now,
            since, began, now,
        )  # fmt: skip


def _reference(spool: Spool, bundle: ModelBundle) -> DriftReference | None:
    accepted = acceptance(spool, bundle.sha256)
    if accepted is None:
        return bundle.manifest.calibration.drift
    return films_of_blocks(spool, bundle.sha256, accepted["first_block"], accepted["last_block"])


def _next_block(spool: Spool, bundle_sha256: str) -> int:
    newest = spool.row("SELECT MAX(block) FROM drift_block WHERE bundle_sha256 = ?", bundle_sha256)
    accepted = acceptance(spool, bundle_sha256)
    judged = 0 if newest is None else newest[0] or 0
    # Films that the reference is made of are not compared with it.
    return int(max(judged, 0 if accepted is None else accepted["last_block"])) + 1
