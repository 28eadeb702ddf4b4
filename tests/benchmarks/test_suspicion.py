"""Latencies that nobody should believe before looking."""

from __future__ import annotations

import numpy as np

from benchmarks.delegates.suspicion import (
    NeverTheSame,
    answers_of_others,
    kept_answers,
    multiplications,
    new_films,
    too_few_cycles,
)
from edge_runtime.bundle import load_bundle
from tests.benchmarks.networks import CHANNELS, SIDE, float_network
from tests.conftest import Trained

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 20, 16)).astype(np.uint8)


def test_no_film_is_asked_twice() -> None:
    asked: list[bytes] = []
    query = NeverTheSame(new_films(PIXELS, 4, seed=1), lambda film: asked.append(film.tobytes()))
    for _ in range(300):
        query()
    assert len(set(asked)) == len(asked) == 300
    assert not set(asked) & {film.tobytes() for film in PIXELS}
    assert [film.tobytes() for film in query.films] == asked[-4:]


def test_new_films_have_the_grey_levels_of_golden_vectors() -> None:
    films = new_films(PIXELS, 7, seed=1)
    assert films.shape == (7, 20, 16) and films.dtype == np.uint8
    assert np.array_equal(films, new_films(PIXELS, 7, seed=1))
    assert len({film.tobytes() for film in films}) == 7
    for number, film in enumerate(films):
        assert np.array_equal(np.sort(film.ravel()), np.sort(PIXELS[number % 3].ravel()))


def test_a_memory_of_answers_betrays_itself() -> None:
    now, known = [0], set[bytes]()

    def honest(film: np.ndarray) -> None:
        now[0] += 2_000_000

    def remembering(film: np.ndarray) -> None:
        now[0] += 10_000 if film.tobytes() in known else 2_000_000
        known.add(film.tobytes())

    films = new_films(PIXELS, 9, seed=1)
    assert kept_answers(honest, films, lambda: now[0]) is None
    why = kept_answers(remembering, films, lambda: now[0])
    assert (
        why == "a new film takes 2.000 ms at least, the same once more 0.010 ms: answers are kept"
    )


def test_coarse_answers_belong_to_their_films_and_guesses_do_not() -> None:
    generator = np.random.default_rng(0)
    expected = [
        {"cam": generator.integers(-128, 128, (1, 4, 4, 3)).astype(np.int8)} for _ in range(10)
    ]
    coarse = [{"cam": (one["cam"] // 64 * 64).astype(np.int8)} for one in expected]
    assert answers_of_others(coarse, expected) is None
    swapped = [coarse[1], coarse[0], *coarse[2:]]
    assert answers_of_others(swapped, expected) is None, "two may be much alike"
    assert "9 of 10 other films" in str(answers_of_others([coarse[3]] * 10, expected))


def test_products_are_counted_by_hand_on_a_small_network() -> None:
    products = SIDE * SIDE * CHANNELS * 9
    assert multiplications(float_network()) == products
    assert multiplications(float_network(half=True)) == products


def test_products_of_the_trained_network(trained: Trained) -> None:
    model = load_bundle(trained.bundle).model
    # EfficientNet-Lite0 has 0.39 billion at 224 x 224; this one is at 128 x 128, and has heads.
    assert 0.1e9 < multiplications(model) < 0.2e9


def test_nothing_multiplies_faster_than_the_fastest_unit_at_the_highest_clock(
    trained: Trained,
) -> None:
    model = load_bundle(trained.bundle).model
    least = 1e3 * multiplications(model) / (1024 * 7e9)
    assert too_few_cycles(model, 1, 1.01 * least) is None
    assert "no processor" in str(too_few_cycles(model, 1, 0.99 * least))
    assert too_few_cycles(model, 2, 0.51 * least) is None
    assert "2 threads" in str(too_few_cycles(model, 2, 0.49 * least))
