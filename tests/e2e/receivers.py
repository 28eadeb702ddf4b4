"""Receivers and folder watchers as processes of their own, as the supervisor runs them.

``python -m tests.e2e.receivers UNIT_TOML SLOT FD`` is one receiver; without SLOT and FD, it watches
folders. It logs as the unit does, one JSON object a line.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_runtime.intake import folder
from edge_runtime.spool import Spool
from edge_runtime.unit.config import load_unit
from edge_runtime.unit.life import Life
from edge_runtime.unit.log import configure_logging
from tests.processes import PATIENCE_S, until


class Unit:
    """A unit's spool and settings, and the processes of its intake."""

    def __init__(self, home: Path, intake: str, reserve_mib: int = 10) -> None:
        self.home = home
        self.spool = home / "spool"
        self.toml = home / "unit.toml"
        self.toml.write_text(
            f'[bundle]\npath = "none.osteo"\ntrusted_keys = "keys"\n'
            f'[spool]\ndirectory = "{self.spool}"\nreserve_mib = {reserve_mib}\n{intake}'
        )
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.log = home / "log.jsonl"
        self.processes: list[subprocess.Popen[bytes]] = []
        Spool(self.spool).close()

    def start(self, slot: int | None = 0) -> subprocess.Popen[bytes]:
        """Start a receiver, or without a slot the watcher of folders; return when it is at work."""
        descriptor = self.listener.fileno()
        ready = self._ready()
        with self.log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(self.toml)]
                + ([] if slot is None else [str(slot), str(descriptor)]),
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(descriptor,),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self.processes.append(process)
        until(lambda: self._ready() > ready or process.poll() is not None, "start")
        assert process.poll() is None, self.log.read_text()
        return process

    def _ready(self) -> int:
        return len(self.logged("receiving")) + len(self.logged("watching"))

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What was logged of an event."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return [record for record in records if record["event"] == event]

    def rows(self, sql: str) -> list[sqlite3.Row]:
        """What a query finds in the spool."""
        with Spool(self.spool) as spool:
            return spool.rows(sql)

    def leftovers(self) -> list[Path]:
        """Files that are coming in."""
        return list((self.spool / "incoming").glob("*/*"))

    def close(self) -> None:
        """End all processes; they stop when asked to."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(PATIENCE_S)
        self.listener.close()


@contextmanager
def running(home: Path, intake: str = "", **settings: Any) -> Iterator[Unit]:
    """A unit with one receiver at work."""
    unit = Unit(home, intake or "[intake.dicom]\n", **settings)
    try:
        unit.start()
        yield unit
    finally:
        unit.close()


def _main(toml: str, *receiver: str) -> None:
    configure_logging()
    unit, life = load_unit(Path(toml)), Life()
    life.stop_on_signals()
    if receiver:
        from edge_runtime.intake import dicom_scp

        slot, descriptor = map(int, receiver)
        dicom_scp.run(unit, socket.socket(fileno=descriptor), slot, life)
    else:
        folder.run(unit, life)


if __name__ == "__main__":
    _main(*sys.argv[1:])
