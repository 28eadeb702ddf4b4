"""Cross-validation: whole runs, resumed where they stopped, and what they scatter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT, must, osteoedge
from train.cross_validation import FoldScore, spread

# In mixed precision, so that this is trained with as well.
QUICK = ("--recipe", ROOT / "tests/data/resume.toml", "--set", "float.epochs=1", "--set",
         "float.warmup_epochs=0", "--set", "qat.epochs=0",
         "--set", "float.precision=mixed_bfloat16")  # fmt: skip


@pytest.mark.nightly
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

    split = out / "fold1-seed0" / "split.csv"
    split.write_text(split.read_text().replace(",train", ",validation", 1))
    changed = osteoedge("train", phantoms, "--out", out, *QUICK, "--folds", 2)
    assert changed.returncode == 1
    assert "split.csv was changed" in changed.stderr


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
