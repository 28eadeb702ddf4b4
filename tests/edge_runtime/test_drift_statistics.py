"""The tests behind an alarm: exact, whatever the sizes, and as seldom wrong as is stated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edge_runtime.drift.blocks import FALSE_ALARMS, LEVEL, OVER, alarms, compare
from edge_runtime.drift.reference import BLOCK, FIGURES, MEASURES, DriftReference, reference_of
from edge_runtime.drift.statistics import compare_counts, compare_values, fisher, smirnov


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 120), m=st.integers(1, 120), shift=st.floats(-2, 2), seed=st.integers(0, 999)
)
def test_smirnov_is_that_of_scipy(n: int, m: int, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, block = rng.normal(size=n), rng.normal(size=m) + shift
    exact = stats.ks_2samp(reference, block, method="exact")
    assert compare_values(reference, block).p == pytest.approx(exact.pvalue, rel=1e-6, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(of=st.integers(1, 600), of_too=st.integers(1, 150), data=st.data())
def test_fisher_is_that_of_scipy(of: int, of_too: int, data: st.DataObject) -> None:
    few, few_too = data.draw(st.integers(0, of)), data.draw(st.integers(0, of_too))
    exact = stats.fisher_exact([[few, of - few], [few_too, of_too - few_too]])
    assert fisher(few, of, few_too, of_too) == pytest.approx(exact.pvalue, rel=1e-6)


def test_every_split_of_a_few_values_is_as_likely() -> None:
    """The law itself, counted: of all ways to deal 7 values into 4 and 3, so many lie as far."""
    from itertools import combinations

    values = np.arange(7.0)
    found = [
        compare_values(np.delete(values, block), values[list(block)]).p
        for block in combinations(range(7), 3)
    ]
    for p in set(found):
        assert np.mean([one <= p + 1e-12 for one in found]) == pytest.approx(p)


def test_equal_values_make_the_test_cautious() -> None:
    rng = np.random.default_rng(1)
    p = [
        compare_values(*(rng.integers(0, 3, size).astype(float) for size in (200, 100))).p
        for _ in range(400)
    ]
    assert np.mean(np.array(p) <= 0.1) <= 0.1
    assert compare_values(np.ones(50), np.ones(20)).p == 1.0
    assert smirnov(50, 20, 0) == 1.0


@pytest.mark.parametrize(
    ("block", "direction"),
    [("lower", "lower"), ("higher", "higher"), ("wider", "varied"), ("narrower", "varied")],
)
def test_a_difference_has_a_direction(block: str, direction: str) -> None:
    values = stats.norm.ppf(np.linspace(0.01, 0.99, 200))
    changed = {
        "lower": values - 1, "higher": values + 1, "wider": values * 3, "narrower": values / 3,
    }[block]  # fmt: skip
    found = compare_values(values, changed)
    assert found.p < LEVEL and found.direction == direction
    assert found.then == pytest.approx(0, abs=1e-9)
    assert found.now == pytest.approx(np.median(changed))


def test_counts_have_a_direction() -> None:
    more, fewer = compare_counts((10, 500), (12, 100)), compare_counts((100, 500), (2, 100))
    assert (more.direction, fewer.direction) == ("higher", "lower")
    assert (more.then, more.now) == (0.02, 0.12)
    assert more.p < LEVEL and fewer.p < LEVEL


def test_an_alarm_lasts_until_films_do_not_even_differ_a_little() -> None:
    assert pytest.approx(FALSE_ALARMS) == LEVEL * len(FIGURES)
    assert alarms(LEVEL, before=False) and not alarms(LEVEL * 1.01, before=False)
    assert alarms(OVER, before=True) and not alarms(OVER * 1.01, before=True)


def drawn(rng: np.random.Generator, films: int, unable: float = 0.05) -> DriftReference:
    values = rng.normal(size=(films, len(MEASURES)))
    rows = [dict(zip(MEASURES, map(float, row), strict=True)) for row in values]
    return reference_of(rows, int(rng.binomial(films, unable)))


def test_blocks_of_the_same_films_raise_as_few_alarms_as_is_stated() -> None:
    """The law in small; `python -m benchmarks.drift` does it with a hundred times as many."""
    rng = np.random.default_rng(7)
    wrong = [
        any(found.p <= LEVEL for found in compare(drawn(rng, 300), drawn(rng, BLOCK)).values())
        for _ in range(400)
    ]
    # As many as this or more come of 1 % once in 10,000 runs: a level ten times too high fails.
    assert sum(wrong) <= stats.binom.isf(1e-4, len(wrong), FALSE_ALARMS)


def test_what_cannot_be_compared_is_left_out() -> None:
    rng = np.random.default_rng(2)
    reference = drawn(rng, 100)
    without = reference.model_copy(
        update={"values": {k: v for k, v in reference.values.items() if k != "distance"}}
    )
    assert compare(without, drawn(rng, BLOCK)).keys() == set(FIGURES) - {"distance"}
    unread = reference_of([{}] * 80 + [{"exposure": 1.0}] * 20, unable=80)
    assert compare(reference, unread).keys() == {"unable"}
    assert compare(reference, unread)["unable"].p < 1e-9


@pytest.mark.parametrize(
    "wrong",
    [
        {"films": 2, "unable": 3, "values": {}},
        {"films": 2, "unable": 0, "values": {"exposure": (2.0, 1.0)}},
        {"films": 2, "unable": 0, "values": {"exposure": (1.0, 2.0, 3.0)}},
        {"films": 2, "unable": 0, "values": {"hue": (1.0,)}},
    ],
)
def test_a_reference_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="DriftReference"):
        DriftReference.model_validate(wrong)
