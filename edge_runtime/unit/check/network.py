"""The ports that the unit listens on, and the names of its destinations."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

from edge_runtime.unit.check.finding import Finding
from edge_runtime.unit.config import DicomDestination, UnitConfig
from edge_runtime.unit.listening import listen
from edge_runtime.unit.running import service_pid

_RESOLVE_S = 5.0


def check_ports(unit: UnitConfig) -> Iterator[Finding]:
    """Look whether the ports that the unit listens on are free."""
    pid = service_pid(unit.spool.directory)
    console = unit.console if unit.console is not None and unit.console.has_port else None
    asked = [
        (name, one.bind, one.port)
        for name, one in (
            ("[intake.dicom]", unit.intake.dicom),
            ("[health]", unit.health),
            ("[console]", console),
        )
        if one is not None
    ]
    with ExitStack() as held:
        # All at once, so that two of ours on one port are found, too.
        for name, address, port in asked:
            about, where = "port", f"{name} {address} port {port}"
            try:
                held.enter_context(listen(address, port))
            except OSError as error:
                if pid is not None and error.errno == errno.EADDRINUSE:
                    yield Finding(
                        level="note", about=about, what=f"{where} is used by the running service"
                    )
                else:
                    yield Finding(
                        level="failure",
                        about=about,
                        what=f"{where} cannot be used ({error.strerror})",
                        remedy="Choose another port or address, or stop what holds it",
                    )
            else:
                yield Finding(level="ok", about=about, what=f"{where} is free")


def check_names(unit: UnitConfig) -> Iterator[Finding]:
    """Look destinations up; a unit without network now is no failure."""
    hosts = {
        one.name: one.host if isinstance(one, DicomDestination) else urlsplit(one.url).hostname
        for one in unit.destinations
    }
    found: set[str] = set()

    def look_up(name: str, host: str | None) -> None:
        try:
            socket.getaddrinfo(host or "", None)
        except (OSError, UnicodeError):
            return
        found.add(name)

    # The name service may take long, and cannot be told to stop.
    asked = [threading.Thread(target=look_up, args=one, daemon=True) for one in hosts.items()]
    for thread in asked:
        thread.start()
    deadline = time.monotonic() + _RESOLVE_S
    for thread in asked:
        thread.join(max(0.0, deadline - time.monotonic()))
    for name, host in hosts.items():
        if name in found:
            yield Finding(level="ok", about="destination", what=f"{name}: {host} is known")
        else:
            yield Finding(
                level="warning",
                about="destination",
                what=f"{name}: {host} is not known to the name service now",
                remedy="Correct the name, unless the network is away",
            )
