"""The same work gives the same UID, other work another."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from edge_runtime.reports.uids import WorkIdentity, derived_uid, result_uid, series_uid

HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
WORK = st.builds(
    WorkIdentity, HASHES, HASHES, HASHES | st.none(), st.text(max_size=20), st.integers(1, 99)
)
FILM = WorkIdentity("a" * 64, "b" * 64, None, "osteoedge 0.1.0", 1)


@given(work=st.lists(WORK, min_size=1, max_size=4), study=st.integers(1, 9) | st.none())
def test_a_uid_is_a_valid_one_that_was_derived_from_a_uuid(
    work: list[WorkIdentity], study: int | None
) -> None:
    uid = result_uid("sr", *work, study_revision=study)
    assert UID(uid).is_valid and len(uid) <= 64
    root, _, number = uid.rpartition(".")
    assert root == "2.25"
    assert uuid.UUID(int=int(number)).variant == uuid.RFC_4122
    assert uuid.UUID(int=int(number)).version == 8


@given(work=st.lists(WORK, min_size=1, max_size=4), data=st.data())
def test_films_in_any_order_are_the_same_work(work: list[WorkIdentity], data: Any) -> None:
    shuffled = data.draw(st.permutations(work))
    assert result_uid("sr", *work) == result_uid("sr", *shuffled)


@pytest.mark.parametrize(
    "other",
    [
        {"content_sha256": "c" * 64},
        {"bundle_sha256": "c" * 64},
        {"site_sha256": "c" * 64},
        {"software": "osteoedge 0.1.1"},
        {"revision": 2},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_work_is_another_result(other: dict[str, Any]) -> None:
    assert result_uid("sr", FILM) != result_uid("sr", replace(FILM, **other))
    second = replace(FILM, content_sha256="d" * 64)
    assert result_uid("sr", FILM, second) != result_uid("sr", replace(FILM, **other), second)


def test_kinds_films_and_revisions_of_a_study_do_not_share_uids() -> None:
    second = replace(FILM, content_sha256="d" * 64)
    uids = [
        result_uid("sr", FILM),
        result_uid("sc", FILM),
        result_uid("seg", FILM),
        result_uid("ko", FILM),
        result_uid("sr", FILM, FILM),
        result_uid("sr", FILM, second),
        result_uid("sr", FILM, study_revision=1),
        result_uid("sr", FILM, study_revision=2),
        result_uid("sr", FILM, study_revision=2, language="en"),
        result_uid("sr", FILM, study_revision=2, language="fr"),
        series_uid("sr", "1.2.3", FILM),
        series_uid("sc", "1.2.3", FILM),
        series_uid("sr", "1.2.4", FILM),
        series_uid("sr", "1.2.3", replace(FILM, bundle_sha256="c" * 64)),
    ]
    assert len(set(uids)) == len(uids)


def test_films_of_a_study_share_a_series() -> None:
    second = replace(FILM, content_sha256="d" * 64, revision=3)
    assert series_uid("sc", "1.2.3", FILM) == series_uid("sc", "1.2.3", second)


def test_uids_stay_what_they_are_from_version_to_version() -> None:
    """A changed derivation would send every old result a second time."""
    assert result_uid("sr", FILM, study_revision=1) == (
        "2.25.221347553982893905805100813855970359882"
    )


@given(parts=st.lists(st.text(max_size=5), min_size=2, max_size=4))
def test_parts_are_kept_apart(parts: list[str]) -> None:
    joined = ["".join(parts[:2]), *parts[2:]]
    assert derived_uid(*parts) != derived_uid(*joined)
