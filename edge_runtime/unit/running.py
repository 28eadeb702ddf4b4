"""A unit's spool and its service, seen from outside: by other verbs, or with the service down."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edge_runtime.errors import ConfigError
from edge_runtime.spool import Spool
from edge_runtime.spool.database import DATABASE

# In the spool's folder: held with flock by the supervisor, its process id inside.
LOCK = "serve.lock"


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
