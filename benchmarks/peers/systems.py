"""Who is measured: each runtime with the file that it runs, and what brings it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Form = Literal["bundle", "int8.tflite", "int8.onnx", "uint8.onnx", "fp32.tflite", "fp32.onnx"]

PEERS_INSTALL = "pip install 'osteoedge[peers]'"
_OSTEOEDGE = "pip install osteoedge"
_TFLITE_RUNTIME = (
    "it needs NumPy 1, so a Python 3.11 environment of its own: pip install -c "
    "constraints-tflite-runtime.txt tflite-runtime numpy; then --tflite-runtime ITS/bin/python"
)


@dataclass(frozen=True)
class System:
    """A runtime, or a program.

    Attributes
    ----------
    loader
        ``module:function``, a :data:`benchmarks.peers.runtimes.Load`.
    install
        What brings it.
    foreign
        It lives in an environment of its own.
    coarse
        It rounds a float network, too: its outputs may be as far off as those of an int8 one.
    """

    name: str
    loader: str
    form: Form
    install: str
    foreign: bool = False
    coarse: bool = False


_RUNTIMES = "benchmarks.peers.runtimes"
_ONNX, _OPEN_VINO = f"{_RUNTIMES}.onnx_runtime:load", f"{_RUNTIMES}.open_vino"
_SCRIPT = "benchmarks.peers.straightforward:load"


def _interpreters(form: Form) -> tuple[System, ...]:
    module = f"{_RUNTIMES}.interpreters"
    return (
        System("LiteRT", f"{module}:litert", form, _OSTEOEDGE),
        System("TensorFlow", f"{module}:tensorflow", form, PEERS_INSTALL),
        System("tflite-runtime", f"{module}:tflite_runtime", form, _TFLITE_RUNTIME, foreign=True),
    )


# The first of each is what the others' outputs are compared with.
INT8 = (
    System("osteoedge", f"{_RUNTIMES}.ours:network", "bundle", _OSTEOEDGE),
    *_interpreters("int8.tflite"),
    System("onnxruntime", _ONNX, "int8.onnx", PEERS_INSTALL),
    System("onnxruntime, uint8", _ONNX, "uint8.onnx", PEERS_INSTALL),
    System("OpenVINO", f"{_OPEN_VINO}:load", "int8.tflite", PEERS_INSTALL),
)
FP32 = (
    *_interpreters("fp32.tflite"),
    System("onnxruntime", _ONNX, "fp32.onnx", PEERS_INSTALL),
    System("OpenVINO", f"{_OPEN_VINO}:load", "fp32.tflite", PEERS_INSTALL),
    System("OpenVINO, own precision", f"{_OPEN_VINO}:own_precision", "fp32.tflite", PEERS_INSTALL,
           coarse=True),
)  # fmt: skip
# The first of these is what the others are held against.
FILMS = (
    System("osteoedge", f"{_RUNTIMES}.ours:film", "bundle", _OSTEOEDGE),
    System("straightforward, int8", _SCRIPT, "int8.onnx", PEERS_INSTALL),
    System("straightforward, uint8", _SCRIPT, "uint8.onnx", PEERS_INSTALL),
    System("straightforward, fp32", _SCRIPT, "fp32.onnx", PEERS_INSTALL),
)
NULL = System("null", f"{_RUNTIMES}.ours:nothing", "bundle", _OSTEOEDGE)
