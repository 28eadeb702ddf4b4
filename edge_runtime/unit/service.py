"""`osteoedge serve`: starts the unit's processes, and starts again what ends or falls silent.

It does nothing else, so that nothing of what it watches can take it along.
"""

from __future__ import annotations

import logging
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import SpoolError, SpoolFullError
from edge_runtime.spool import Spool
from edge_runtime.spool.audit import record
from edge_runtime.spool.database import INCOMING
from edge_runtime.spool.retention import remove_old
from edge_runtime.unit import systemd
from edge_runtime.unit.check import pass_gates
from edge_runtime.unit.child import CONFIG, GATE
from edge_runtime.unit.config import DicomDestination, UnitConfig
from edge_runtime.unit.health import SupervisorFacts, serve_health
from edge_runtime.unit.life import Life
from edge_runtime.unit.listening import listen_for
from edge_runtime.unit.running import alone

log = logging.getLogger(__name__)

# How long a process may be silent, in seconds. The worker may be loading a delegate, and a GPU
# compiles its shaders then.
_RECEIVER_SILENCE_S, _SILENCE_S, _WORKER_SILENCE_S = 30.0, 120.0, 300.0
_CONSOLE_SILENCE_S = 30.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 10.0
# A process that ran this long is well: its next end is counted from the start.
_WELL_S = 10.0
_STOP_S = 4.0
_LOOP_S = 0.25
_TIDY_EVERY_S = 60.0
_DAY_S = 86400.0


