"""How an int8 file is made: of a run, by its training or after it, or of a model from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle import Representative, Variant
from export.convert import to_float32, to_int8
from export.elsewhere import ForeignModel
from export.float_file import predict_file
from export.post_training import to_int8 as quantize_file
from export.representative import representative_films
from train.dataset.cache import FilmCache
from train.dataset.pipeline import FilmSet
from train.dataset.schema import Dataset
from train.networks import float_model, predict_both, qat_model
from train.parts import film_set
from train.run import Run

Real = Mapping[str, npt.NDArray[np.float32]]
# Outputs for films, as they are, and as a device uses them: averaged with the films mirrored.
Predict = Callable[[FilmSet], tuple[Real, Real]]


@dataclass(frozen=True)
class Conversion:
    """An int8 file, and what it is to be compared with.

    Attributes
    ----------
    networks
        ``float``, and ``qat`` where there is one; the file was made of the last.
    origin
        What the networks are, in a word: Keras, or the file that was given.
    exact
        Makes the float32 TFLite file of ``float``.
    ranges
        Of which films, where they were set after training.
    """

    model: bytes
    variant: Variant
    backbone: str
    origin: str
    networks: dict[str, Predict]
    exact: Callable[[], bytes]
    ranges: Representative | None = None


def convert_run(run: Run, dataset: Dataset, films: FilmCache, variant: Variant) -> Conversion:
    """Convert a run's network, quantized by its training or after it.

    Raises
    ------
    RunError
        The run is not finished.
    """
    network, mirror = float_model(run), run.recipe.export.mirror
    networks: dict[str, Predict] = {"float": partial(predict_both, network, mirror=mirror)}
    exact = cache(lambda: to_float32(network, run.recipe.input))
    backbone, ranges = run.recipe.model.backbone, None
    if variant == "qat-int8":
        quantized = qat_model(run)
        networks["qat"] = partial(predict_both, quantized, mirror=mirror)
        model = to_int8(quantized, run.recipe.input)
    else:
        model, ranges = _after_training(exact(), run, dataset, films, channels=1)
    return Conversion(model, variant, backbone, "Keras", networks, exact, ranges)


def convert_foreign(
    foreign: ForeignModel, run: Run, dataset: Dataset, films: FilmCache
) -> Conversion:
    """Quantize a model that was trained elsewhere, by films of the run's training part."""
    model, ranges = _after_training(foreign.model, run, dataset, films, foreign.shape[2])
    return Conversion(
        model,
        "ptq-int8",
        foreign.name,
        foreign.name,
        {"float": partial(predict_file, foreign.model, mirror=run.recipe.export.mirror)},
        lambda: foreign.model,
        ranges,
    )


def _after_training(
    exact: bytes, run: Run, dataset: Dataset, films: FilmCache, channels: int
) -> tuple[bytes, Representative]:
    spec = run.recipe.input
    seen = film_set(run, dataset, films, "train")
    chosen = representative_films(seen, dataset.films.iloc[seen.rows], run.recipe.seed)
    inputs = (np.repeat(film, channels, axis=3) for film in chosen.inputs(spec))
    return quantize_file(exact, inputs, spec, run.recipe.export.clip_outliers), chosen.facts
