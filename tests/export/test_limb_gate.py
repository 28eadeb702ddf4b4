"""Films that show no limb are refused, where the export was shown their like."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from edge_runtime.bundle import LIMB_GATE, load_bundle
from edge_runtime.errors import DatasetError
from edge_runtime.limb_gate import LimbGate
from edge_runtime.preprocess import InputSpec
from edge_runtime.radiograph import read_radiograph
from edge_runtime.screener import Screener
from export.limb_gate import MIN_FILMS, fit_limb_gate, read_others
from tests.conftest import Trained, must, osteoedge


def draw_chest(path: Path, seed: int) -> None:
    """Draw a film that no phantom limb looks like: bright, with two dark fields and ribs."""
    rng = np.random.default_rng(seed)
    film = np.full((400, 420), 150 + rng.integers(-20, 20), np.uint8)
    for side in (120, 300):
        centre = (int(side + rng.integers(-15, 15)), int(200 + rng.integers(-15, 15)))
        cv2.ellipse(film, centre, (70, 140), 0, 0, 360, int(rng.integers(20, 60)), -1)
        for rib in range(70, 330, 40):
            cv2.ellipse(film, (side, rib), (80, 25), 0, 180, 360, 120, 6)
    noisy = film + rng.normal(0, 6, film.shape)
    cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chests")
    for number in range(MIN_FILMS + 15):
        draw_chest(folder / f"{number}.png", number)
    return folder


def test_what_shows_no_limb_is_refused_and_limbs_are_not(
    trained: Trained, chests: Path, tmp_path: Path
) -> None:
    out = tmp_path / "gated.osteo"
    result = must(osteoedge("export", trained.run, "--out", out, "--not-limbs", chests))
    assert "films of no limb" in result.stdout
    bundle = load_bundle(out)
    limits = bundle.manifest.calibration.limb
    assert limits is not None and LIMB_GATE in bundle.members
    assert limits.others == MIN_FILMS + 15
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
