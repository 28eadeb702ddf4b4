"""One process of the unit: `python -m edge_runtime.unit.child ROLE CONFIG`, started by the service.

Roles: `receiver` (DICOM), `folders`, `worker`, `outbox`, `console`. Each imports only what it
needs.
"""

from __future__ import annotations

import argparse
import logging
import socket
import sys
import warnings
from pathlib import Path

from edge_runtime.errors import ConfigError, GateError, OsteoedgeError
from edge_runtime.unit.config import UnitConfig, load_unit
from edge_runtime.unit.life import Life
from edge_runtime.unit.log import configure_logging

# Not __name__: run as a process of its own, that is __main__, which is no logger of ours.
log = logging.getLogger("edge_runtime.unit.child")

# Exit codes that tell the service that starting again is of no use.
GATE, CONFIG = 3, 2


def main() -> int:
    """Run one role until asked to stop; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("receiver", "folders", "worker", "outbox", "console"))
    parser.add_argument("config", type=Path)
    parser.add_argument("--line", type=int, help="descriptor of the socket to the service")
    parser.add_argument("--listener", type=int, help="descriptor of the listening socket")
    parser.add_argument("--slot", type=int, default=0, help="number of this receiver")
    given = parser.parse_args()
    # pydicom's warnings quote header values, and those can be names.
    warnings.filterwarnings("ignore")
    configure_logging()
    life = Life(None if given.line is None else socket.socket(fileno=given.line))
    life.stop_on_signals()
    try:
        _run(given.role, load_unit(given.config), given.listener, given.slot, life)
    except OsteoedgeError as error:
        log.error("stopped", exc_info=error, extra={"role": given.role})
        return {GateError: GATE, ConfigError: CONFIG}.get(type(error), 1)
    return 0


def _run(role: str, unit: UnitConfig, listener: int | None, slot: int, life: Life) -> None:
    match role:
        case "receiver":
            from edge_runtime.intake import dicom_scp

            assert listener is not None
            dicom_scp.run(unit, socket.socket(fileno=listener), slot, life)
        case "folders":
            from edge_runtime.intake import folder

            folder.run(unit, life)
        case "worker":
            from edge_runtime.unit import worker

            worker.run(unit, life)
        case "outbox":
            from edge_runtime import outbox
            from edge_runtime.unit.mode import is_live, load_servable

            bundle = load_servable(unit.bundle)
            outbox.run(unit, life, lambda spool: is_live(spool, bundle))
        case "console":
            from edge_runtime.console import server

            server.run(unit, life)


if __name__ == "__main__":
    sys.exit(main())
