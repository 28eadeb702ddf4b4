"""Models that were trained elsewhere: opened, and made a float32 TFLite file with heads we know.

Whatever the format, a model takes one film, grey or the same grey in three channels, and gives
logits of the three classes, as a vector or a map; it may give a lesion mask beside them. A softmax
or sigmoid at the end is taken off: in 8 bits, probabilities near 0 and 1 are all alike.
"""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras
from ai_edge_litert import schema_py_generated as schema
from tensorflow.lite.python.convert_phase import ConverterError

from edge_runtime.bundle import LABELS
from edge_runtime.decision import logits_from_cam, softmax
from edge_runtime.errors import GateError, ModelError
from export.flatbuffer import pack, unpack
from train.evaluate.metrics import macro_auc

FloatArray = npt.NDArray[np.float32]
Format = Literal["keras", "saved_model", "tflite"]

_ENDINGS = (schema.BuiltinOperator.SOFTMAX, schema.BuiltinOperator.LOGISTIC)
# How much better another order of the classes must rank films before it is named.
_OTHER_ORDER = 0.1


@dataclass(frozen=True)
class ForeignModel:
    """A float32 TFLite file with the heads `cam` and perhaps `mask`.

    Attributes
    ----------
    sha256
        Of the file that was given; of a folder, of its files' names and bytes.
    shape
        Rows, columns and channels of the film that it takes.
    """

    name: str
    sha256: str
    model: bytes
    shape: tuple[int, int, int]


def open_model(path: Path, format: Format) -> ForeignModel:
    """Open a Keras file (.keras, .h5), a SavedModel folder, or a float32 TFLite file.

    Raises
    ------
    ModelError
        It cannot be opened, or takes or gives something else than is described above.
    """
    if not path.exists():
        raise ModelError("there is no such model", "Give the path of a trained model", str(path))
    convert: dict[Format, Callable[[Path], bytes]] = {
        "keras": _from_keras,
        "saved_model": _from_saved_model,
        "tflite": Path.read_bytes,
    }
    with _explained(path):
        root = unpack(convert[format](path))
        shape = _name_heads(root)
    return ForeignModel(path.name, _sha256(path), pack(root), shape)


