"""Keeps what peers send out of the log: pynetdicom and pydicom print values as they come."""

from __future__ import annotations

import logging
import threading
import warnings

log = logging.getLogger(__name__)


def quieten() -> None:
    """Silence them in this process; a thread that fails says so in one line."""
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=name)

    def failed(failure: threading.ExceptHookArgs) -> None:
        log.error("thread failed", extra={"reason": failure.exc_type.__name__})

    threading.excepthook = failed
