"""Thresholds from a cross-validation: whose answers they rest on, and folds that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.bundle import load_bundle
from edge_runtime.errors import RunError
from export.calibrate import with_thresholds
from export.cross_fit import cross_fit
from tests.conftest import Trained
from train.config import ExportConfig
from train.dataset.split import split_sha256
from train.run import Run, load_run

FOLDS = 2


def quiet(step: str) -> None:
    """Say nothing."""


def as_fold(run: Run, folder: Path, fold: int) -> Path:
    """Copy a finished run as one fold: every other film is left out, whoever trained on it."""
    out = folder / f"fold{fold}-seed0"
    shutil.copytree(run.folder, out, ignore=shutil.ignore_patterns("cache", "checkpoints"))
    split = run.split()
    names = sorted(split["patient_id"].unique())
    left_out = split["patient_id"].isin(names[fold::FOLDS])
    # Of the others some set the ranges, and some the fusion.
    ranges = split["patient_id"].isin(names[1 - fold :: 2 * FOLDS])
    split["part"] = np.select([left_out, ranges], ["test", "train"], "calibration")
    split.to_csv(out / "split.csv", index=False)
    document = json.loads((out / "run.json").read_text())
    document["recipe"]["data"] |= {"folds": FOLDS, "fold": fold}
    document["split_sha256"] = split_sha256(split)
    (out / "run.json").write_text(json.dumps(document))
    return out


def test_every_film_is_answered_by_the_fold_that_left_it_out(
    trained: Trained, tmp_path: Path
) -> None:
    run = load_run(trained.run)
    for fold in range(FOLDS):
        as_fold(run, tmp_path, fold)
    steps: list[str] = []
    scored = cross_fit(run, tmp_path, "ptq-int8", steps.append)
    assert steps == ["cross-fit: fold 1 of 2", "cross-fit: fold 2 of 2"]
    films = run.dataset().films
    labelled = films[films["label"].notna()]
    assert sorted(scored.patients) == sorted(labelled["patient_id"])
    assert scored.folds == FOLDS

    before = load_bundle(trained.bundle).manifest.calibration
    after = with_thresholds(before, scored, ExportConfig())
    malignant = labelled[labelled["label"] == "malignant"]
    assert (after.folds, after.films) == (FOLDS, len(labelled))
    assert after.malignant_patients == malignant["patient_id"].nunique() > before.malignant_patients
    assert (after.fusion, after.mask_threshold) == (before.fusion, before.mask_threshold)
    for point in after.at("image"):
        assert point.positives + point.negatives == len(labelled)
        reached = scored.probabilities[:, 2] if point.score == "malignant" else (
            1.0 - scored.probabilities[:, 0]
        )  # fmt: skip
        positive = scored.labels == 2 if point.score == "malignant" else scored.labels > 0
        share = float((reached[positive] >= point.threshold).mean())
        assert point.sensitivity.value == pytest.approx(share)


def test_folds_that_do_not_fit_are_refused(trained: Trained, tmp_path: Path) -> None:
    run = load_run(trained.run)
    with pytest.raises(RunError, match="fold 0 is missing"):
        cross_fit(run, tmp_path, "qat-int8", quiet)
    first = as_fold(run, tmp_path, 0)
    with pytest.raises(RunError, match="fold 1 is missing"):
        cross_fit(run, tmp_path, "qat-int8", quiet)
    kept = (first / "run.json").read_text()
    document = json.loads(kept)
    document["recipe"]["loss"]["mask_weight"] = 1.0
    (first / "run.json").write_text(json.dumps(document))
    with pytest.raises(RunError, match="another dataset or recipe"):
        cross_fit(run, tmp_path, "qat-int8", quiet)
    document = json.loads(kept)
    document["done"] = ["warmup", "float"]
    (first / "run.json").write_text(json.dumps(document))
    with pytest.raises(RunError, match="not finished"):
        cross_fit(run, tmp_path, "qat-int8", quiet)
