"""A runtime in a process of its own, which tells how long it took."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from benchmarks.harness import Query
from benchmarks.peers.child import ABSENT, FAILED, pack, unpack
from edge_runtime.child_process import ChildProcess

# To import TensorFlow and to load a model, or to run one film: far more than any of them needs.
_PATIENCE_S = 300.0
# The runtime's own environment comes first, then this package, of which it needs NumPy alone.
_BOOT = (
    "import sys; sys.path.append(sys.argv.pop(1)); from benchmarks.peers import child; child.main()"
)
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


class Unusable(Exception):  # noqa: N818
    """A runtime cannot be measured; it becomes a row, and no error.

    Parameters
    ----------
    status
        Whether it is not there, or is there and does not do what it should.
    """

    def __init__(self, status: Literal["unavailable", "failed"], reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(status, reason)


class Process:
    """A runtime with a model, in a process of its own.

    Parameters
    ----------
    loader
        ``module:function``, a :data:`benchmarks.peers.runtimes.Load`.
    model
        What it loads.
    python
        The interpreter of the environment that the runtime lives in.
    cores
        The only ones that it may use; None: all.

    Raises
    ------
    Unusable
        The runtime is not installed, or refuses the model.
    """

    def __init__(
        self,
        loader: str,
        model: Path,
        threads: int,
        *,
        python: Path | None = None,
        cores: Sequence[int] | None = None,
    ) -> None:
        # What this environment adds to the search path is not for another one.
        kept = {k: v for k, v in os.environ.items() if not (python and k.startswith("PYTHON"))}
        self._child = ChildProcess(
            [str(python or sys.executable), "-c", _BOOT, _here()], {**kept, **_QUIET}
        )
        try:
            self.version = str(self._say((loader, str(model), threads, cores)))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Process:
        """Return this process."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    def ask(self, payload: Any) -> Any:
        """Return the answer to an input, which :meth:`time` then repeats; see `Loaded.run`.

        Raises
        ------
        Unusable
            It failed.
        """
        return unpack(self._say(("ask", pack(payload))))

    def time(self) -> int:
        """Run the last input once more and return how long that took, nanoseconds.

        Raises
        ------
        Unusable
            It failed.
        """
        return int(self._say(("time",)))

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def _say(self, message: Any) -> Any:
        try:
            self._child.connection.send(message)
            if not self._child.connection.poll(_PATIENCE_S):
                raise Unusable("failed", f"it did not answer for {_PATIENCE_S:g} s")
            kind, content = self._child.connection.recv()
        except (EOFError, ConnectionError):
            raise Unusable("failed", f"its process ended ({self._child.last_words()})") from None
        if kind in (ABSENT, FAILED):
            raise Unusable("unavailable" if kind == ABSENT else "failed", content)
        return content


class Stopwatch:
    """A clock that moves only by what processes say they took: the harness runs by it."""

    def __init__(self) -> None:
        self._now = 0

    def clock(self) -> int:
        """Return the time spent so far, nanoseconds."""
        return self._now

    def query(self, process: Process) -> Query:
        """Return the query that runs a process's last input once more."""

        def run() -> None:
            self._now += process.time()

        return run


def _here() -> str:
    """Return the folder in which this very package lies."""
    return str(Path(__file__).resolve().parents[2])
