"""Models that are measured: those of a bundle, and float networks in files of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.schema import Variant
from edge_runtime.bundle import HALF_MODEL, ModelBundle, load_bundle
from edge_runtime.delegates.runtime import first_line, interpreter_module
from edge_runtime.errors import ConfigError, ModelError

_ELSE = "Give NAME.osteo, or a float network (osteoedge export RUN --float32 NAME.tflite)"


@dataclass(frozen=True)
class BundledModel:
    """The int8 model of a bundle, with everything that a unit does around it."""

    path: Path
    bundle: ModelBundle

    @property
    def name(self) -> str:
        """Name and version, as rows of bench.json have them."""
        return f"{self.bundle.manifest.name} {self.bundle.manifest.version}"

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on drawings."""
        return self.bundle.manifest.purpose == "demo"

    @property
    def variant(self) -> Variant:
        """How its numbers became 8 bits wide."""
        return self.bundle.manifest.model.variant


@dataclass(frozen=True)
class FloatNetwork:
    """A network that takes and gives float32, alone: nothing says what its answers decide.

    Attributes
    ----------
    synthetic
        Whether it was trained on drawings; None: the file does not say.
    """

    name: str
    synthetic: bool | None
    variant: Variant
    model: bytes


Model = BundledModel | FloatNetwork


def open_models(paths: Sequence[Path]) -> list[Model]:
    """Open bundles and float networks; a bundle's half precision comes after its int8 model.

    Raises
    ------
    BundleError, ModelError
        A file cannot be read, or is neither.
    ConfigError
        Two would have the same rows.
    """
    models = [model for path in paths for model in _open(path)]
    known = set()
    for model in models:
        key = model.name.partition(" ")[0], model.variant
        if key in known:
            raise ConfigError(
                f"two models are called {key[0]} and are {key[1]}",
                "Give each model once, and a .tflite file another name",
            )
        known.add(key)
    return models


def _open(path: Path) -> list[Model]:
    if path.suffix == ".tflite":
        return [_open_float(path)]
    bundle = BundledModel(path, load_bundle(path))
    half = bundle.bundle.members.get(HALF_MODEL)
    if half is None:
        return [bundle]
    return [bundle, FloatNetwork(bundle.name, bundle.synthetic, "fp16", half)]


def _open_float(path: Path) -> FloatNetwork:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"the model cannot be read ({error.strerror})", _ELSE, str(path)) from None
    try:
        interpreter = interpreter_module().Interpreter(model_content=content)
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"no TFLite file ({first_line(error)})", _ELSE, str(path)) from None
    kinds = {tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    if kinds & {np.int8, np.uint8, np.int16} or any(end["dtype"] != np.float32 for end in ends):
        raise ModelError(
            "the model is quantized, and nothing beside it says what it has to answer",
            _ELSE,
            str(path),
        )
    if len(interpreter.get_input_details()) != 1:
        raise ModelError("it has several inputs", _ELSE, str(path))
    # A row is named by the first word.
    name = f"{path.stem.replace(' ', '-')} {hashlib.sha256(content).hexdigest()[:12]}"
    return FloatNetwork(name, None, "fp16" if np.float16 in kinds else "fp32", content)
