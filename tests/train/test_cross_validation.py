"""Cross-validation: whole runs, resumed where they stopped, and what they scatter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge_runtime.bundle import load_bundle
from tests.conftest import ROOT, must, osteoedge
from train.cross_validation import FoldScore, spread
from train.dataset.schema import load_dataset

# In mixed precision, so that this is trained with as well.
QUICK = ("--recipe", ROOT / "tests/data/resume.toml", "--set", "float.epochs=1", "--set",
         "float.warmup_epochs=0", "--set", "qat.epochs=0",
         "--set", "float.precision=mixed_bfloat16",
         # Networks that learned next to nothing: that thresholds come together is what is shown.
         "--set", "export.max_auc_drop=1", "--set", "export.max_mean_steps=255",
         "--set", "export.min_snr_db=-99", "--set", "export.min_levels=2",
         "--set", "export.max_sensitivity_drop=1", "--set", "export.max_ece_rise=1",
         "--set", "export.max_dice_drop=1")  # fmt: skip


def test_every_fold_is_a_run_and_a_finished_one_is_not_repeated(
    phantoms: Path, tmp_path: Path
) -> None:
    out = tmp_path / "folds"
    result = must(osteoedge("train", phantoms, "--out", out, *QUICK, "--folds", 2))
    assert "macro AUC, qat: 0." in result.stdout
    summary = json.loads((out / "summary.json").read_text())
    assert [run["fold"] for run in summary["runs"]] == [0, 1]
    assert sum(run["films"] for run in summary["runs"]) == 400
    assert summary["qat"]["between_seeds"] is None
    histories = [(out / f"fold{k}-seed0" / "history.jsonl").read_bytes() for k in range(2)]
    again = must(osteoedge("train", phantoms, "--out", out, *QUICK, "--folds", 2))
    assert again.stdout == result.stdout
    assert json.loads((out / "summary.json").read_text()) == summary
    for k, history in enumerate(histories):
        assert (out / f"fold{k}-seed0" / "history.jsonl").read_bytes() == history

    thresholds_come_from_all_folds(out, tmp_path)

    split = out / "fold1-seed0" / "split.csv"
    split.write_text(split.read_text().replace(",train", ",validation", 1))
    changed = osteoedge("train", phantoms, "--out", out, *QUICK, "--folds", 2)
    assert changed.returncode == 1
    assert "split.csv was changed" in changed.stderr


def thresholds_come_from_all_folds(folds: Path, tmp_path: Path) -> None:
    """Export a run of the same recipe: here a fold's network, to save a training."""
    run = tmp_path / "run"
    shutil.copytree(folds / "fold0-seed0", run, ignore=shutil.ignore_patterns("cache"))
    document = json.loads((run / "run.json").read_text())
    document["recipe"]["data"]["folds"] = 0
    (run / "run.json").write_text(json.dumps(document))
    bundle = tmp_path / "run.osteo"
    must(osteoedge("export", run, "--out", bundle, "--cross-fit", folds))
    calibration = load_bundle(bundle).manifest.calibration
    films = load_dataset(Path(document["dataset_root"])).films
    malignant = films[films["label"] == "malignant"]
    assert calibration.folds == 2
    assert calibration.films == len(films)
    assert calibration.patients == films["patient_id"].nunique()
    assert calibration.malignant_patients == malignant["patient_id"].nunique()
    for point in calibration.at("image"):
        assert point.positives + point.negatives == len(films)
    assert "all films of 2 folds" in load_bundle(bundle).members["card.md"].decode()

    other = osteoedge("export", folds / "fold0-seed0", "--out", bundle, "--cross-fit", folds)
    assert other.returncode == 1
    assert "another dataset or recipe" in " ".join(other.stderr.split())
    (tmp_path / "none").mkdir()
    missing = osteoedge("export", run, "--out", bundle, "--cross-fit", tmp_path / "none")
    assert missing.returncode == 1
    assert "fold 0 is missing" in " ".join(missing.stderr.split())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--folds", 1), "at least two"),
        (("--folds", 2, "--hold-out", "centre == 1"), "nothing beside them"),
        (("--seeds", 2), "--seeds needs --folds"),
    ],
)
def test_what_makes_no_sense_is_refused(
    phantoms: Path, tmp_path: Path, flags: tuple[object, ...], message: str
) -> None:
    result = osteoedge("train", phantoms, "--out", tmp_path / "run", *flags)
    assert result.returncode == 2
    assert message in result.stderr


def test_scatter_is_between_means() -> None:
    scores = [
        FoldScore(fold=fold, seed=seed, films=10, float_auc=0.8, qat_auc=0.7 + 0.1 * fold)
        for fold in range(2)
        for seed in range(3)
    ]
    found = spread(scores, "qat_auc")
    assert found.mean == pytest.approx(0.75)
    assert found.between_folds == pytest.approx(0.1 / 2**0.5)
    assert found.between_seeds == pytest.approx(0.0, abs=1e-12)
    assert spread(scores[:1], "qat_auc").between_folds is None
