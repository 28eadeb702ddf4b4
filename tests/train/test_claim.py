"""The checklist: every item is there, known or with a reason."""

from __future__ import annotations

import pytest

from train.evaluate.claim import fill


def test_every_item_is_answered_or_says_why_not() -> None:
    items = fill({7: "a collection", 44: "nobody"})
    assert [item.number for item in items] == list(range(1, 45))
    assert {item.number for item in items if item.reported} == {7, 44}
    assert items[6].answer == "a collection"
    for item in items:
        if not item.reported:
            assert item.answer.startswith("not reported: ")
            assert len(item.answer) > len("not reported: ") + 5


def test_an_item_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="45"):
        fill({45: "?"})
