"""A link of 256 kbit/s that comes and goes, in front of a real server; time passes as bytes do.

The clock stands still but for what the link and the outbox do: a byte takes as long as it takes at
the link's rate, and a sleep takes what it says. A week passes in a minute, and what a slow machine
computes takes no time of it.
"""

from __future__ import annotations

import heapq
import itertools
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import tzinfo

from edge_runtime.outbox.store import STALL_S
from edge_runtime.unit.life import Life

BLOCK = 64 << 10


class SimulatedClock:
    """Time that passes when it is told to, and what happens in it."""

    def __init__(self, start: float, end: float, zone: tzinfo, life: Life) -> None:
        self.zone: tzinfo | None = zone
        self._now = start
        self._end = end
        self._life = life
        self._lock = threading.Lock()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        """UTC seconds since 1970. Waits for nobody: a transaction may ask for it."""
        return self._now

    def at(self, moment: float, event: Callable[[], None]) -> None:
        """Let something happen."""
        heapq.heappush(self._events, (moment, next(self._order), event))

    def sleep(self, seconds: float, life: Life) -> None:
        """Let time pass."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        with self._lock:
            target = self._now + seconds
            while self._events and self._events[0][0] <= target:
                moment, _, event = heapq.heappop(self._events)
                self._now = max(self._now, moment)
                event()
            self._now = target
            if self._now >= self._end:
                self._life.stop()


class SlowLink:
    """Forwards connections at a rate, in both directions, while the link is up.

    Parameters
    ----------
    is_up
        Of a moment, in UTC seconds since 1970.
    delay_s
        Half of a round trip.
    """

    def __init__(
        self,
        clock: SimulatedClock,
        server_port: int,
        bits_per_s: float,
        delay_s: float,
        is_up: Callable[[float], bool],
    ) -> None:
        self._clock = clock
        self._server_port = server_port
        self._byte_s = 8 / bits_per_s
        self._delay_s = delay_s
        self._is_up = is_up
        self._was_up = False
        self.bytes_up = 0
        self.cuts = 0
        self.refusals = 0
        self.port = 0
        self._listener = self._listen()

    def came_up(self) -> bool:
        """What edge_runtime.outbox.link.Link tells of a real one."""
        before, self._was_up = self._was_up, self._is_up(self._clock.now())
        if self._was_up and self._listener.fileno() < 0:
            self._listener = self._listen()
        return self._was_up and not before

    def close(self) -> None:
        # It also ends the wait for the next connection.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = int(listener.getsockname()[1])
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                if self._is_up(self._clock.now()):
                    self._connect(client)
                else:
                    self.refusals += 1
                    _reset(client)
                    self.close()

    def _connect(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._server_port))
        for source, target in ((client, server), (server, client)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upwards = source is client
            threading.Thread(
                target=self._forward, args=(source, target, upwards), daemon=True
            ).start()

    def _forward(self, source: socket.socket, target: socket.socket, upwards: bool) -> None:
        with suppress(OSError):
            while data := source.recv(BLOCK):
                # An answer waits for its way there and back; what streams, streams.
                self._clock.advance(
                    len(data) * self._byte_s + (0 if upwards else 2 * self._delay_s)
                )
                if not self._is_up(self._clock.now()):
                    self.cuts += 1
                    self.close()
                    # As the kernel does where nothing is confirmed any more.
                    self._clock.advance(STALL_S)
                    break
                if upwards:
                    self.bytes_up += len(data)
                target.sendall(data)
            else:
                target.shutdown(socket.SHUT_WR)
                return
        _reset(source)
        _reset(target)


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Also where another thread waits for it.
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
