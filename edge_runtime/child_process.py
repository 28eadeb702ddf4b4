"""A child process that is talked to over a socket pair, and whose last words are kept."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import IO

# Of what a process wrote before it ended: enough for its last line.
_LAST_BYTES, _LAST_LETTERS = 4096, 200


class ChildProcess:
    """A process that runs native code of others, which may crash or hang.

    Parameters
    ----------
    command
        What is started; the number of its end of the socket pair is added as the last argument.
    environment
        All of it.

    Attributes
    ----------
    connection
        This end.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        # Open for as long as the child lives.
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        mine, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # Native libraries log here, and a result on stdout must stay readable.
                stdout=self._said,
                stderr=self._said,
                env=environment,
            )
        self.connection = Connection(mine.detach())

    def close(self) -> None:
        """End it."""
        self.connection.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._said.close()

    def last_words(self) -> str:
        """Wait until it ends, and return how: signal or exit code, and the last line it wrote."""
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._said.seek(max(self._said.seek(0, os.SEEK_END) - _LAST_BYTES, 0))
        lines = self._said.read().decode(errors="replace").split("\n")
        words = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{how}: {words[:_LAST_LETTERS]}" if words else how
