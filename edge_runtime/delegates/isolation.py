"""Native delegates in a child process: what crashes or hangs there takes no radiograph with it.

Parent and child talk over a socket pair, one message at a time; the first byte says what it is.
While the child runs a film, it also sends a sign of life every so often, so that a process that was
stopped is found before the film's time is up. Native code that holds Python's lock sends none.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle import ModelSpec
from edge_runtime.child_process import ChildProcess
from edge_runtime.delegates.base import Coverage, Delegate, Outputs
from edge_runtime.errors import DelegateError

READY, FAILED, RESULT, ALIVE = b"R", b"F", b"O", b"A"
HEARTBEAT_S = 0.5


@dataclass(frozen=True)
class Limits:
    """How long a child process may take, in seconds.

    Attributes
    ----------
    load
        To start, load the delegate and prepare the model: GPUs compile shaders then.
    run
        For one film.
    silence
        Without a sign of life while it runs.
    """

    load: float = 120.0
    run: float = 20.0
    silence: float = 10.0


class IsolatedModel:
    """A model on a delegate that runs in a child process.

    Raises
    ------
    DelegateError
        The child refused, crashed, or took longer than it may.
    """

    def __init__(
        self, delegate: Delegate, model: bytes, spec: ModelSpec, threads: int, limits: Limits
    ) -> None:
        self._spec = spec
        self._limits = limits
        self._child = ChildProcess(
            [sys.executable, "-m", "edge_runtime.delegates.child"],
            {**os.environ, **delegate.environment(), "PYTHONPATH": _import_path()},
        )
        try:
            # The delegate itself, whatever it was made of; the child is ours, and runs this code.
            self._send(pickle.dumps((delegate, model, spec, threads)))
            ready = self._receive(READY, limits.load, limits.load, "while it was loaded")
        except BaseException:
            self.close()
            raise
        said = json.loads(ready)
        self.degraded: str = said["degraded"]
        self.coverage = Coverage(said["coverage"]["total"], tuple(said["coverage"]["left"]))

    def run(self, tensor: npt.NDArray[np.int8]) -> Outputs:
        """Run one film: int8 (1, height, width, channels) in, each head's int8 tensor out.

        Raises
        ------
        DelegateError
            It failed, crashed or hung. The child is gone then.
        """
        if self._child.connection.closed:
            raise DelegateError(
                "the delegate's process has ended", "Look at its earlier failure, or restart"
            )
        try:
            self._send(tensor.tobytes())
            answer = self._receive(RESULT, self._limits.run, self._limits.silence, "while it ran")
        except DelegateError:
            self.close()
            raise
        outputs: Outputs = {}
        start = 0
        for head, spec in self._spec.outputs.items():
            size = int(np.prod(spec.shape))
            outputs[head] = np.frombuffer(answer, np.int8, size, start).reshape(spec.shape)
            start += size
        return outputs

    def close(self) -> None:
        """End the child."""
        self._child.close()

    def _send(self, message: bytes) -> None:
        try:
            self._child.connection.send_bytes(message)
        except OSError:
            raise self._ended("before it was asked") from None

    def _receive(self, expected: bytes, limit: float, silence: float, when: str) -> bytes:
        deadline = time.monotonic() + limit
        while True:
            patience = min(deadline - time.monotonic(), silence)
            try:
                if not self._child.connection.poll(max(patience, 0.0)):
                    slow = time.monotonic() >= deadline
                    what = (
                        f"took more than {limit:g} s"
                        if slow
                        else (f"gave no sign of life for {silence:g} s")
                    )
                    raise DelegateError(
                        f"the delegate {what} {when}, and was stopped",
                        "Look at the device, or choose another delegate",
                    )
                message = self._child.connection.recv_bytes()
            except (EOFError, ConnectionError):
                raise self._ended(when) from None
            kind, content = message[:1], message[1:]
            if kind == expected:
                return content
            if kind == FAILED:
                failure = json.loads(content)
                raise DelegateError(failure["what"], failure["remedy"])
            if time.monotonic() >= deadline:
                raise DelegateError(
                    f"the delegate took more than {limit:g} s {when}, and was stopped",
                    "Look at the device, or choose another delegate",
                )

    def _ended(self, when: str) -> DelegateError:
        """Say how the child ended, and its last words."""
        return DelegateError(
            f"the delegate's process ended {when} ({self._child.last_words()})",
            "Look at the device and its driver, or choose another delegate",
        )


def _import_path() -> str:
    """Return a PYTHONPATH by which the child finds this very package."""
    here = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
