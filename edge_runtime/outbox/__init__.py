"""The outbox: takes results, and films where osteoedge is told to, to where they belong.

::

    courier       one destination: its windows, its back-off, what becomes of an object
    store         what a courier asks of a way to send, and how that can fail
    dicom_store   C-STORE
    commitment    storage commitment
    stow          STOW-RS
    original      films are compressed losslessly before they are sent
    windows       parts of the day in which a destination may be reached
    link          whether there is a network
    clock         time
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from edge_runtime.errors import OsteoedgeError
from edge_runtime.outbox.clock import Clock, SystemClock
from edge_runtime.outbox.courier import Courier
from edge_runtime.outbox.link import Link
from edge_runtime.outbox.store import Store
from edge_runtime.spool import Spool
from edge_runtime.spool.database import OUTGOING
from edge_runtime.spool.delivery import resume
from edge_runtime.unit.config import AnyDestination, UnitConfig
from edge_runtime.unit.life import Life

_log = logging.getLogger(__name__)

_BEAT_S = 1.0
_AFTER_AN_ERROR_S = 10.0
_STOP_S = 3.0


def run(
    unit: UnitConfig,
    life: Life,
    may_send: Callable[[Spool], bool],
    clock: Clock | None = None,
) -> None:
    """Deliver until the process is asked to stop: each destination in a thread of its own.

    Parameters
    ----------
    may_send
        Asked before each object whether the unit may let results and films out: not in shadow mode.
        It is given the asking thread's spool. Rejection notes always go.
    clock
        The machine's, unless given.
    """
    clock = clock or SystemClock()
    folder = unit.spool.directory
    with Spool(folder, clock.now) as spool:
        resume(spool)
    for file in (folder / OUTGOING).iterdir():
        file.unlink()
    threads = [
        _Thread(destination, folder, life, clock, may_send) for destination in unit.destinations
    ]
    for thread in threads:
        thread.start()
    while not life.wait(_BEAT_S):
        pass
    for thread in threads:
        thread.abort()
    for thread in threads:
        thread.join(_STOP_S / len(threads))


class _Thread(threading.Thread):
    def __init__(
        self,
        destination: AnyDestination,
        folder: Path,
        life: Life,
        clock: Clock,
        may_send: Callable[[Spool], bool],
    ) -> None:
        super().__init__(name=f"outbox-{destination.name}", daemon=True)
        self._destination = destination
        self._folder = folder
        self._life = life
        self._clock = clock
        self._may_send = may_send
        self._store: Store | None = None

    def run(self) -> None:
        """Deliver; begin anew after a full disk, or whatever else befalls one destination."""
        name = self._destination.name
        while not self._life.stopping:
            try:
                with Spool(self._folder, self._clock.now) as spool:
                    resume(spool, name)
                    self._store = _store(self._destination, self._folder / OUTGOING, spool)
                    Courier(
                        self._destination, self._store, spool, self._life, self._clock, Link(),
                        self._may_send,
                    ).run()  # fmt: skip
            except Exception as error:
                reason = error.what if isinstance(error, OsteoedgeError) else type(error).__name__
                _log.error("the outbox begins anew", extra={"destination": name, "reason": reason})
                self._clock.sleep(_AFTER_AN_ERROR_S, self._life)

    def abort(self) -> None:
        """End what is being sent, from another thread."""
        if self._store is not None:
            self._store.abort()


def _store(destination: AnyDestination, scratch: Path, spool: Spool) -> Store:
    # Imported here: a unit that sends by one way does not load the other.
    if destination.kind == "stow":
        from edge_runtime.outbox.stow import StowStore

        return StowStore(destination, scratch)
    from edge_runtime.outbox.commitment import Commitment
    from edge_runtime.outbox.dicom_store import DicomStore

    commitment = Commitment(spool, destination.name) if destination.commitment else None
    return DicomStore(destination, scratch, commitment)
