"""Tell systemd how the service does: the protocol of sd_notify(3), one datagram a message."""

from __future__ import annotations

import os
import socket


def notify(*fields: str) -> bool:
    """Send fields such as ``READY=1``, ``STATUS=...``, ``WATCHDOG=1`` or ``STOPPING=1``.

    Never waits.

    Returns
    -------
    bool
        Whether systemd was told: False where the service was not started by it.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        try:
            line.setblocking(False)
            line.sendto("\n".join(fields).encode(), address)
        except OSError:
            return False
    return True


def watchdog_s() -> float | None:
    """Return how often to send ``WATCHDOG=1``, in seconds; None where nobody waits for it.

    Half of the time after which systemd would end the service, as sd_watchdog_enabled(3) advises.
    """
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant_for = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdigit() or int(microseconds) == 0 or meant_for != str(os.getpid()):
        return None
    return int(microseconds) / 2e6
