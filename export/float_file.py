"""Ask a TFLite file that computes in float: float32, or with weights in half precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from edge_runtime.decision import average_mirrored
from train.dataset.pipeline import FilmSet

FloatArray = npt.NDArray[np.float32]


def predict_file(
    model: bytes, films: FilmSet, *, mirror: bool
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return a file's outputs for all films, in order: float32 (n, rows, columns, c), by head.

    As they are, and as a device uses them.

    Parameters
    ----------
    model
        Its signature takes `film`, (1, height, width, 1 or 3); a head that gives a vector is a map
        of one cell.
    mirror
        A device averages with the outputs of the films mirrored.
    """
    interpreter = Interpreter(model_content=model, num_threads=2)
    (entry,) = interpreter.get_input_details()
    channels = int(entry["shape"][3])
    run = interpreter.get_signature_runner()

    def answers(pixels: npt.NDArray[np.uint8]) -> dict[str, FloatArray]:
        found = []
        for film in films.spec.normalise(pixels)[..., np.newaxis]:
            outputs = run(film=np.repeat(film, channels, axis=2)[np.newaxis])
            found.append({head: _as_map(output) for head, output in outputs.items()})
        return {head: np.concatenate([film[head] for film in found]) for head in found[0]}

    pixels = np.asarray(films.cache.pixels[films.rows])
    plain = answers(pixels)
    return plain, average_mirrored(plain, answers(pixels[:, :, ::-1])) if mirror else plain


def _as_map(output: FloatArray) -> FloatArray:
    return output[:, np.newaxis, np.newaxis] if output.ndim == 2 else output
