"""A bundle's network in every form that a peer runs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.peers.process import Unusable
from benchmarks.peers.straightforward import Settings
from benchmarks.peers.systems import PEERS_INSTALL, Form
from edge_runtime.bundle import ModelBundle
from edge_runtime.delegates.runtime import first_line, interpreter_module

File = Path | Unusable
_NO_FLOAT32 = "no float32 file was given: osteoedge export RUN --float32 FILE.tflite makes one"
_OPSET = "17"


def model_files(
    bundle: ModelBundle, path: Path, float32: Path | None, folder: Path
) -> Mapping[Form, File]:
    """Write the network in every form into ``folder``; in place of one that cannot be, why not.

    Parameters
    ----------
    path
        Of the bundle.
    float32
        The network before it was quantized, a TFLite file.
    """
    int8 = folder / "int8.tflite"
    int8.write_bytes(bundle.model)
    exact = float_file(bundle, float32)
    signed = _made(folder / "int8.onnx", to_onnx, int8)
    files: dict[Form, File] = {
        "bundle": path,
        "int8.tflite": int8,
        "int8.onnx": signed,
        "uint8.onnx": _made(folder / "uint8.onnx", with_unsigned_activations, signed),
        "fp32.tflite": exact,
        "fp32.onnx": _made(folder / "fp32.onnx", to_onnx, exact),
    }
    sources: dict[Form, File] = {"int8.onnx": int8, "uint8.onnx": int8, "fp32.onnx": exact}
    for form, tflite in sources.items():
        file = files[form]
        if isinstance(file, Path) and isinstance(tflite, Path):
            _settings(bundle, form, tflite).write(file)
    return files


def float_file(bundle: ModelBundle, float32: Path | None) -> File:
    """Return the float file, once its outputs have been found to be those of the bundle."""
    if float32 is None:
        return Unusable("unavailable", _NO_FLOAT32)
    try:
        exact, int8 = _heads(float32.read_bytes()), _heads(bundle.model)
    except (OSError, ValueError, RuntimeError) as error:
        return Unusable("failed", f"{float32.name} cannot be read as TFLite ({first_line(error)})")
    if any(head.dtype != np.float32 for head in exact.values()):
        return Unusable("failed", f"{float32.name} does not answer in float32")
    if {name: head.shape for name, head in exact.items()} != {
        name: head.shape for name, head in int8.items()
    }:
        return Unusable("failed", f"{float32.name} has other heads than the bundle, or other sizes")
    return float32


def to_onnx(tflite: Path, onnx: Path) -> None:
    """Convert a TFLite file with the command line of tf2onnx.

    An int8 file keeps its very numbers: each int8 tensor becomes a pair of QuantizeLinear and
    DequantizeLinear with the same scale and zero point (QDQ), kernels by channel.

    Raises
    ------
    Unusable
        tf2onnx is not installed, or does not take the file.
    """
    if importlib.util.find_spec("tf2onnx") is None:
        raise Unusable("unavailable", f"tf2onnx is not installed ({PEERS_INSTALL})")
    command = [sys.executable, "-m", "tf2onnx.convert", "--tflite", str(tflite),
               "--output", str(onnx), "--opset", _OPSET]  # fmt: skip
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    if result.returncode or not onnx.is_file():
        said = result.stderr.strip().splitlines()
        raise Unusable("failed", f"tf2onnx: {said[-1] if said else result.returncode}")


def with_unsigned_activations(source: Path, target: Path) -> None:
    """Write a QDQ file anew with uint8 activations in place of int8: the same numbers, plus 128.

    The fast kernels that onnxruntime has for x86 take uint8 activations and int8 weights. It
    rewrites a model that way itself, but not around every tensor: of the files of tf2onnx a part of
    the convolutions is then left with activations of both kinds, is not fused, and runs in float.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source)
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    shifted: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.input[0] in stored:
            continue
        zero_point = numpy_helper.to_array(stored[node.input[2]]).astype(np.int16)
        name = f"{node.input[2]}/unsigned"
        shifted[name] = numpy_helper.from_array((zero_point + 128).astype(np.uint8), name)
        node.input[2] = name
    graph.initializer.extend(shifted.values())
    for tensor in [*graph.input, *graph.output]:
        tensor.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    # What tf2onnx noted of the tensors between is not so any more; onnxruntime infers it.
    del graph.value_info[:]
    onnx.save(model, target)


def _made(target: Path, make: Callable[[Path, Path], None], source: File) -> File:
    if isinstance(source, Unusable):
        return source
    try:
        make(source, target)
    except Unusable as error:
        return error
    return target


@dataclass(frozen=True)
class _Head:
    """An output of a TFLite file; `position` is that among its outputs."""

    position: int
    shape: tuple[int, ...]
    dtype: type[np.generic]


def _heads(model: bytes) -> dict[str, _Head]:
    interpreter = interpreter_module().Interpreter(model_content=model)
    interpreter.allocate_tensors()
    order = [details["index"] for details in interpreter.get_output_details()]
    return {
        name: _Head(
            order.index(details["index"]), tuple(details["shape"].tolist()), details["dtype"]
        )
        for name, details in interpreter.get_signature_runner().get_output_details().items()
    }


def _settings(bundle: ModelBundle, form: Form, tflite: Path) -> Settings:
    """Return what the straightforward script has to know of an ONNX file."""
    spec, model = bundle.manifest.input_spec, bundle.manifest.model
    settings = Settings(
        height=spec.height,
        width=spec.width,
        channels=model.input.shape[-1],
        mean=spec.mean,
        divisor=spec.divisor,
        dtype="float32",
        input=(1.0, 0),
        cam=_heads(tflite.read_bytes())["cam"].position,
        output=(1.0, 0),
    )
    if form == "fp32.onnx":
        return settings
    cam, offset = model.outputs["cam"], 128 if form == "uint8.onnx" else 0
    return replace(
        settings,
        dtype=form.removesuffix(".onnx"),
        input=(model.input.scale, model.input.zero_point + offset),
        output=(cam.scale, cam.zero_point + offset),
    )
