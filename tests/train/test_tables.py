"""`osteoedge evaluate` of predictions made elsewhere: systems, readers, earlier evaluations."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edge_runtime.bundle import LABELS
from edge_runtime.errors import DatasetError
from edge_runtime.screening import STANDING_SENTENCE
from tests.conftest import must, osteoedge
from tests.train.drawn import draw_dataset
from train.dataset.schema import load_dataset
from train.evaluate.metrics import tumour_score
from train.evaluate.tables import read_predictions


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("tables") / "drawn", 90)


def system(films: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([1, 1, 1], len(films))
    for number, label in enumerate(LABELS):
        probabilities[:, number] += 0.6 * (films["label"] == label)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return pd.DataFrame(
        {"image_id": films["image_id"]}
        | {f"p_{label}": probabilities[:, k] for k, label in enumerate(LABELS)}
    )


@pytest.fixture(scope="module")
def tables(drawn: Path) -> Path:
    """A system that gives probabilities, one reader who scores 1 to 5, one who only decides."""
    films = pd.read_csv(drawn / "radiographs.csv")
    folder = drawn.parent
    system(films).sample(frac=1, random_state=0).to_csv(folder / "system.csv", index=False)
    tumour = (films["label"] != "no_tumour").astype(int)
    score = (1 + 3 * tumour + np.random.default_rng(1).integers(0, 2, 90)).clip(1, 5)
    films[["image_id"]].assign(score=score).to_csv(folder / "scoring.csv", index=False)
    decision = np.where(tumour, "routine_review", "not_flagged").astype(object)
    decision[:4] = "unable"
    films[["image_id"]].assign(decision=decision).to_csv(folder / "deciding.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def evaluated(drawn: Path, tables: Path) -> Path:
    out = tables / "report"
    must(
        osteoedge(
            "evaluate", tables / "system.csv", tables / "scoring.csv", tables / "deciding.csv",
            drawn, "--out", out, "--prevalence", "0.001,0.05",
        )
    )  # fmt: skip
    return out


def test_all_stand_in_one_table_on_the_same_films(evaluated: Path) -> None:
    document = json.loads((evaluated / "metrics.json").read_text())
    assert [model["name"] for model in document["models"]] == ["system", "scoring", "deciding"]
    assert {model["kind"] for model in document["models"]} == {"predictions"}
    by_name = {model["name"]: model["metrics"] for model in document["models"]}
    assert by_name["system"] == document["metrics"]
    assert by_name["scoring"]["auc_tumour"]["value"] > 0.9
    assert by_name["scoring"]["auc_macro"]["value"] is None
    assert by_name["scoring"]["brier"]["value"] is None, "a score is no probability"
    assert by_name["deciding"]["auc_tumour"]["value"] is None
    assert by_name["deciding"]["referred.sensitivity"]["value"] == 1.0
    assert by_name["deciding"]["referred.sensitivity"]["low"] < 1.0
    # The four unable films, two patients without a tumour and two of benign, count as referred.
    assert by_name["deciding"]["referred.specificity"]["value"] == pytest.approx(28 / 30)
    assert by_name["deciding"]["coverage"]["value"] == pytest.approx(86 / 90)
    tested = {(row["other"], row["figure"], row["test"]) for row in document["comparisons"]}
    assert tested == {("scoring", "auc_tumour", "delong")}
    assert document["context_alone"]["metrics"]["auc_macro"]["value"] is not None
    assert document["mask_ceiling"] is None
    assert document["robustness"] == []
    assert len(document["decision_curve"]) > 20


def test_the_report_holds_them_in_one_file(evaluated: Path) -> None:
    html = (evaluated / "report.html").read_text()
    for words in ("Models side by side", "scoring", "Differences, film by film", "By group",
                  "What context alone scores", "CLAIM checklist", "Decision curve"):  # fmt: skip
        assert words in html, words
    assert html.count("not reported: ") > 10
    assert "SYNTHETIC" not in html
    body = html.replace(STANDING_SENTENCE, "").lower()
    assert not [word for word in (" normal", "all clear", "no finding") if word in body]
    assert re.findall(r"""\b(?:src|href)=["']?(?!data:|#)[^"' >]+""", body) == []


def test_a_reader_comes_first_and_rare_tumours_are_reckoned(drawn: Path, tables: Path) -> None:
    out = tables / "reader"
    must(osteoedge("evaluate", tables / "deciding.csv", tables / "system.csv", drawn, "--out", out,
                   "--prevalence", "0.001,0.05"))  # fmt: skip
    document = json.loads((out / "metrics.json").read_text())
    assert [row["prevalence"] for row in document["prevalence"]] == [0.001, 0.05]
    rare = document["prevalence"][0]
    assert rare["point"] == "referred"
    assert rare["referrals_per_tumour"]["value"] == pytest.approx((0.001 + 0.999 * 2 / 30) / 0.001)
    assert "per 1,000 films" in (out / "report.html").read_text()


def test_many_models_are_shown_whole_in_a_narrow_terminal(drawn: Path, tables: Path) -> None:
    films = load_dataset(drawn).films
    models = [tables / f"another-system-{seed}.csv" for seed in range(5)]
    for seed, path in enumerate(models):
        system(films, seed).to_csv(path, index=False)
    out = tables / "many"
    said = must(osteoedge("evaluate", *models, drawn, "--out", out)).stdout
    assert "…" not in said
    assert max(len(line) for line in said.splitlines() if "│" in line) <= 80
    shown = json.loads((out / "metrics.json").read_text())["models"]
    assert len(shown) == 5
    for model in shown:
        assert said.count(model["name"]) == 1
        tumour = model["metrics"]["auc_tumour"]
        assert f"({tumour['low']:.3f}-{tumour['high']:.3f})" in said


def test_films_without_labels_are_false_alarms(drawn: Path, tables: Path, tmp_path: Path) -> None:
    films = pd.read_csv(drawn / "radiographs.csv").assign(label=None)
    films.to_csv(tmp_path / "radiographs.csv", index=False)
    (tmp_path / "dataset.toml").write_text((drawn / "dataset.toml").read_text())
    out = tmp_path / "out"
    result = must(osteoedge("evaluate", tables / "deciding.csv", tmp_path, "--out", out))
    assert "films without a label" in result.stdout
    document = json.loads((out / "metrics.json").read_text())
    assert (document["n"], document["unlabelled"]) == (0, 90)
    alarms = document["false_alarms"]
    assert alarms["flagged"]["value"] == pytest.approx(58 / 90)
    assert alarms["flagged"]["low"] < 58 / 90 < alarms["flagged"]["high"]
    assert alarms["coverage"]["value"] == pytest.approx(86 / 90)
    html = (out / "report.html").read_text()
    assert "how often an alarm is raised" in html
    assert "Confusion matrix" not in html
    assert "F003" in html, "a person must look at films that were not checked"


def test_probabilities_scores_and_decisions_of_one_table(drawn: Path, tmp_path: Path) -> None:
    dataset = load_dataset(drawn)
    whole = system(dataset.films).assign(
        score=np.arange(90.0), decision="not_flagged", label="malignant", age=-5
    )
    whole.to_csv(tmp_path / "whole.csv", index=False)
    found = read_predictions(tmp_path / "whole.csv", dataset)
    assert tumour_score(found).tolist() == list(range(90)), "a score ranks before probabilities"
    assert found["label"].tolist() == dataset.films["label"].tolist(), "the dataset says the facts"
    assert (found["age"] >= 10).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t[["image_id"]], "neither decisions nor scores"),
        (lambda t: t.rename(columns={"image_id": "film"}), "neither decisions nor scores"),
        (lambda t: t.iloc[:-1], "no prediction for 1 films, the first F089"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "film F000 is there twice"),
        (lambda t: t.assign(decision="clear"), "decision of film F000 is 'clear'"),
        (lambda t: t.assign(score="high"), "score of film F000 is 'high'"),
        (lambda t: t.assign(p_benign=0.9), "p_no_tumour of film F000"),
        (lambda t: t.assign(p_benign=None), "p_no_tumour of film F000"),
        (lambda t: t.assign(p_benign=None, p_malignant=None, p_no_tumour=None), "nothing is said"),
    ],
)
def test_tables_that_are_wrong_are_refused_in_one_line(
    drawn: Path, tmp_path: Path, change: object, words: str
) -> None:
    dataset = load_dataset(drawn)
    change(system(dataset.films)).to_csv(tmp_path / "t.csv", index=False)  # type: ignore[operator]
    with pytest.raises(DatasetError, match=re.escape(words)) as refused:
        read_predictions(tmp_path / "t.csv", dataset)
    assert str(refused.value).startswith("t.csv: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--prevalence", "often"], 2, "--prevalence 'often' is no list of numbers"),
        (["--prevalence", "0.01,1"], 2, "between 0 and 1"),
        (["--where", "hospital == 2"], 1, "is not understood"),
    ],
)
def test_usage_errors(
    drawn: Path, tables: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    result = osteoedge("evaluate", tables / "system.csv", drawn, "--out", tmp_path, *arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
