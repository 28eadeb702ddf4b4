"""`osteoedge evaluate`: figures, report, bad films."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from edge_runtime.screening import STANDING_SENTENCE
from tests.conftest import Trained, must, osteoedge

NAMES = {"auc_macro", "auc_no_tumour", "auc_benign", "auc_malignant", "auc_tumour", "accuracy",
         "dice_tumour", "iou_tumour", "hd95_tumour", "marked_rate", "false_mask_rate", "ece",
         "brier", "spec_at_sens90", "benign_referred", "malignant_referred"}  # fmt: skip
DETECTION = {"froc_mean", "froc_sens_at_1", "ap50", "map50_95"}


@pytest.fixture(scope="module")
def evaluated(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    result = must(
        osteoedge("evaluate", trained.bundle, trained.run, trained.dataset, "--out", out,
                  "--where", "centre == 2")
    )  # fmt: skip
    assert "less" in result.stdout, "the lead of the first model, on paired resamples"
    return out


def test_metrics_json(evaluated: Path, trained: Trained) -> None:
    document = json.loads((evaluated / "metrics.json").read_text())
    films = pd.read_csv(trained.dataset / "radiographs.csv")
    assert document["n"] == (films["centre"] == 2).sum()
    assert document["where"] == "centre == 2"
    points = {f"{p}.{m}" for p in ("tumour", "malignant", "referred")
              for m in ("sensitivity", "specificity", "ppv", "npv", "referral_rate")}  # fmt: skip
    assert set(document["metrics"]) == NAMES | DETECTION | points | {"coverage"}
    for metric in document["metrics"].values():
        assert set(metric) == {"value", "low", "high"}
        if metric["value"] is not None:
            assert metric["low"] <= metric["high"]
    assert document["metrics"]["coverage"]["value"] == 1.0
    assert [model["kind"] for model in document["models"]] == ["int8", "float32"]
    tests = {(row["figure"], row["test"]) for row in document["comparisons"]}
    assert {("auc_tumour", "delong"), ("tumour.sensitivity", "mcnemar"),
            ("auc_macro", "bootstrap")} <= tests  # fmt: skip
    blurred = [(row["kind"], row["strength"]) for row in document["robustness"]]
    assert blurred == [("blur", 0.7), ("blur", 1.0)] * 2, "of both models, without being asked"
    assert 0.5 < document["mask_ceiling"]["cells"] <= document["mask_ceiling"]["coverage"] <= 1.0


def test_the_report_is_one_file_marked_synthetic(evaluated: Path) -> None:
    html = (evaluated / "report.html").read_text()
    assert "SYNTHETIC" in html
    assert STANDING_SENTENCE in html
    assert "float (Keras)" in html, "the run stands beside the bundle"
    assert html.count("<svg") >= 5
    assert "not reported: " in html
    assert html.count("<img") >= 4
    body = html.replace(STANDING_SENTENCE, "").lower()
    assert not [w for w in (" normal", "all clear", "no finding") if w in body]
    loaded = re.findall(r"""\b(?:src|href)=["']?(?!data:|#)[^"' >]+""", body)
    assert loaded == [], "needs no network"
    assert (evaluated / "report.html").stat().st_size < 2_000_000


def test_predictions_can_be_evaluated_again(
    evaluated: Path, trained: Trained, tmp_path: Path
) -> None:
    must(osteoedge("evaluate", evaluated / "predictions.csv", trained.dataset, "--out", tmp_path,
                   "--where", "centre == 2"))  # fmt: skip
    one, two = (
        json.loads((folder / "metrics.json").read_text())["metrics"]
        for folder in (evaluated, tmp_path)
    )
    assert "SYNTHETIC" in (tmp_path / "report.html").read_text(), "the films are drawings"
    for name in NAMES:
        assert two[name]["value"] == pytest.approx(one[name]["value"], abs=1e-9), name


def test_a_run_whose_films_were_changed_has_no_thresholds(trained: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    document = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(document | {"dataset_sha256": "0" * 64}))
    result = osteoedge("evaluate", run, trained.dataset, "--out", tmp_path / "out")
    assert result.returncode == 1
    assert "was changed since the run was trained" in result.stderr
    assert "Traceback" not in result.stderr


def test_through_dicom_changes_next_to_nothing(trained: Trained, tmp_path: Path) -> None:
    """PNG films as they lie and wrapped as DICOM get the same answers but for rounding."""
    from edge_runtime.radiograph import read_radiograph

    folder = tmp_path / "png"
    (folder / "images").mkdir(parents=True)
    shutil.copy(trained.dataset / "dataset.toml", folder)
    films = pd.read_csv(trained.dataset / "radiographs.csv", dtype=str).iloc[:40]
    for _, film in films.iterrows():
        display = read_radiograph(trained.dataset / film["path"]).display
        grey = (display.astype(np.uint32) // 257).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"{film['image_id']}.png"), grey)
    films.drop(columns="path").to_csv(folder / "radiographs.csv", index=False)
    columns = ["p_no_tumour", "p_benign", "p_malignant"]
    answers = []
    for arguments in ([], ["--through", "dicom"]):
        must(osteoedge("evaluate", trained.bundle, folder, "--out", tmp_path / "out", *arguments))
        answers.append(pd.read_csv(tmp_path / "out" / "predictions.csv")[columns].to_numpy())
    assert np.abs(answers[0] - answers[1]).max() < 0.1
    assert np.abs(answers[0] - answers[1]).mean() < 0.01


def test_films_that_are_wrong_are_named_and_the_rest_is_measured(
    trained: Trained, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(trained.dataset, folder)
    films = pd.read_csv(folder / "radiographs.csv", dtype=str)
    absent, cut, masked = films[films["label"] != "no_tumour"].iloc[:3].to_dict("records")
    (folder / absent["path"]).unlink()
    data = (folder / cut["path"]).read_bytes()
    (folder / cut["path"]).write_bytes(data[: len(data) // 2])
    cv2.imwrite(str(folder / "masks" / f"{masked['image_id']}.png"), np.zeros((9, 9), np.uint8))
    out = tmp_path / "out"
    result = osteoedge("evaluate", trained.bundle, folder, "--out", out)
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error ")]
    assert len(lines) == 3
    for wrong, words in ((absent, "no such file"), (cut, "cannot be"), (masked, "9 x 9 pixels")):
        assert any(wrong["image_id"] in line and words in line for line in lines), words
    document = json.loads((out / "metrics.json").read_text())
    assert document["n"] == len(films)
    assert document["metrics"]["coverage"]["value"] == pytest.approx(1 - 2 / len(films))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--where", "hospital == 2"], 1, "the condition 'hospital == 2' is not understood"),
        (["--where", "centre == 99"], 1, "no film satisfies"),
        (["--through", "fax"], 2, "--through knows no 'fax'"),
    ],
)
def test_usage_errors(
    trained: Trained, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    result = osteoedge("evaluate", trained.bundle, trained.dataset, "--out", tmp_path, *arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
