"""What the unit runs on: the delegate of its model, and its clock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import edge_runtime
from edge_runtime.bundle import ModelBundle
from edge_runtime.errors import DelegateError, OsteoedgeError
from edge_runtime.spool.database import DATABASE
from edge_runtime.unit.check.finding import Finding, failure_of
from edge_runtime.unit.config import UnitConfig
from edge_runtime.unit.running import open_spool
from edge_runtime.unit.screening import make_screener

# What is written may be a little ahead of a clock that was set since.
_CLOCK_SLACK_S = 120.0


def check_delegate(unit: UnitConfig, bundle: ModelBundle) -> Iterator[Finding]:
    """Look whether a delegate reproduces the bundle's golden vectors."""
    try:
        screener = make_screener(bundle, unit.screening)
    except DelegateError as error:
        yield failure_of("delegate", error)
        return
    with screener:
        use = screener.delegate
        yield Finding(
            level="ok",
            about="delegate",
            what=f"{use.name} {use.version} reproduces {bundle.manifest.golden.vectors} golden "
            "vectors",
        )
        for sentence in screener.degraded:
            yield Finding(
                level="warning", about="delegate", what=sentence, remedy="Ask 'osteoedge doctor'"
            )


def check_clock(unit: UnitConfig) -> Finding:
    """Look whether time has gone back behind what was written before."""
    now, written = time.time(), [Path(edge_runtime.__file__), unit.bundle.path]
    latest = max(path.stat().st_mtime for path in written if path.exists())
    if os.access(unit.spool.directory / DATABASE, os.R_OK):
        try:
            with open_spool(unit.spool.directory) as spool:
                entry = spool.row("SELECT MAX(at) AS at FROM audit")
            latest = max(latest, (entry["at"] if entry else None) or 0.0)
        except OsteoedgeError:
            pass  # What is wrong with the spool is told elsewhere.
    if now + _CLOCK_SLACK_S < latest:
        return Finding(
            level="warning",
            about="clock",
            what=f"it is {_day(now)} by the clock, and something was written on {_day(latest)}",
            remedy="Set the clock; a battery of the clock may be empty",
        )
    return Finding(level="ok", about="clock", what=f"{_day(now)} is plausible")


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
