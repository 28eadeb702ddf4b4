"""What a latency that is too low to be believed betrays itself by.

A delegate is fast without doing the work where it computes something else, where it keeps answers
that it gave before, or where the clock is not what it seems. The first two are what MLPerf's
compliance tests look for (TEST01 compares answers of the timed run, TEST04 times inputs that come
again); the third is arithmetic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Clock
from edge_runtime.delegates import Outputs
from edge_runtime.delegates.runtime import interpreter_module

Film = npt.NDArray[np.uint8]
Ask = Callable[[Film], object]

# What no processor exceeds, whichever this one is. Intel's AMX, the widest matrix unit that a core
# has so far, multiplies 1024 pairs of 8-bit numbers a cycle; none is clocked at 7 GHz.
_PRODUCTS_PER_CYCLE, _HERTZ = 1024, 7e9
# Of operators that multiply: which input has the weights, and whether each is used at every place
# of the output.
_WEIGHTS = {"CONV_2D": (1, True), "DEPTHWISE_CONV_2D": (1, True), "FULLY_CONNECTED": (1, False)}


def new_films(pixels: Film, count: int, seed: int) -> Film:
    """Return films that no bundle holds: golden vectors, moved and mirrored at random.

    Parameters
    ----------
    pixels
        Network pixels, uint8 (n, height, width).

    Returns
    -------
    ndarray
        uint8 (count, height, width).
    """
    generator = np.random.default_rng(seed)
    films = []
    for number in range(count):
        moves = tuple(generator.integers(1, pixels.shape[1:]))
        film = np.roll(pixels[number % len(pixels)], moves, axis=(0, 1))
        films.append(film[:, ::-1] if generator.integers(2) else film)
    return np.stack(films)


class NeverTheSame:
    """A query that asks another film each time, so that no kept answer can make it fast.

    One grey level of a film changes before it comes again, which takes no time to speak of.

    Parameters
    ----------
    films
        uint8 (n, height, width); changed in place, always what was last asked.
    """

    def __init__(self, films: Film, ask: Ask) -> None:
        self.films = films
        self._flat = films.reshape(len(films), -1)
        self._ask = ask
        self._asked = 0

    def __call__(self) -> object:
        """Ask the next film."""
        number = self._asked
        self._asked += 1
        film = number % len(self.films)
        self._flat[film, number % self._flat.shape[1]] ^= 1
        return self._ask(self.films[film])


def kept_answers(ask: Ask, films: Film, clock: Clock = time.perf_counter_ns) -> str | None:
    """Say so where a film that has just been asked is answered twice as fast as any new one.

    The median of repeats is held against the fastest new film: a busy machine only makes slower.

    Parameters
    ----------
    films
        uint8 (n, height, width), none of which was asked before; the first only warms up.
    clock
        Monotonic, nanoseconds.
    """
    ask(films[0])
    new, again = [], []
    for film in films[1:]:
        start = clock()
        ask(film)
        middle = clock()
        ask(film)
        new.append((middle - start) / 1e6)
        again.append((clock() - middle) / 1e6)
    first, second = min(new), float(np.median(again))
    if second > first / 2:
        return None
    return (
        f"a new film takes {first:.3f} ms at least, the same once more {second:.3f} ms: "
        "answers are kept"
    )


def answers_of_others(given: Sequence[Outputs], expected: Sequence[Outputs]) -> str | None:
    """Say so where most films get an answer that is more like the one that another should get.

    However coarse a delegate rounds, its answer to a film is nearest to that of the reference to
    the same film; what was learnt by heart, or left out, is not.

    Parameters
    ----------
    given, expected
        Of the delegate and of the reference to the same films, none of which is in the bundle.
    """
    wrong = sum(
        min(range(len(expected)), key=lambda at: _apart(answer, expected[at])) != number
        for number, answer in enumerate(given)
    )
    if 2 * wrong <= len(given):
        return None
    return (
        f"golden vectors are answered, but {wrong} of {len(given)} other films get an answer that "
        "the CPU gives to another film"
    )


def _apart(one: Outputs, other: Outputs) -> float:
    """Return the mean difference of two answers over the heads, in steps."""
    return sum(
        float(np.abs(one[head].astype(np.int16) - other[head]).mean()) for head in one
    ) / len(one)


def too_few_cycles(model: bytes, threads: int, milliseconds: float) -> str | None:
    """Say so where a processor would have multiplied more than any processor can."""
    products = multiplications(model)
    least = 1e3 * products / (threads * _PRODUCTS_PER_CYCLE * _HERTZ)
    if milliseconds >= least:
        return None
    return (
        f"{products / 1e6:.1f} million products in {milliseconds:.4f} ms on {threads} "
        f"thread{'s' * (threads > 1)}: no processor takes less than {least:.4f} ms"
    )


def multiplications(model: bytes) -> int:
    """Return how many products a run of a TFLite file takes at least.

    Those of convolutions and dense layers, by the shapes of their weights and outputs.
    """
    interpreter = interpreter_module().Interpreter(model_content=model)
    shapes = {entry["index"]: entry["shape"] for entry in interpreter.get_tensor_details()}
    return sum(_products(op, shapes) for op in interpreter._get_ops_details())


def _products(op: dict[str, Any], shapes: dict[int, npt.NDArray[np.int32]]) -> int:
    if op["op_name"] not in _WEIGHTS:
        return 0
    at, everywhere = _WEIGHTS[op["op_name"]]
    places = np.prod(shapes[op["outputs"][0]][1:3], dtype=np.int64) if everywhere else 1
    return int(places * np.prod(shapes[op["inputs"][at]], dtype=np.int64))
