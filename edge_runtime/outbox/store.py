"""What the outbox asks of a way to store objects elsewhere, and how that can fail."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Protocol

from edge_runtime.spool.delivery import Delivery

# A peer that cannot be connected to in that time is not there.
CONNECT_S = 15.0
# Of silence where bytes wait to be received or confirmed, however many there are: 256 kbit/s with
# a dozen lost packets in a row goes through.
STALL_S = 30.0
# After the last byte of an object: a slow archive indexes, writes and syncs.
ANSWER_S = 90.0
# Bytes that wait in the kernel. Its own limit is megabytes, minutes at 256 kbit/s, in which
# nothing could be told of what arrives.
_SEND_BUFFER = 128 << 10


class UnreachableError(Exception):
    """The destination was not reached, or wants nothing of us; no object is at fault."""


class InterruptedSendError(Exception):
    """The sending of an object did not end: it may have arrived, and is sent again."""


class BusyError(Exception):
    """The destination answered that it cannot take this object now: it is full, or fails at it."""


class RefusedError(Exception):
    """The destination does not want this object, and will not when asked again soon."""


class Store(Protocol):
    """A destination's service; used by one thread, but for :meth:`abort`."""

    def send(self, delivery: Delivery, coming: Sequence[Delivery]) -> int:
        """Send an object; return how many bytes its file had.

        Parameters
        ----------
        coming
            What is likely to be sent next, for the negotiation.

        Raises
        ------
        UnreachableError, InterruptedSendError, BusyError, RefusedError
        """

    def idle(self) -> None:
        """Ask what is to be asked, and disconnect: where the queue ends, and now and then."""

    def close(self) -> None:
        """End the connection in good order."""

    def abort(self) -> None:
        """End the connection at once, from another thread: the unit stops."""


SOCKET_OPTIONS: tuple[tuple[int, int, int], ...] = (
    (socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # A link that went away says nothing: the kernel ends a connection whose bytes are not
    # confirmed, and asks where nothing is being sent.
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALL_S * 1000)),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
"""For connections over a slow link that comes and goes: progress decides, not total time."""
