"""Who has a unit's spool: its one service, and those who look at it meanwhile."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_runtime.errors import ConfigError
from edge_runtime.spool import Spool
from edge_runtime.spool.database import DATABASE

# In the spool's folder: held with flock by the supervisor, its process id inside.
LOCK = "serve.lock"
_LOCK_S = 1.0


def open_spool(folder: Path) -> Spool:
    """Open a spool that is there, to look at it.

    Raises
    ------
    ConfigError
        There is none, or it is not for this user.
    """
    if not os.access(folder / DATABASE, os.R_OK | os.W_OK):
        raise ConfigError(
            "no spool is here yet, or this user may not open it",
            "Start 'osteoedge serve' once, or run this as the service's user",
            str(folder),
        )
    return Spool(folder)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a spool for this service alone, until the end of the block.

    Raises
    ------
    ConfigError
        Another service has it.
    """
    with (folder / LOCK).open("a+") as lock:
        deadline = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # `service_pid` holds it for an instant, to ask who does.
                if time.monotonic() > deadline:
                    raise ConfigError(
                        "another service has this spool", "Stop it first", str(folder)
                    ) from None
                time.sleep(0.05)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def service_pid(folder: Path) -> int | None:
    """Return the process id of the supervisor that serves a spool; None: none does."""
    try:
        with (folder / LOCK).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read().strip() or 0)
    except OSError:
        pass  # It never ran, or is another user's.
    return None
