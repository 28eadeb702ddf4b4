"""A small dataset of drawn squares, and a model of it that was never trained."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from edge_runtime.bundle import LABELS, Interval, OperatingPoint
from edge_runtime.preprocess import InputSpec, to_network_pixels
from edge_runtime.radiograph import Radiograph
from train.evaluate.store import Answer

SIZE = (128, 96)


def draw_dataset(root: Path, count: int = 24, *, synthetic: bool = False) -> Path:
    """Write films whose bright square is the tumour, two films a patient."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    generator = np.random.default_rng(7)
    rows = []
    for number in range(count):
        label = LABELS[(number // 2) % 3]
        film = generator.integers(40, 90, SIZE).astype(np.uint8)
        mask = np.zeros(SIZE, np.uint8)
        if label != "no_tumour":
            top, left = (int(v) for v in generator.integers(8, 50, 2))
            side = 16 if label == "benign" else 32
            mask[top : top + side, left : left + side] = 255
            film[mask > 0] += np.uint8(100)
        identifier = f"F{number:03d}"
        cv2.imwrite(str(root / "images" / f"{identifier}.png"), film)
        cv2.imwrite(str(root / "masks" / f"{identifier}.png"), mask)
        rows.append(
            {
                "image_id": identifier, "patient_id": f"P{number // 2}", "centre": 1 + number % 2,
                "label": label, "age": 10 + number, "sex": "FM"[number % 2], "region": "hand",
                "view": "frontal", "subtype": None if label == "no_tumour" else "square",
            }
        )  # fmt: skip
    pd.DataFrame(rows).to_csv(root / "radiographs.csv", index=False)
    card = f'name = "drawn"\nsource = "a test"\nlicence = "CC0-1.0"\nsynthetic = {synthetic}\n'
    (root / "dataset.toml").write_text(card.lower().replace("cc0", "CC0"))
    return root


def point(name: str, score: str, threshold: float) -> OperatingPoint:
    whole = Interval(value=1, low=1, high=1)
    return OperatingPoint(
        name=name, score=score, action="routine_review", threshold=threshold, target="a test",
        positives=1, negatives=1, sensitivity=whole, specificity=whole,
    )  # fmt: skip


class BrightSquares:
    """Calls a film a tumour by its brightest pixels, and marks them."""

    name = "bright squares"
    kind = "int8"
    sha256 = "ab" * 32
    purpose = "research"
    spec = InputSpec(height=64, width=64, fit="stretch")
    mask_threshold = 0.5
    trained_on = "drawn"
    trained_where = "centre == 1"

    def __init__(self) -> None:
        self.operating_points = (point("tumour", "tumour", 0.5),)
        self.facts = {"Network": "none at all", "Software of the training": "none"}
        self.calls = 0

    def answer(self, radiograph: Radiograph) -> Answer:
        self.calls += 1
        logits = self._logits(radiograph)
        area = float((logits > 0).mean())
        tumour = 0.1 if area == 0 else 0.9
        malignant = tumour * min(1.0, area * 12)
        flagged = "routine_review" if tumour >= 0.5 else "not_flagged"
        shape = (radiograph.display.shape[0], radiograph.display.shape[1])
        return Answer(flagged, (1 - tumour, tumour - malignant, malignant), shape, logits)

    def cam(self, radiograph: Radiograph) -> np.ndarray:
        logits = self._logits(radiograph)[::8, ::8]
        return np.stack([-logits, logits, logits], axis=-1)

    def _logits(self, radiograph: Radiograph) -> np.ndarray:
        pixels, _ = to_network_pixels(radiograph.display, self.spec)
        smooth = cv2.blur(pixels, (3, 3)).astype(np.float32)
        return cv2.resize((smooth - 110) / 5, (32, 32), interpolation=cv2.INTER_AREA)
