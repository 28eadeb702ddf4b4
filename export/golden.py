"""Golden vectors: films that every delegate must answer as the exporter's reference did.

They are drawn, never taken from the training data: a bundle must not carry patients' pixels.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from edge_runtime.bundle import GoldenVectors, ModelSpec, Tolerance
from edge_runtime.delegates import NAMES
from edge_runtime.delegates.base import LoadedModel
from edge_runtime.preprocess import InputSpec, to_network_pixels
from edge_runtime.radiograph import read_radiograph
from export.calibrate import run_films
from train.dataset.phantom import generate

VECTORS = 6
# From data: the farthest that each was seen from XNNPACK's answers, on networks of real films and
# of drawings (`osteoedge doctor --bundle` measures it): the plain and the reference kernels and
# tflite-runtime 12 steps, 2.9 on average, 0.05 of a probability; a GPU in single precision 7, 1.9,
# 0.02; OpenVINO, which keeps about 8 bits of a real number, 22, 5.5, 0.07. A delegate of which no
# figure is known has to come as close as integer kernels come to each other.
_INTEGER = Tolerance(max_steps=20.0, mean_steps=4.0, probability=0.08)
_COARSE = Tolerance(max_steps=32.0, mean_steps=8.0, probability=0.12)
TOLERANCE = {name: _COARSE if name == "openvino" else _INTEGER for name in NAMES}
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
