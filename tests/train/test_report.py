"""The report: what it says, what it never says, and that it stands alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from edge_runtime.bundle import LABELS, OperatingPoint
from edge_runtime.screening import STANDING_SENTENCE
from train.evaluate.claim import fill
from train.evaluate.clinic import at_prevalence, decision_curve
from train.evaluate.corruption import ALL
from train.evaluate.findings import Ceiling, Findings
from train.evaluate.metrics import evaluate
from train.evaluate.paired import compare
from train.evaluate.report import write_report
from train.evaluate.robustness import under_corruption
from train.evaluate.strata import strata

HOSTILE = '--></svg><script>alert("x")</script>'


class Text(HTMLParser):
    """What a reader sees, without style sheets and charts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.hidden, self.words = 0, list[str]()
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        self.hidden += tag in ("style", "svg")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("style", "svg")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.words.append(data)

    def __str__(self) -> str:
        return " ".join(" ".join(self.words).split())


def point(name: str, score: str, threshold: float) -> OperatingPoint:
    # What it was fitted on plays no part in the report.
    return OperatingPoint.model_construct(
        name=name, score=score, action="routine_review", threshold=threshold
    )


def films(count: int = 120) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 3
    probabilities = generator.dirichlet([1, 1, 1], count)
    probabilities[np.arange(count), labels] += 0.4
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return pd.DataFrame(
        {
            "image_id": [f"F{k:03d}" for k in range(count)],
            "patient_id": [f"P{k // 2}" for k in range(count)],
            "centre": np.where(np.arange(count) < 15, 1, 2),
            "label": np.array(LABELS)[labels],
            "decision": "not_flagged",
            **{f"p_{label}": probabilities[:, k] for k, label in enumerate(LABELS)},
            "dice": np.nan,
            "painted": np.nan,
            "age": 70.0,
        }
    )


def report(path: Path, predictions: pd.DataFrame, **changes: Any) -> str:
    points = changes.pop("operating_points", [point("tumour", "tumour", 0.5)])
    arguments: dict[str, Any] = {
        "title": "a bundle on a dataset",
        "purpose": "research",
        "examples": [],
        "facts": {"Dataset": "phantom"},
        **changes,
    }
    metrics = evaluate(predictions, points, resamples=20)
    arguments.setdefault("findings", Findings(strata=strata(predictions, resamples=20)))
    write_report(
        path / "report.html",
        predictions=predictions,
        metrics=metrics,
        operating_points=points,
        **arguments,
    )
    return (path / "report.html").read_text()


def row(html: str, start: str) -> str:
    rows = [str(Text(part)) for part in re.findall(r"<tr>.*?</tr>", html, re.DOTALL)]
    (found,) = [text for text in rows if text.startswith(start)]
    return found


def test_only_a_demo_is_marked_synthetic(tmp_path: Path) -> None:
    assert "SYNTHETIC" in str(Text(report(tmp_path, films(), purpose="demo")))
    assert "SYNTHETIC" not in report(tmp_path, films())


def test_it_gives_no_all_clear(tmp_path: Path) -> None:
    text = str(Text(report(tmp_path, films(), purpose="demo")))
    assert text.count(STANDING_SENTENCE) == 1
    assert "Research software, not a medical device" in text
    rest = text.replace(STANDING_SENTENCE, "").lower()
    assert not re.search(r"\bnormal|\bclear|no finding", rest)


def test_a_missing_class_or_model_output_leaves_the_rest(tmp_path: Path) -> None:
    predictions = films()
    html = report(tmp_path, predictions[predictions["label"] != "malignant"])
    assert "not computable" in row(html, "AUC, malignant")
    assert "not computable" not in row(html, "Accuracy")
    p = ["p_no_tumour", "p_benign", "p_malignant"]
    unread = predictions.assign(decision="unable", **dict.fromkeys(p, np.nan))
    html = report(tmp_path, unread)
    assert "<svg" not in html
    assert row(html, "benign") == "benign 0 0 % 0 0 % 0 0 % 40 100 %"


def test_films_that_could_not_be_checked_are_listed_labelled_or_not(tmp_path: Path) -> None:
    predictions = films()
    predictions.loc[[3, 7], "decision"] = "unable"
    predictions.loc[7, "label"] = None
    text = str(Text(report(tmp_path, predictions)))
    assert "could not be checked: 2 F003, F007." in text
    assert "1 more without a label" in text


def test_groups_too_small_for_an_auc_say_so(tmp_path: Path) -> None:
    predictions = films().assign(sex=["F", "M", None] * 40, region=None)
    html = report(tmp_path, predictions)
    assert row(html, "centre 1") == ("centre 1 15 10 too few 0.000 0.000–0.369 1.000 0.478–1.000")
    assert re.match(r"2 105 70 0\.\d{3} 0\.\d{3}–0\.\d{3} ", row(html, "2 105"))
    assert row(html, "age band").startswith("age band 60 and over 120 80 0.")
    assert row(html, "not stated").startswith("not stated 40 ")
    assert (
        "Blank in this dataset, so without groups: subtype, lesion size, region, view, vendor"
        in (str(Text(html)))
    )


