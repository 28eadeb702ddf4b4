"""Films that show no limb are refused, where the export was shown their like."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edge_runtime.bundle import LIMB_GATE, load_bundle
from edge_runtime.errors import DatasetError
from edge_runtime.limb_gate import LimbGate
from edge_runtime.preprocess import InputSpec
from edge_runtime.radiograph import read_radiograph
from edge_runtime.screener import Screener
from export.limb_gate import fit_limb_gate, read_others
from tests.chests import draw_chest
from tests.conftest import CHESTS, Trained, osteoedge


def test_what_shows_no_limb_is_refused_and_limbs_are_not(trained: Trained, tmp_path: Path) -> None:
    bundle = load_bundle(trained.bundle)
    limits = bundle.manifest.calibration.limb
    assert limits is not None and LIMB_GATE in bundle.members
    assert limits.others == CHESTS
    assert limits.auroc > 0.99
    assert limits.others_refused >= 0.9
    assert all(share <= 0.02 for share in limits.limbs_refused.values())
    draw_chest(tmp_path / "another.png", 4711)
    limbs = sorted((trained.dataset / "images").iterdir())[:40]
    with Screener(bundle) as screener:
        chest = screener.screen(read_radiograph(tmp_path / "another.png"))
        decisions = [screener.screen(read_radiograph(limb)).decision for limb in limbs]
    assert chest.decision == "unable"
    assert chest.reasons == (
        "the film does not look like a limb: check that the right film was sent; "
        "this check reads limbs only",
    )
    assert chest.lesions == ()
    assert decisions.count("unable") <= 2


def test_the_threshold_protects_limbs_first() -> None:
    """Where the two cannot be told apart, nearly every film passes."""
    rng = np.random.default_rng(0)
    limbs, others, held_out = (rng.normal(size=(n, 20)).astype(np.float32) for n in (200, 60, 150))
    centres = pd.Series(["a", "b"] * 75)
    _, hopeless = fit_limb_gate(limbs, others, held_out, centres, seed=0)
    assert all(share <= 0.02 for share in hopeless.limbs_refused.values())
    gate, clean = fit_limb_gate(limbs, others + 3.0, held_out, centres, seed=0)
    assert clean.others_refused >= 0.94
    assert clean.auroc > 0.99
    restored = LimbGate.from_npz(gate.to_npz(), "x.osteo")
    assert np.array_equal(restored.score(held_out), gate.score(held_out))


def test_a_folder_with_too_few_films(tmp_path: Path) -> None:
    draw_chest(tmp_path / "one.png", 0)
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DatasetError, match="1 readable films that show no limb"):
        read_others(tmp_path, InputSpec())


def test_without_the_head_that_it_reads_there_is_no_gate(
    trained: Trained, chests: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run, run, symlinks=True)
    document = json.loads((run / "run.json").read_text())
    document["recipe"]["model"]["heads"] = ["subtype", "region"]
    (run / "run.json").write_text(json.dumps(document))
    result = osteoedge("export", run, "--out", tmp_path / "x.osteo", "--not-limbs", chests)
    assert result.returncode == 2
    assert "without the head 'embedding' nothing tells limbs from other films" in result.stderr
