"""The words of the further heads, and films as their numbers."""

from __future__ import annotations

import pandas as pd
import pytest

from edge_runtime.errors import DatasetError
from train.dataset.vocabulary import MIN_FILMS, Vocabulary, find_vocabulary


def films(**counts: tuple[str | None, int]) -> pd.DataFrame:
    rows = [
        {"label": label, "subtype": subtype.replace("_", " "), "region": "lower_limb"}
        for subtype, (label, count) in counts.items()
        for _ in range(count)
    ]
    table = pd.DataFrame(rows)
    table.loc[:9, "region"] = "pelvis"
    return table


TUMOURS = films(
    osteosarcoma=("malignant", 12), bone_cyst=("benign", 9), chondroma=("benign", 20),
    rare=("benign", MIN_FILMS - 1), none=("no_tumour", 30), unread=(None, 8),
)  # fmt: skip


def test_only_tumours_with_enough_films_have_a_word() -> None:
    words = find_vocabulary(TUMOURS, ("subtype", "region"))
    assert words.subtypes == ("bone cyst", "chondroma", "osteosarcoma")
    assert words.malignant == (2,)
    assert words.regions == ("lower_limb", "pelvis")


def test_films_become_numbers_and_unknown_words_unknown() -> None:
    words = find_vocabulary(TUMOURS, ("subtype", "region"))
    elsewhere = pd.DataFrame(
        {"subtype": ["chondroma", "rare", None], "region": ["skull", "pelvis", "lower_limb"]}
    )
    codes = words.codes(elsewhere)
    assert codes["subtype"].tolist() == [1, -1, -1]
    assert codes["region"].tolist() == [-1, 1, 0]
    assert Vocabulary().codes(elsewhere) == {}


def test_a_head_that_is_not_asked_for_has_no_words() -> None:
    assert find_vocabulary(TUMOURS, ("embedding",)) == Vocabulary()


def test_subtypes_that_are_all_benign_say_nothing_of_malignancy() -> None:
    benign = films(bone_cyst=("benign", 9), chondroma=("benign", 20))
    assert find_vocabulary(benign, ("subtype",)).malignant == ()


def test_a_head_without_films_is_refused() -> None:
    with pytest.raises(DatasetError, match="no column is called region"):
        find_vocabulary(TUMOURS.drop(columns="region"), ("region",))
    with pytest.raises(DatasetError, match="name 1 subtype with at least"):
        find_vocabulary(films(chondroma=("benign", 20)), ("subtype",))
