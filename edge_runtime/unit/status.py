"""What `osteoedge status` tells. It reads the spool, so it does with the service down as well."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.markup import escape
from rich.table import Table

from edge_runtime.bundle import Purpose, SiteUse
from edge_runtime.drift.status import DriftStatus, drift_line, drift_status
from edge_runtime.engine import DelegateUse
from edge_runtime.errors import ConfigError, GateError
from edge_runtime.screening import STANDING_SENTENCE
from edge_runtime.spool import Spool, audit
from edge_runtime.spool.database import utc
from edge_runtime.unit import figures
from edge_runtime.unit.config import UnitConfig
from edge_runtime.unit.machine import Battery, battery, temperature_c
from edge_runtime.unit.mode import current_mode, load_servable
from edge_runtime.unit.running import open_spool, service_pid

# Rows of the spool's table `setting` that the worker keeps: what it runs on (JSON of DelegateUse),
# and what is slower or weaker than it should be (JSON list of sentences).
DELEGATE_SETTING, DEGRADED_SETTING = "worker.delegate", "worker.degraded"

_LAST = 5


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InstalledBundle(_Part):
    """The bundle that unit.toml names."""

    name: str
    version: str
    sha256: str
    purpose: Purpose
    site: SiteUse | None = Field(None, description="whose calibration; None: the bundle's own")


class ModeStatus(_Part):
    """Whether results leave the unit, and who said so."""

    mode: Literal["live", "shadow"]
    person: str | None = Field(None, description="None: nobody said anything of this bundle")
    reason: str | None = None
    since: datetime | None = None
    bundle: InstalledBundle | None = Field(None, description="None: it may not serve")
    refused: str | None = Field(None, description="why it may not")


class LastResult(_Part):
    """What came of one of the last films."""

    film: str = Field(description="16 hex digits of the SHA-256 of its SOP Instance UID")
    study: str = Field(description="the same of its Study Instance UID")
    at: datetime
    shadow: bool = Field(description="made in shadow mode: its decision is not shown")
    decision: str | None


class DestinationStatus(_Part):
    """How deliveries to one destination stand."""

    waiting: int = 0
    sending: int = 0
    sent: int = 0
    committed: int = 0
    cancelled: int = 0
    sent_bytes_today: int = Field(0, description="since midnight, local time")
    last_error: str | None = Field(None, description="of those that wait")


class StudiesStatus(_Part):
    """Studies, and those whose newest films have no report yet."""

    total: int
    unreported: int


class DiskStatus(_Part):
    """The spool's file system, in bytes."""

    free: int
    total: int
    reserve: int = Field(description="below that much free space no film is taken")


class Status(_Part):
    """The JSON document `osteoedge.status/1`."""

    schema_: Literal["osteoedge.status/1"] = Field("osteoedge.status/1", alias="schema")
    notice: str
    unit: str
    at: datetime
    running: bool
    pid: int | None = Field(description="of the supervisor, where it runs")
    mode: ModeStatus
    films: dict[str, int] = Field(description="by state")
    oldest_waiting_s: float | None = Field(description="seconds; None: no film waits")
    last_results: tuple[LastResult, ...] = Field(description="newest first")
    studies: StudiesStatus
    destinations: dict[str, DestinationStatus]
    quarantine: dict[str, int] = Field(description="files and films by reason")
    delegate: DelegateUse | None = Field(description="as the worker said last; None: never")
    degraded: tuple[str, ...]
    drift: DriftStatus
    disk: DiskStatus
    temperature_c: float | None = Field(description="highest; None: the system does not tell")
    battery: Battery | None = Field(description="None: the system does not tell")
    audit_head: str = Field(description="hash of the newest entry of the audit log")


def read_status(unit: UnitConfig, system: Path = Path("/")) -> Status:
    """Return how a unit does.

    Parameters
    ----------
    system
        Where `sys` lies.

    Raises
    ------
    ConfigError
        There is no spool yet.
    SpoolError
        It cannot be read.
    """
    with open_spool(unit.spool.directory) as spool:
        mode = _mode(unit, spool)
        now = spool.now()
        pid = service_pid(spool.folder)
        delegate, degraded = delegate_of(spool)
        return Status(
            notice=STANDING_SENTENCE,
            unit=unit.name,
            at=utc(now),
            running=pid is not None,
            pid=pid,
            mode=mode,
            films=figures.films_by_state(spool),
            oldest_waiting_s=figures.oldest_waiting_s(spool),
            last_results=tuple(_last_results(spool, mode)),
            studies=_studies(spool),
            destinations=destinations_of(unit, spool, now),
            quarantine=figures.quarantined(spool),
            delegate=delegate,
            degraded=degraded,
            drift=drift_status(spool),
            disk=disk_of(unit, spool),
            temperature_c=temperature_c(system),
            battery=battery(system),
            audit_head=audit.head(spool),
        )


def delegate_of(spool: Spool) -> tuple[DelegateUse | None, tuple[str, ...]]:
    """Return what runs the model, as the worker said last, and what is degraded."""
    delegate, degraded = spool.setting(DELEGATE_SETTING), spool.setting(DEGRADED_SETTING)
    return (
        None if delegate is None else DelegateUse.model_validate_json(delegate),
        () if degraded is None else tuple(json.loads(degraded)),
    )


