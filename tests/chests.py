"""Drawn films that show no limb."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


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