def test_the_confusion_matrix_counts_the_most_probable_class(tmp_path: Path) -> None:
    predictions = films(6)
    predictions[[f"p_{label}" for label in LABELS]] = np.eye(3)[[0, 1, 2, 1, 1, 2]]
    html = report(tmp_path, predictions)
    assert row(html, "no tumour") == "no tumour 1 50 % 1 50 % 0 0 % 0 0 %"


def test_models_stand_side_by_side(tmp_path: Path) -> None:
    variants = [
        (name, evaluate(films(), (), resamples=5)) for name in ("float", "QAT Keras", "int8")
    ]
    html = report(tmp_path, films(), variants=variants)
    assert row(html, "metric float").split() == ["metric", "float", "QAT", "Keras", "int8"]
    assert "Models side by side" not in report(tmp_path, films())


def test_a_reader_without_a_mask_stands_beside_a_model(tmp_path: Path) -> None:
    whole = evaluate(films(), (), resamples=5)
    reader = {name: metric for name, metric in whole.items() if name != "dice_tumour"}
    variants = [("bundle", whole), ("reader", reader)]
    html = report(tmp_path, films(), variants=variants)
    side_by_side = html[html.index("Models side by side") :]
    assert "not computable" in row(side_by_side, "Dice")


@pytest.mark.filterwarnings("error")
def test_markup_in_names_stays_text(tmp_path: Path) -> None:
    picture = tmp_path / "film.png"
    cv2.imwrite(str(picture), np.zeros((30, 20), np.uint8))
    predictions = films()
    predictions.loc[0, ["image_id", "decision"]] = [HOSTILE, "unable"]
    predictions.loc[:59, "view"] = HOSTILE
    html = report(
        tmp_path, predictions, title=HOSTILE, facts={HOSTILE: HOSTILE},
        examples=[(HOSTILE, picture)], operating_points=[point(HOSTILE, "tumour", 0.5)],
        variants=[(HOSTILE, evaluate(predictions, (), resamples=5))],
    )  # fmt: skip
    assert "script" not in Text(html).tags
    assert str(Text(html)).count(HOSTILE) >= 8


def test_it_is_one_small_file(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(2400), np.arange(1800)) % 4096 / 16
    textured = ramp + np.random.default_rng(0).normal(0, 12, ramp.shape)
    picture = tmp_path / "film.png"
    cv2.imwrite(str(picture), textured.clip(0, 255).astype(np.uint8))
    html = report(tmp_path, films(900), examples=[(f"film {k}", picture) for k in range(12)])
    assert len(html.encode()) < 2_000_000
    assert html.count("data:image/jpeg;base64,") == 12
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert not re.search(r"@import|url\((?!#)", html)
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".part"] == []


def everything(predictions: pd.DataFrame) -> Findings:
    cut = [point("tumour", "tumour", 0.5)]
    corrupted = dict.fromkeys(ALL, predictions)
    return Findings(
        comparisons=compare(predictions, predictions, "another", (cut, cut), resamples=5),
        strata=strata(predictions, resamples=5),
        robustness=under_corruption("a model", predictions, corrupted, resamples=5),
        prevalence=at_prevalence(predictions, cut, [0.001], resamples=5),
        ceiling=Ceiling(0.79, 0.81),
        decision_curve=decision_curve(predictions),
        claim=fill({1: HOSTILE}),
    )


def test_every_part_is_drawn_and_stays_small(tmp_path: Path) -> None:
    html = report(tmp_path, films(), findings=everything(films()))
    text = str(Text(html))
    assert "0.79 (squares" in text
    assert "0.81 (shares" in text
    assert row(html, "referred tumours").startswith("referred tumours 1,000 ")
    assert (
        row(html, "another auc tumour")
        == "another auc tumour 120 +0.000 +0.000 to +0.000 1.000 delong"
    )
    assert row(html, "a model noise").startswith("a model noise 0.02 ")
    assert text.count("not reported: ") == 43
    assert HOSTILE in text
    assert "script" not in Text(html).tags
    assert html.count("<svg") == 3 + 1 + 2, "curves, decision curve, groups, robustness"
    assert len(html.encode()) < 1_000_000


def test_parts_that_were_not_asked_for_are_left_out(tmp_path: Path) -> None:
    text = str(Text(report(tmp_path, films(), findings=Findings())))
    for words in ("By group", "Robustness", "Where tumours are rare", "CLAIM", "context alone",
                  "Differences", "Films without a label", "perfect mask"):  # fmt: skip
        assert words not in text, words


def test_definitions_and_coverage_are_always_stated(tmp_path: Path) -> None:
    text = str(Text(report(tmp_path, films())))
    assert "256 x 256 grid" in text
    assert "regions under 16 pixels dropped" in text
    assert "Coverage: 1.000 0.940–1.000 of the films" in text