def disk_of(unit: UnitConfig, spool: Spool) -> DiskStatus:
    """Return how much space the spool's file system has."""
    disk = shutil.disk_usage(spool.folder)
    return DiskStatus(free=disk.free, total=disk.total, reserve=unit.spool.reserve_mib << 20)


def report(status: Status) -> Iterator[Table]:
    """Return a status as tables for people."""
    mode = status.mode
    table = Table(title=f"{status.unit}: {status.notice}", title_justify="left", show_header=False)
    table.add_column()
    # All of the hash, to be compared with one that was noted.
    table.add_column(overflow="fold")
    table.add_row("service", f"running, process {status.pid}" if status.running else "not running")
    installed = mode.bundle
    table.add_row(
        "bundle",
        f"{installed.name} {installed.version} ({installed.purpose})"
        if installed
        else f"refused: {mode.refused}",
    )
    if installed and installed.site:
        table.add_row("calibrated for", escape(f"{installed.site.name}, {installed.site.sha256}"))
    who = f", by {mode.person}, {_told(mode.since)}: {mode.reason}" if mode.person else ""
    table.add_row("mode", escape(f"{mode.mode}{who}"))
    table.add_row("films", _counted(status.films))
    waiting = status.oldest_waiting_s
    table.add_row("oldest waiting", "none" if waiting is None else _duration(waiting))
    table.add_row("studies", f"{status.studies.total}, {status.studies.unreported} to report")
    table.add_row("quarantine", escape(_counted(status.quarantine)))
    table.add_row("delegate", status.delegate.name if status.delegate else "not known yet")
    table.add_row("degraded", escape("; ".join(status.degraded)) or "no")
    table.add_row("drift", escape(drift_line(status.drift)))
    disk = status.disk
    table.add_row("disk", f"{disk.free >> 20} MiB free, {disk.reserve >> 20} MiB kept free")
    heat = status.temperature_c
    table.add_row("temperature", "not told" if heat is None else f"{heat:.0f} °C")
    cell = status.battery
    table.add_row("battery", f"{cell.percent} %, {cell.status}" if cell else "not told")
    table.add_row("audit head", status.audit_head)
    yield table
    if status.destinations:
        columns = ("destination", "waiting", "sent", "committed", "kB today", "last error")
        table = Table(*columns)
        for name, one in status.destinations.items():
            table.add_row(
                name, str(one.waiting + one.sending), str(one.sent), str(one.committed),
                f"{one.sent_bytes_today / 1e3:,.1f}", escape(one.last_error or ""),
            )  # fmt: skip
        yield table
    if status.last_results:
        table = Table("film", "study", "at", "decision")
        for result in status.last_results:
            table.add_row(result.film, result.study, _told(result.at), result.decision or "shadow")
        yield table


def _mode(unit: UnitConfig, spool: Spool) -> ModeStatus:
    try:
        bundle = load_servable(unit.bundle)
    except (ConfigError, GateError) as error:
        return ModeStatus(mode="shadow", refused=error.what)
    mode, manifest = current_mode(spool, bundle), bundle.manifest
    return ModeStatus(
        mode="live" if mode.live else "shadow",
        person=mode.person,
        reason=mode.reason,
        since=None if mode.since is None else utc(mode.since),
        bundle=InstalledBundle(
            name=manifest.name,
            version=manifest.version,
            sha256=bundle.sha256,
            purpose=manifest.purpose,
            site=bundle.site,
        ),
    )


def _last_results(spool: Spool, mode: ModeStatus) -> Iterator[LastResult]:
    for row in spool.rows(
        "SELECT f.sop_instance_uid, f.study_instance_uid, r.decision, r.made_at FROM result r "
        "JOIN film f ON f.id = r.film_id WHERE r.current ORDER BY r.id DESC LIMIT ?",
        _LAST,
    ):
        at = utc(row["made_at"])
        shadow = mode.mode == "shadow" or (mode.since is not None and at < mode.since)
        yield LastResult(
            film=audit.hashed(row["sop_instance_uid"]),
            study=audit.hashed(row["study_instance_uid"]),
            at=at,
            shadow=shadow,
            decision=None if shadow else row["decision"],
        )


def _studies(spool: Spool) -> StudiesStatus:
    total, unreported = figures.studies(spool)
    return StudiesStatus(total=total, unreported=unreported)


def destinations_of(unit: UnitConfig, spool: Spool, now: float) -> dict[str, DestinationStatus]:
    """Return how deliveries stand, by destination."""
    midnight = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
    today = figures.sent_bytes_since(spool, midnight.timestamp())
    counts: dict[str, dict[str, int]] = {one.name: {} for one in unit.destinations}
    for (name, state), number in figures.deliveries_by_state(spool).items():
        # One that unit.toml does not name any more still has what was meant for it.
        counts.setdefault(name, {})[state] = number
    found = {}
    for name, states in counts.items():
        error = spool.row(
            "SELECT error FROM delivery WHERE destination = ? AND state = 'waiting' "
            "AND error IS NOT NULL ORDER BY next_try DESC LIMIT 1",
            name,
        )
        found[name] = DestinationStatus(
            waiting=states.get("waiting", 0),
            sending=states.get("sending", 0),
            sent=states.get("sent", 0),
            committed=states.get("committed", 0),
            cancelled=states.get("cancelled", 0),
            sent_bytes_today=today.get(name, 0),
            last_error=None if error is None else error["error"],
        )
    return found


def _told(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M}"


def _counted(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in numbers.items() if number) or "none"


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
