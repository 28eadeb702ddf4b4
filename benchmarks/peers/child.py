"""The child process of :mod:`benchmarks.peers.process`: one runtime, one model.

It times itself. What the pipe costs is in no figure, and a runtime's own threads, which may spin
for a while, and its memory are in nobody else's process.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.runtimes import Load

READY, ABSENT, FAILED, ANSWER = "ready", "absent", "failed", "answer"


def pack(value: Any) -> Any:
    """Turn arrays into what any NumPy understands: the child may have another one."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    return [pack(part) for part in value] if isinstance(value, list) else value


def unpack(value: Any) -> Any:
    """Return what :func:`pack` was given."""
    if isinstance(value, tuple):
        dtype, shape, content = value
        return np.frombuffer(content, dtype).reshape(shape)
    return [unpack(part) for part in value] if isinstance(value, list) else value


def main() -> None:
    """Load what the parent names, then answer or time what it sends, until it goes."""
    connection = Connection(int(sys.argv[1]))
    loader, model, threads, cores = connection.recv()
    _keep_to(cores)
    try:
        module, _, function = loader.partition(":")
        load: Load = getattr(importlib.import_module(module), function)
        loaded = load(Path(model), threads)
        connection.send((READY, loaded.version))
        payload: Any = None
        while True:
            match connection.recv():
                case ("ask", asked):
                    payload = unpack(asked)
                    connection.send((ANSWER, pack(loaded.run(payload))))
                case ("time",):
                    start = time.perf_counter_ns()
                    loaded.run(payload)
                    connection.send((ANSWER, time.perf_counter_ns() - start))
    except ModuleNotFoundError as error:
        connection.send((ABSENT, f"no module {error.name}"))
    except (EOFError, ConnectionError):
        pass
    except Exception as error:
        # A runtime of others may raise whatever it likes.
        said = str(error).strip().splitlines()
        connection.send((FAILED, said[0] if said else type(error).__name__))
    # Not through the interpreter's end: a native library's destructors may hang there.
    os._exit(0)


def _keep_to(cores: Sequence[int] | None) -> None:
    if cores is not None:
        os.sched_setaffinity(0, set(cores))


if __name__ == "__main__":
    main()