def require_order(outputs: Mapping[str, FloatArray], labels: npt.NDArray[np.int32]) -> None:
    """Refuse a model whose classes come in another order than no tumour, benign, malignant.

    Raises
    ------
    GateError
        In another order they rank these films far better.
    """
    probabilities = softmax(logits_from_cam(outputs["cam"]))
    found = {order: macro_auc(labels, probabilities[:, order]) for order in permutations(range(3))}
    best = max(found, key=lambda order: found[order])
    if found[best] > found[0, 1, 2] + _OTHER_ORDER:
        named = ", ".join(LABELS[best.index(channel)] for channel in range(len(LABELS)))
        raise GateError(
            f"its classes seem to be {named}: read so, macro AUC is {found[best]:.2f}, and "
            f"{found[0, 1, 2]:.2f} as {', '.join(LABELS)}",
            "Give a model whose outputs are in the order of the latter",
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say in one line why a model cannot be opened, whatever library refuses it."""
    try:
        yield
    except ModelError as error:
        raise ModelError(error.what, error.remedy, str(path)) from None
    except (
        OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError,
        struct.error, tf.errors.OpError, ConverterError,
    ) as error:  # fmt: skip
        first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise ModelError(
            f"the model cannot be opened or converted ({first[:200]})",
            "Check the format, save it again, or convert it to a float32 TFLite file yourself",
            str(path),
        ) from None


def _from_keras(path: Path) -> bytes:
    if _written_by_keras_3(path):
        import keras

        # A converter finds the variables of Keras 3 only in a model that Keras itself exported.
        with tempfile.TemporaryDirectory() as folder:
            keras.models.load_model(path, compile=False).export(folder, verbose=False)
            return _from_saved_model(Path(folder))
    model = tf_keras.models.load_model(path, compile=False)
    if len(model.inputs) != 1:
        raise ModelError(f"{len(model.inputs)} inputs", "One film is all that there is")
    return _convert(model, lambda film: model(film, training=False), model.inputs[0].shape)


def _written_by_keras_3(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return str(json.loads(archive.read("metadata.json"))["keras_version"]).startswith("3")


def _from_saved_model(path: Path) -> bytes:
    loaded = tf.saved_model.load(str(path))
    if "serving_default" not in loaded.signatures:
        raise ModelError("no signature serving_default", "Save the model with one")
    serve = loaded.signatures["serving_default"]
    taken = serve.structured_input_signature[1]
    if len(taken) != 1:
        raise ModelError(f"{len(taken)} inputs", "One film is all that there is")
    ((name, tensor),) = taken.items()
    return _convert(loaded, lambda film: serve(**{name: film}), tensor.shape)


def _convert(owner: Any, answer: Callable[[tf.Tensor], Any], shape: Any) -> bytes:
    sides = tuple(shape)[1:]
    if len(sides) != 3 or None in sides:
        raise ModelError(
            f"it takes {tuple(shape)}, not a film of fixed size",
            "Save it with an input of (None, rows, columns, 1 or 3)",
        )

    def named(film: tf.Tensor) -> dict[str, tf.Tensor]:
        return {f"output{at}": x for at, x in enumerate(tf.nest.flatten(answer(film)))}

    signature = tf.TensorSpec((1, *sides), tf.float32, name="film")
    function = tf.function(named, input_signature=[signature]).get_concrete_function()
    convert = tf.lite.TFLiteConverter.from_concrete_functions([function], owner)
    return bytes(convert.convert())


def _name_heads(root: schema.ModelT) -> tuple[int, int, int]:
    """Give a file one signature whose outputs are heads; return what film it takes."""
    if len(root.subgraphs) != 1:
        raise ModelError("it has control flow", "Give a model without branches or loops")
    (graph,) = root.subgraphs
    if len(graph.inputs) != 1:
        raise ModelError(f"{len(graph.inputs)} inputs", "One film is all that there is")
    entry = graph.tensors[graph.inputs[0]]
    shape = tuple(int(side) for side in entry.shape)
    if entry.type != schema.TensorType.FLOAT32 or any(
        graph.tensors[at].type != schema.TensorType.FLOAT32 for at in graph.outputs
    ):
        raise ModelError(
            "inputs or outputs are not float32",
            "Give the model as it was before quantization",
        )
    if len(shape) != 4 or shape[0] != 1 or shape[3] not in (1, 3):
        raise ModelError(
            f"it takes {shape}, not one film with channels last",
            "Convert it with an input of (1, rows, columns, 1 or 3)",
        )
    for tensor in graph.tensors:
        # Of a batch of one, whatever a converter left open.
        tensor.shapeSignature = None
    graph.outputs = [_without_ending(root, int(at)) for at in graph.outputs]
    heads = [_head(graph.tensors[at]) for at in graph.outputs]
    if heads.count("cam") != 1 or heads.count("mask") > 1:
        shapes = ", ".join(str(tuple(map(int, graph.tensors[at].shape))) for at in graph.outputs)
        raise ModelError(
            f"it gives {shapes}",
            "Three class logits are needed, (1, 3) or (1, rows, columns, 3), and at most one "
            "mask, (1, rows, columns, 1)",
        )
    for head, at in zip(heads, graph.outputs, strict=True):
        sides = tuple(int(side) for side in graph.tensors[at].shape)[1:3]
        if head == "mask" and (shape[1] % sides[0] or shape[2] % sides[1]):
            raise ModelError(
                f"its mask has {sides[0]} x {sides[1]} cells, which does not divide the film's "
                f"{shape[1]} x {shape[2]} pixels",
                "Give a mask of the film's size, or of a whole fraction of it",
            )
    _drop_unused(graph)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs = [_tensor_map("film", int(graph.inputs[0]))]
    signature.outputs = [
        _tensor_map(head, at) for head, at in zip(heads, graph.outputs, strict=True)
    ]
    root.signatureDefs = [signature]
    return shape[1], shape[2], shape[3]


def _without_ending(root: schema.ModelT, output: int) -> int:
    """Return the output before a softmax or sigmoid, which is taken out of the graph."""
    (graph,) = root.subgraphs
    for op in graph.operators:
        code = root.operatorCodes[op.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)
        if output in op.outputs and kind in _ENDINGS:
            graph.operators.remove(op)
            return int(op.inputs[0])
    return output


def _drop_unused(graph: schema.SubGraphT) -> None:
    """Take out tensors that nothing reads or writes."""
    used = {int(at) for op in graph.operators for at in (*op.inputs, *op.outputs) if at >= 0}
    kept = sorted(used | set(map(int, graph.inputs)) | set(map(int, graph.outputs)))
    # An optional input that is not there is -1.
    place = {-1: -1} | {old: new for new, old in enumerate(kept)}
    graph.tensors = [graph.tensors[at] for at in kept]
    for owner in (graph, *graph.operators):
        owner.inputs = [place[int(at)] for at in owner.inputs]
        owner.outputs = [place[int(at)] for at in owner.outputs]


def _head(tensor: schema.TensorT) -> str:
    shape = tuple(int(side) for side in tensor.shape)
    if shape[-1:] == (len(LABELS),) and len(shape) in (2, 4):
        return "cam"
    if shape[-1:] == (1,) and len(shape) == 4:
        return "mask"
    raise ModelError(
        f"it gives a tensor {shape}",
        "Only class logits, (1, 3) or (1, rows, columns, 3), and a mask, (1, rows, columns, 1), "
        "are known",
    )


def _tensor_map(name: str, at: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, at
    return entry


def _sha256(path: Path) -> str:
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()
