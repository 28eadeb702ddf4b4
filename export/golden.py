"""Golden vectors: films that every delegate must answer as the exporter's reference did.

They are drawn, never taken from the training data: a bundle must not carry patients' pixels.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from edge_runtime.bundle import GoldenVectors, ModelSpec
from edge_runtime.delegates.base import LoadedModel
from edge_runtime.preprocess import InputSpec, to_network_pixels
from edge_runtime.radiograph import read_radiograph
from export.calibrate import run_films
from train.dataset.phantom import generate

VECTORS = 6
# Seen between XNNPACK, the runtime's plain and reference kernels, GPU and OpenVINO, on a network of
# real films and one of drawings: up to 16 steps in a map, 2.9 on average over one, 0.035 of a
# probability. None of them rounds as another does, so one tolerance serves all.
TOLERANCE = {"max_steps": 24.0, "mean_steps": 4.0, "probability": 0.08}
_SEED = 20_260_101


def make_golden(model: LoadedModel, spec: ModelSpec, input_spec: InputSpec) -> GoldenVectors:
    """Draw films, run them on the reference delegate and keep both."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), VECTORS, _SEED)
        files = sorted((Path(folder) / "images").iterdir())
        pixels = np.stack(
            [to_network_pixels(read_radiograph(file).display, input_spec)[0] for file in files]
        )
    outputs = run_films(model, spec, input_spec, pixels)
    return GoldenVectors(pixels=pixels, outputs=outputs.stored)
