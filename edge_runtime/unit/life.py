"""What each process of the unit knows of its own life.

The supervisor holds the other end of a socket. The process says there, every so often, that it
still works; it ends when the supervisor is gone, and stops when it is asked to.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from types import FrameType

BEAT = b"."


class Life:
    """The life of one process.

    Parameters
    ----------
    line
        Our end of the socket; None in a test, or where nobody supervises.
    """

    def __init__(self, line: socket.socket | None = None) -> None:
        self._line = line
        self._stopping = threading.Event()
        if line is not None:
            line.setblocking(True)
            threading.Thread(target=self._watch, args=(line,), daemon=True).start()

    @property
    def stopping(self) -> bool:
        """Whether the process was asked to stop."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Ask the process to stop."""
        self._stopping.set()

    def stop_on_signals(self) -> None:
        """Stop on SIGTERM and SIGINT. For the main thread."""

        def asked(signum: int, frame: FrameType | None) -> None:
            self.stop()

        signal.signal(signal.SIGTERM, asked)
        signal.signal(signal.SIGINT, asked)

    def beat(self) -> None:
        """Say that the main loop still goes round. Never waits."""
        if self._line is not None:
            try:
                self._line.send(BEAT, socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass  # The supervisor is busy, and has enough of them to read.
            except OSError:
                self.stop()

    def wait(self, seconds: float) -> bool:
        """Wait, or until the process is asked to stop; return whether it was."""
        self.beat()
        return self._stopping.wait(seconds)

    def _watch(self, line: socket.socket) -> None:
        # The supervisor says nothing: what ends the wait is its end.
        while True:
            try:
                if not line.recv(64):
                    break
            except OSError:
                break
        # At once: the main loop may be deep in native code, and all it does can be done again.
        os._exit(1)