@dataclass
class Part:
    """One process of the unit, and how it fares.

    Attributes
    ----------
    silence_s
        Seconds without a sign of life after which it is ended.
    refused
        Why it ended last; empty where it never did.
    """

    name: str
    role: str
    silence_s: float
    arguments: tuple[str, ...] = ()
    pass_fds: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    line: socket.socket | None = None
    started: float = 0.0
    heard: float = 0.0
    restarts: int = 0
    wait_s: float = _FIRST_WAIT_S
    next_start: float = 0.0
    refused: str = ""

    @property
    def up(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None


def serve(unit: UnitConfig, config: Path, life: Life) -> None:
    """Serve until asked to stop.

    Raises
    ------
    ConfigError
        The settings do not allow it, or another service has the spool or the port.
    GateError
        The bundle may not serve, or the spool's volume may not hold films.
    """
    bundle, said = pass_gates(unit)
    for finding in said:
        log.info("gate passed", extra={"reason": finding.what})
    with ExitStack() as held:
        spool = held.enter_context(Spool(unit.spool.directory))
        held.enter_context(alone(unit.spool.directory))
        dicom = unit.intake.dicom
        listener = listen_for("intake.dicom", dicom.bind, dicom.port) if dicom else None
        if listener is not None:
            held.enter_context(listener)
        _note(spool, "service started", bundle=bundle.sha256)
        service = Service(unit, config, spool, listener)
        _forget_receivers(spool, service.parts)
        if unit.health is not None:
            health = serve_health(unit.health, unit.spool, service.facts)
            held.callback(health.close)
        try:
            service.run(life)
        finally:
            service.stop()
            _note(spool, "service stopped")


class Service:
    """The processes of one unit."""

    def __init__(
        self, unit: UnitConfig, config: Path, spool: Spool, listener: socket.socket | None
    ) -> None:
        self._unit = unit
        self._config = config
        self._spool = spool
        self._went_round = time.monotonic()
        self._next_tidy = 0.0
        self.parts = list(_parts(unit, listener))

    def run(self, life: Life) -> None:
        """Watch the processes until asked to stop."""
        watchdog_s = systemd.watchdog_s()
        told_ready, last_told = False, 0.0
        while not life.stopping:
            now = self._went_round = time.monotonic()
            for part in self.parts:
                self._look_after(part, now)
            if not told_ready and all(part.up for part in self.parts):
                told_ready = systemd.notify("READY=1")
            if watchdog_s is not None and now - last_told > watchdog_s / 4:
                systemd.notify("WATCHDOG=1")
                last_told = now
            if now >= self._next_tidy:
                self._next_tidy = now + _TIDY_EVERY_S
                self._tidy()
            self._listen_to_parts()

    def stop(self) -> None:
        """Ask every process to stop, and end those that do not."""
        systemd.notify("STOPPING=1")
        for part in self.parts:
            if part.process is not None and part.up:
                part.process.terminate()
        deadline = time.monotonic() + _STOP_S
        for part in self.parts:
            if part.process is None:
                continue
            try:
                part.process.wait(max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                log.warning("did not stop in time", extra={"role": part.name})
                part.process.kill()
                part.process.wait()
            if part.line is not None:
                part.line.close()

    def facts(self) -> SupervisorFacts:
        """Return what health and metrics ask for. From any thread."""
        return SupervisorFacts(
            loop_age_s=time.monotonic() - self._went_round,
            restarts={part.name: part.restarts for part in self.parts},
            down={part.name: part.refused for part in self.parts if not part.up},
        )

    def _look_after(self, part: Part, now: float) -> None:
        process = part.process
        if process is None:
            if now >= part.next_start:
                self._start(part, now)
            return
        code = process.poll()
        if code is None:
            if now - part.heard > part.silence_s:
                log.error("gave no sign of life, ended", extra={"role": part.name})
                process.kill()
                # One that waits for a dead disk ends later, if ever: not a line each time round.
                part.heard = now
            return
        if part.line is not None:
            part.line.close()
        part.process = part.line = None
        if now - part.started > _WELL_S:
            part.wait_s = _FIRST_WAIT_S
        part.next_start = now + part.wait_s
        part.restarts += 1
        part.refused = _refusal(code)
        log.warning(
            "ended, is started again",
            extra={"role": part.name, "exit_code": code, "wait_s": part.wait_s},
        )
        part.wait_s = min(2 * part.wait_s, _LONGEST_WAIT_S)

    def _start(self, part: Part, now: float) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            part.process = subprocess.Popen(
                [
                    sys.executable, "-m", "edge_runtime.unit.child", part.role, str(self._config),
                    "--line", str(theirs.fileno()), *part.arguments,
                ],
                pass_fds=(theirs.fileno(), *part.pass_fds),
                stdin=subprocess.DEVNULL,
                # A signal to the terminal's group is for us to pass on.
                start_new_session=True,
            )  # fmt: skip
        ours.setblocking(False)
        part.line, part.started, part.heard = ours, now, now

    def _listen_to_parts(self) -> None:
        lines = {part.line: part for part in self.parts if part.line is not None}
        readable, _, _ = select.select(list(lines), [], [], _LOOP_S)
        for line in readable:
            try:
                said = line.recv(4096)
            except OSError:
                said = b""
            if said:
                lines[line].heard = time.monotonic()
            else:
                # It has ended, or is about to: do not go round without a pause until it has.
                time.sleep(0.01)

    def _tidy(self) -> None:
        """Delete what is done with."""
        committed_only = [
            destination.name
            for destination in self._unit.destinations
            if isinstance(destination, DicomDestination) and destination.commitment
        ]
        settings = self._unit.spool
        try:
            freed = remove_old(
                self._spool, settings.keep_days * _DAY_S, 2 * settings.reserve_mib << 20,
                committed_only,
            )  # fmt: skip
        except SpoolError as error:
            log.error("cannot tidy up", exc_info=error)
            return
        if freed:
            log.info("deleted what is done with", extra={"freed_bytes": freed})


def _note(spool: Spool, event: str, **facts: object) -> None:
    """Leave an entry in the audit log; on a full disk, which is ours to tidy up, in the log."""
    try:
        with spool.transaction() as execute:
            record(execute, spool.now(), event, **facts)
    except SpoolFullError as error:
        log.error("not in the audit log", exc_info=error, extra={"reason": event})


def _parts(unit: UnitConfig, listener: socket.socket | None) -> Iterator[Part]:
    if listener is not None and unit.intake.dicom is not None:
        descriptor = listener.fileno()
        for slot in range(unit.intake.dicom.receivers):
            yield Part(
                f"receiver-{slot}", "receiver", _RECEIVER_SILENCE_S,
                ("--listener", str(descriptor), "--slot", str(slot)), (descriptor,),
            )  # fmt: skip
    if unit.intake.folders:
        yield Part("folders", "folders", _SILENCE_S)
    yield Part("worker", "worker", _WORKER_SILENCE_S)
    if unit.destinations:
        yield Part("outbox", "outbox", _SILENCE_S)
    if unit.console is not None:
        yield Part("console", "console", _CONSOLE_SILENCE_S)


def _forget_receivers(spool: Spool, parts: Iterable[Part]) -> None:
    """Delete what receivers left that are there no more: each sweeps its own folder only."""
    ours = {
        "folders",
        "console",
        *(part.arguments[-1] for part in parts if part.role == "receiver"),
    }
    for folder in (spool.folder / INCOMING).iterdir():
        if folder.is_dir() and folder.name not in ours:
            shutil.rmtree(folder)


def _refusal(code: int) -> str:
    if code == GATE:
        return "refused: see the log"
    if code == CONFIG:
        return "its settings are wrong: see the log"
    return signal.Signals(-code).name if code < 0 else f"ended with exit code {code}"
