"""Takes to one destination what waits for it, whatever becomes of the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec

from edge_runtime.errors import SpoolFullError
from edge_runtime.outbox.clock import Clock
from edge_runtime.outbox.link import Link
from edge_runtime.outbox.store import (
    BusyError,
    InterruptedSendError,
    RefusedError,
    Store,
    UnreachableError,
)
from edge_runtime.outbox.windows import seconds_until_open
from edge_runtime.spool import Spool
from edge_runtime.spool.audit import hashed, head
from edge_runtime.spool.delivery import (
    Delivery,
    claim_delivery,
    delivered,
    not_delivered,
    waiting,
)
from edge_runtime.unit.config import Destination
from edge_runtime.unit.life import Life

_log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
# What a destination refuses it will most likely refuse again, and each time costs its bytes.
REFUSED_WAIT_S = 3600.0
_LOOK_AGAIN_S = 1.0
_CLOSED_STEP_S = 60.0
# A queue that does not end must not keep what is to be asked from being asked.
_ASK_AGAIN_S = 300.0
# How many of the next objects an association is negotiated for.
_AHEAD = 20
# So many tries follow one another at once: a link that was cut is no fault of the object.
_PATIENT_TRIES = 5
Facts = ParamSpec("Facts")


class Backoff:
    """How long to wait before a destination is tried again: doubles, within bounds."""

    def __init__(self) -> None:
        self._next = FIRST_WAIT_S

    def wait_s(self) -> float:
        """Return the next waiting time, in seconds."""
        wait, self._next = self._next, min(2 * self._next, LONGEST_WAIT_S)
        return wait

    def reset(self) -> None:
        """Begin anew: the link is up, or the destination took something."""
        self._next = FIRST_WAIT_S


class Courier:
    """One destination.

    Parameters
    ----------
    spool
        Of the thread that calls :meth:`run`.
    may_send
        Whether the unit may let results and films out: not in shadow mode. Rejection notes always
        go: they take back what is out already.
    """

    def __init__(
        self,
        destination: Destination,
        store: Store,
        spool: Spool,
        life: Life,
        clock: Clock,
        link: Link,
        may_send: Callable[[Spool], bool],
    ) -> None:
        self._destination = destination
        self._store = store
        self._spool = spool
        self._life = life
        self._clock = clock
        self._link = link
        self._may_send = may_send
        self._backoff = Backoff()
        self._reachable = True

    def run(self) -> None:
        """Send until the process is asked to stop."""
        windows, name = self._destination.windows, self._destination.name
        asked, sent_since = self._clock.now(), True
        while not self._life.stopping:
            closed_s = seconds_until_open(windows, self._clock.now(), self._clock.zone)
            if closed_s > 0:
                self._store.close()
                self._backoff.reset()
                # In steps: the clock may be put right.
                self._clock.sleep(min(closed_s, _CLOSED_STEP_S), self._life)
                continue
            notes_only = not self._may_send(self._spool)
            coming = waiting(self._spool, name, _AHEAD, notes_only=notes_only)
            passed = self._clock.now() - asked
            if not 0 <= passed < _ASK_AGAIN_S or (sent_since and not coming):
                self._store.idle()
                asked, sent_since = self._clock.now(), False
            delivery = claim_delivery(self._spool, name, notes_only=notes_only) if coming else None
            if delivery is None:
                self._clock.sleep(_LOOK_AGAIN_S, self._life)
            else:
                self._take(delivery, coming)
                sent_since = True
        self._store.close()

    def _take(self, delivery: Delivery, coming: list[Delivery]) -> None:
        """Send one object, and record what became of it."""
        try:
            sent_bytes = self._store.send(delivery, coming)
        except UnreachableError as error:
            self._record(not_delivered, delivery, str(error), 0.0, tried=False)
            self._note_reachable(False, str(error))
            self._pause(self._backoff.wait_s())
        except InterruptedSendError as error:
            _log.info("interrupted", extra=_facts(delivery, reason=str(error)))
            self._put_off(delivery, str(error), _patience_s(delivery))
        except BusyError as error:
            # Where it is the object and not the destination, each try costs its bytes.
            wait_s = min(2.0 ** min(delivery.attempts, 20), REFUSED_WAIT_S)
            _log.info("not taken now", extra=_facts(delivery, reason=str(error)))
            self._put_off(delivery, str(error), wait_s)
        except RefusedError as error:
            self._record(not_delivered, delivery, str(error), REFUSED_WAIT_S)
            self._note_reachable(True, "")
            self._backoff.reset()
            _log.warning("not taken", extra=_facts(delivery, reason=str(error)))
        except Exception as error:
            # Whatever is wrong with one object must not hold up the others.
            self._record(not_delivered, delivery, type(error).__name__, REFUSED_WAIT_S)
            _log.error("cannot be sent", extra=_facts(delivery, reason=type(error).__name__))
            self._store.close()
        else:
            self._record(delivered, delivery, sent_bytes)
            self._note_reachable(True, "")
            self._backoff.reset()
            audit = head(self._spool)
            _log.info("delivered", extra=_facts(delivery, size=sent_bytes, audit=audit))

    def _put_off(self, delivery: Delivery, reason: str, wait_s: float) -> None:
        pause_s = self._backoff.wait_s()
        # Not before the destination is tried again: what waits behind it is to go first.
        wait_s += pause_s if wait_s > 0 else 0.0
        self._record(not_delivered, delivery, reason, wait_s, uncertain=True)
        self._store.close()
        self._pause(pause_s)

    def _record(
        self,
        step: Callable[Concatenate[Spool, Delivery, Facts], None],
        delivery: Delivery,
        *facts: Facts.args,
        **more: Facts.kwargs,
    ) -> None:
        """Record what became of an object; where the disk is full, as soon as it is not.

        Until then it counts as being sent, and nothing else is: what cannot be recorded would be
        sent again.
        """
        full = False
        while True:
            try:
                step(self._spool, delivery, *facts, **more)
                return
            except SpoolFullError as error:
                if self._life.stopping:
                    raise
                if not full:
                    _log.error("not recorded yet", extra=_facts(delivery, reason=error.what))
                full = True
                self._clock.sleep(_LOOK_AGAIN_S, self._life)

    def _pause(self, left: float) -> None:
        """Wait before the destination is tried again, but not once the link came up."""
        while left > 0 and not self._life.stopping:
            if self._link.came_up():
                self._backoff.reset()
                return
            step = min(left, _LOOK_AGAIN_S)
            self._clock.sleep(step, self._life)
            left -= step

    def _note_reachable(self, reachable: bool, reason: str) -> None:
        """Log when it changes, not every try."""
        if reachable != self._reachable:
            self._reachable = reachable
            where = {"destination": self._destination.name}
            if reachable:
                _log.info("destination reached", extra=where)
            else:
                _log.warning("destination not reached", extra={**where, "reason": reason})


def _facts(delivery: Delivery, **more: object) -> dict[str, object]:
    """Return what the log says of a delivery."""
    return {
        "destination": delivery.destination,
        "object": hashed(delivery.sop_instance_uid),
        "kind": delivery.kind,
        "attempts": delivery.attempts,
        **more,
    }


def _patience_s(delivery: Delivery) -> float:
    """Return how long an object waits that was cut off, in seconds.

    It is tried again at once, unless it was often so. It may end who receives it; or be too large
    for what the link gives at a time, which only a film is: others go meanwhile.
    """
    in_vain = min(delivery.attempts - _PATIENT_TRIES, 20)
    if in_vain <= 0:
        return 0.0
    if delivery.kind == "original":
        return min(LONGEST_WAIT_S * 2.0**in_vain, REFUSED_WAIT_S)
    return min(2.0**in_vain, LONGEST_WAIT_S)
