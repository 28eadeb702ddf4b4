"""The child process of :mod:`edge_runtime.delegates.isolation`: one delegate, one model."""

from __future__ import annotations

import json
import os
import sys
import threading
from multiprocessing.connection import Connection

import numpy as np

from edge_runtime.delegates.isolation import ALIVE, FAILED, HEARTBEAT_S, READY, RESULT
from edge_runtime.errors import DelegateError


class Heart:
    """Sends a sign of life while something long goes on; ends this process with its parent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._busy = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def work(self) -> None:
        """Begin to send signs of life."""
        self._busy.set()

    def answer(self, message: bytes) -> None:
        """End them with an answer."""
        with self._sending:
            self._busy.clear()
            self._connection.send_bytes(message)

    def _beat(self) -> None:
        pause = threading.Event()
        while True:
            self._busy.wait()
            pause.wait(HEARTBEAT_S)
            with self._sending:
                if self._busy.is_set():
                    try:
                        self._connection.send_bytes(ALIVE)
                    except OSError:
                        # Nobody waits any more, and native code may never come back.
                        os._exit(0)


def main() -> None:
    """Load what the parent names, then run what it sends, until it goes."""
    connection = Connection(int(sys.argv[1]))
    delegate, model, spec, threads = connection.recv()
    heart = Heart(connection)
    heart.work()
    try:
        loaded = delegate.load(model, spec, threads)
        coverage = {"total": loaded.coverage.total, "left": loaded.coverage.left}
        said = {"degraded": loaded.degraded, "coverage": coverage}
        heart.answer(READY + json.dumps(said).encode())
        while True:
            tensor = np.frombuffer(connection.recv_bytes(), np.int8).reshape(spec.input.shape)
            heart.work()
            outputs = loaded.run(tensor)
            heart.answer(RESULT + b"".join(outputs[head].tobytes() for head in spec.outputs))
    except DelegateError as error:
        heart.answer(FAILED + json.dumps({"what": error.what, "remedy": error.remedy}).encode())
    except (EOFError, ConnectionError):
        pass
    # Not through the interpreter's end: a native library's destructors may hang there.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
