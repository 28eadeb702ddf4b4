"""`osteoedge serve --check`: whether a unit can serve, and may, before it does.

::

    finding        what was found, and how it is told
    gates          bundle and encryption: what the service itself asks before it starts
    machine        delegate and clock
    storage        spool, disk and watched folders
    network        ports, and names of destinations
    credentials    keys, certificates and tokens
    console        who may call the local API
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from edge_runtime.unit.check.console import check_console
from edge_runtime.unit.check.credentials import check_keys, check_tls
from edge_runtime.unit.check.finding import Finding, exit_code, report
from edge_runtime.unit.check.gates import check_bundle, check_encryption, pass_gates
from edge_runtime.unit.check.machine import check_clock, check_delegate
from edge_runtime.unit.check.network import check_names, check_ports
from edge_runtime.unit.check.storage import check_folders, check_spool
from edge_runtime.unit.config import UnitConfig

__all__ = ["Finding", "check_unit", "exit_code", "pass_gates", "report"]


def check_unit(unit: UnitConfig, system: Path = Path("/")) -> list[Finding]:
    """Look at everything that a unit needs; nothing is changed.

    Parameters
    ----------
    system
        Where `proc`, `sys` and `dev` lie.
    """
    bundle, about_bundle = check_bundle(unit)
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "bundle": lambda: [about_bundle],
        "delegate": lambda: check_delegate(unit, bundle) if bundle else (),
        "encryption": lambda: [check_encryption(unit, system)],
        "spool": lambda: check_spool(unit, system),
        "port": lambda: check_ports(unit),
        "folder": lambda: check_folders(unit),
        "keys": lambda: check_keys(unit),
        "tls": lambda: check_tls(unit),
        "console": lambda: check_console(unit),
        "destination": lambda: check_names(unit),
        "clock": lambda: [check_clock(unit)],
    }
    found = []
    for about, check in checks.items():
        try:
            found += list(check())
        except PermissionError as error:
            found.append(
                Finding(
                    level="failure",
                    about=about,
                    what=f"{error.filename} may not be looked at",
                    remedy="Check as the user that the service runs as",
                )
            )
    return found
