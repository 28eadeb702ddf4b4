"""Runtimes that a child process of `benchmarks.peers` loads in tests."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from benchmarks.peers.runtimes import Loaded


def doubling(_: Path, threads: int) -> Loaded:
    return Loaded(f"doubling {threads}", lambda tensor: [tensor * 2, tensor.astype(np.float32)])


def sleeping(_: Path, threads: int) -> Loaded:
    return Loaded("sleeping 1", lambda milliseconds: time.sleep(milliseconds / 1e3))


def absent(_: Path, threads: int) -> Loaded:
    import no_such_runtime  # type: ignore[import-not-found]

    return Loaded(str(no_such_runtime), lambda tensor: tensor)


def refusing(_: Path, threads: int) -> Loaded:
    raise RuntimeError("op 7 is not known\nand much more")


def crashing(_: Path, threads: int) -> Loaded:
    def run(_: object) -> None:
        print("out of memory", flush=True)
        os.abort()

    return Loaded("crashing 1", run)


def constant(model: Path, threads: int) -> Loaded:
    """Answer quickly, and the same whatever it is asked."""
    from benchmarks.peers.runtimes.interpreters import litert

    found = litert(model, threads)
    answer = found.run(np.zeros((1, 128, 128, 1), np.int8))
    return Loaded("constant 1", lambda _: [np.full_like(output, 127) for output in answer])
