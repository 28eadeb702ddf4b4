"""Answers to the films of a dataset: what is compared, what is kept, what goes on after a stop."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from edge_runtime.errors import DatasetError
from tests.train.drawn import BrightSquares, draw_dataset
from train.dataset.schema import Dataset, load_dataset
from train.evaluate.corruption import BLURS, Corruption
from train.evaluate.gallery import choose, write_gallery
from train.evaluate.screenings import answer_corrupted, answer_dataset
from train.evaluate.store import Answer, AnswerStore
from train.evaluate.study import seen_in_training


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return load_dataset(draw_dataset(tmp_path / "drawn"))


@pytest.fixture
def store(tmp_path: Path) -> AnswerStore:
    return AnswerStore(tmp_path / "answers", BrightSquares.sha256)


def test_answers_lie_beside_the_films_and_marks_on_the_squares(
    dataset: Dataset, store: AnswerStore
) -> None:
    answered = answer_dataset(BrightSquares(), dataset, store)
    films = answered.predictions
    assert answered.errors == []
    assert films["image_id"].tolist() == dataset.films["image_id"].tolist()
    tumour = films["label"] != "no_tumour"
    assert (films.loc[tumour, "dice"] > 0.8).all()
    assert (films.loc[tumour, "hd95"] < 12).all()
    assert films.loc[~tumour, "dice"].isna().all()
    assert (films.loc[~tumour, "painted"] == False).all()  # noqa: E712
    assert (films.loc[tumour, "ceiling_coverage"] > 0.85).all()
    shares = films.loc[tumour, "lesion_fraction"]
    assert set(np.round(shares * 96 * 128 / 256)) == {1.0, 4.0}
    assert all(marks is not None and marks.lesions == t for marks, t in zip(
        answered.marks, tumour, strict=True))  # fmt: skip


def test_films_are_answered_once(dataset: Dataset, tmp_path: Path) -> None:
    model = BrightSquares()
    with AnswerStore(tmp_path, model.sha256) as store:
        first = answer_dataset(model, dataset, store).predictions
        corrupted = answer_corrupted(model, dataset, store, BLURS)
    assert model.calls == 3 * 24
    with AnswerStore(tmp_path, model.sha256) as store:
        again = answer_dataset(model, dataset, store).predictions
        for blur, films in answer_corrupted(model, dataset, store, BLURS).items():
            pd.testing.assert_frame_equal(films, corrupted[blur])
        assert model.calls == 3 * 24
        pd.testing.assert_frame_equal(first, again)
        more = answer_corrupted(model, dataset, store, [*BLURS, Corruption("noise", 0.1)])
        assert model.calls == 4 * 24, "only what is new"
        assert len(more) == 3
    with AnswerStore(tmp_path, "cd" * 32) as other:
        answer_dataset(model, dataset, other)
    assert model.calls == 5 * 24, "another model, other answers"


def test_a_stopped_evaluation_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    model = BrightSquares()

    def stop(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), AnswerStore(tmp_path, model.sha256) as store:
        answer_dataset(model, dataset, store, progress=stop)
    with AnswerStore(tmp_path, model.sha256) as store:
        answered = answer_dataset(model, dataset, store)
    assert model.calls == 24
    assert len(answered.predictions) == 24


def test_a_film_that_changed_is_answered_again(dataset: Dataset, store: AnswerStore) -> None:
    model = BrightSquares()
    answer_dataset(model, dataset, store)
    path = dataset.root / "images" / "F000.png"
    cv2.imwrite(str(path), 255 - cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    answer_dataset(model, dataset, store)
    assert model.calls == 25


def test_what_is_kept_comes_back(store: AnswerStore) -> None:
    mask = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32)
    answer = Answer("unable", (0.1, 0.2, 0.7), (400, 300), mask)
    store.put("film", "as it is", answer)
    found = store.get("film", "as it is")
    assert found is not None
    assert (found.decision, found.probabilities, found.shape) == (
        answer.decision, answer.probabilities, answer.shape,
    )  # fmt: skip
    np.testing.assert_array_equal(found.mask_logits, mask)
    assert store.get("film", "blur 1") is None
    store.put("film", "blur 1", Answer("not_flagged", (1.0, 0.0, 0.0), (400, 300), None))
    assert store.get("film", "blur 1").mask_logits is None


def test_films_that_are_wrong_are_named_once_and_count_as_unable(
    dataset: Dataset, store: AnswerStore
) -> None:
    (dataset.root / "images" / "F003.png").unlink()
    cv2.imwrite(str(dataset.root / "masks" / "F004.png"), np.zeros((9, 9), np.uint8))
    model = BrightSquares()
    answered = answer_dataset(model, dataset, store)
    assert [type(error).__name__ for error in answered.errors] == [
        "NotARadiographError", "DatasetError",
    ]  # fmt: skip
    assert "F003" in str(answered.errors[0])
    row = answered.predictions.iloc[3]
    assert row["decision"] == "unable"
    assert np.isnan(row["p_no_tumour"])
    assert answered.marks[3] is None
    assert answered.predictions["dice"].isna()[4], "a mask of another size is not compared"
    assert answered.predictions["decision"][4] != "unable", "the film itself is sound"
    worse = answer_corrupted(model, dataset, store, BLURS[:1])[BLURS[0]]
    assert worse["decision"][3] == "unable"


def test_through_dicom_is_another_way_to_the_same_answer(
    dataset: Dataset, store: AnswerStore
) -> None:
    model = BrightSquares()
    plain = answer_dataset(model, dataset, store).predictions
    wrapped = answer_dataset(model, dataset, store, through_dicom=True).predictions
    assert model.calls == 48, "kept apart"
    # The film was enlarged: a mask's outline moves by a fraction of a pixel.
    outline = ["hd95", "dice", "iou"]
    pd.testing.assert_frame_equal(plain[outline], wrapped[outline], atol=1.0)
    pd.testing.assert_frame_equal(
        plain.drop(columns=outline), wrapped.drop(columns=outline), atol=2e-2
    )


def test_a_model_without_operating_points_decides_nothing(
    dataset: Dataset, store: AnswerStore
) -> None:
    model = BrightSquares()
    model.operating_points = ()
    assert answer_dataset(model, dataset, store).predictions["decision"].isna().all()


def test_the_gallery_shows_the_best_and_the_worst_and_none_twice(
    dataset: Dataset, store: AnswerStore, tmp_path: Path
) -> None:
    model = BrightSquares()
    films = answer_dataset(model, dataset, store).predictions
    films.loc[0, "decision"] = "routine_review"  # a false alarm
    films.loc[2, "decision"] = "not_flagged"  # a miss
    chosen = list(choose(films))
    assert len({position for _, position in chosen}) == len(chosen)
    by_kind = {caption: [p for c, p in chosen if c == caption] for caption, _ in chosen}
    assert by_kind["no tumour, flagged"] == [0]
    assert by_kind["tumour, missed"] == [2]
    best, worst = (
        by_kind["tumour, flagged, mask fits best"],
        by_kind["tumour, flagged, mask fits worst"],
    )
    assert films.loc[best, "dice"].min() >= films.loc[worst, "dice"].max()
    pictures = list(write_gallery(model, dataset, films, tmp_path / "gallery"))
    assert len(pictures) == len(chosen)
    for _, file in pictures:
        assert cv2.imread(str(file)).shape == (300, 3 * 225, 3)
    (caption, _), *_ = choose(films.assign(label=None))
    assert caption == "no label, flagged"
    undecided = films.assign(decision=None, dice=np.nan)
    assert {c for c, _ in choose(undecided)} == {
        "tumour, scored highest", "tumour, scored lowest", "no tumour, scored highest",
        "no tumour, scored lowest",
    }  # fmt: skip


def test_films_that_may_have_been_trained_on_are_counted(dataset: Dataset) -> None:
    model = BrightSquares()
    assert "up to 12 of these 24 films" in str(seen_in_training(model, dataset))
    assert seen_in_training(model, dataset.select("centre == 2")) is None
    model.trained_where = "hospital == 3"
    assert "not known" in str(seen_in_training(model, dataset))
    model.trained_on = "elsewhere"
    assert seen_in_training(model, dataset) is None


def test_a_dataset_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.toml"):
        load_dataset(tmp_path)
