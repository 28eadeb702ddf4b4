"""What a good engineer writes in an afternoon: pydicom, OpenCV, onnxruntime.

No choice of strategy is hidden in it, and no mistake: it is what the whole of osteoedge is held
against, from a film to a JSON document. It does less. It does not ask whether the film can be read
at all, keeps no hash, marks no area on the film, and looks at it once, not mirrored as well.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from benchmarks.peers.runtimes import Loaded
from benchmarks.peers.runtimes.onnx_runtime import cpu_session

LABELS = ("no_tumour", "benign", "malignant")


@dataclass(frozen=True)
class Settings:
    """What the engineer takes from the training code; beside the ONNX file, as NAME.json.

    Attributes
    ----------
    mean, divisor
        Of grey levels 0..255: the network's real input is (grey - mean) / divisor.
    dtype
        Of the file's input and outputs: float32, or int8 or uint8 with scale and zero point.
    cam
        Which output holds the classes.
    """

    height: int
    width: int
    channels: int
    mean: float
    divisor: float
    dtype: str
    input: tuple[float, int]
    cam: int
    output: tuple[float, int]

    def write(self, model: Path) -> None:
        """Write them beside an ONNX file."""
        model.with_suffix(".json").write_text(json.dumps(asdict(self)))


def load(model: Path, threads: int) -> Loaded:
    """Load an ONNX file and its settings to screen films: from the file to a JSON document."""
    settings = Settings(**json.loads(model.with_suffix(".json").read_text()))
    cv2.setNumThreads(threads)
    session = cpu_session(model, threads)
    (entry,) = session.get_inputs()

    def screen(path: str) -> bytes:
        dataset = pydicom.dcmread(path)
        pixels = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            pixels = pixels.max() - pixels
        grey = (pixels - pixels.min()) / (pixels.max() - pixels.min()) * 255.0
        small = cv2.resize(grey, (settings.width, settings.height), interpolation=cv2.INTER_AREA)
        tensor = ((small - settings.mean) / settings.divisor).astype(np.float32)
        if settings.dtype != "float32":
            scale, zero_point = settings.input
            limits = np.iinfo(settings.dtype)
            stored = np.clip(np.rint(tensor / scale) + zero_point, limits.min, limits.max)
            tensor = stored.astype(settings.dtype)
        film = np.repeat(tensor[np.newaxis, :, :, np.newaxis], settings.channels, axis=3)
        outputs = session.run(None, {entry.name: film})
        scale, zero_point = settings.output
        cam = (outputs[settings.cam].astype(np.float32) - zero_point) * scale
        logits = cam.reshape(-1, len(LABELS)).mean(axis=0)
        odds = np.exp(logits - logits.max())
        probabilities = dict(zip(LABELS, (odds / odds.sum()).tolist(), strict=True))
        document = {
            "file": Path(path).name,
            "sop_instance_uid": str(dataset.SOPInstanceUID),
            "probabilities": probabilities,
        }
        return json.dumps(document, indent=2).encode()

    return Loaded("pydicom, OpenCV, onnxruntime", screen)
