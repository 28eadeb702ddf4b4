"""Metadata inside the model file: other tools read it, and nothing that is computed changes."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edge_runtime.preprocess import InputSpec
from export.convert import describe, to_float32
from export.metadata import with_metadata
from export.post_training import to_int8
from tests.export.test_parity import SPEC, small_network


@pytest.fixture(scope="module")
def plain() -> bytes:
    rng = np.random.default_rng(0)
    films = [rng.normal(size=(1, 32, 32, 1)).astype(np.float32) for _ in range(4)]
    return to_int8(to_float32(small_network(), SPEC), films, SPEC, 0.0)


def described(plain: bytes, spec: InputSpec = SPEC) -> bytes:
    return with_metadata(plain, spec, licence="CC0-1.0", subtypes=(), regions=())


def outputs(model: bytes) -> list[np.ndarray]:
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    film = np.random.default_rng(1).integers(-128, 128, entry["shape"]).astype(np.int8)
    interpreter.set_tensor(entry["index"], film)
    interpreter.invoke()
    return [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()]


def test_what_is_computed_stays_the_same(plain: bytes) -> None:
    model = described(plain)
    for before, after in zip(outputs(plain), outputs(model), strict=True):
        np.testing.assert_array_equal(before, after)
    assert describe(model, "none", "ptq-int8") == describe(plain, "none", "ptq-int8")
    assert described(plain) == model, "the same bytes every time"


def test_constants_are_aligned_for_every_runtime(plain: bytes) -> None:
    root = schema.Model.GetRootAs(described(plain), 0)
    for number in range(root.BuffersLength()):
        table = root.Buffers(number)._tab
        if field := table.Offset(4):
            assert table.Vector(field) % 16 == 0


def test_labels_lie_in_a_zip_behind_the_model(plain: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(described(plain))) as archive:
        assert archive.namelist() == ["cam_labels.txt"]
        assert archive.read("cam_labels.txt") == b"no_tumour\nbenign\nmalignant\n"
    root = schema.ModelT.InitFromPackedBuf(described(plain), 0)
    (entry,) = [m for m in root.metadata if m.name == b"TFLITE_METADATA"]
    document = bytes(root.buffers[entry.buffer].data)
    assert document[4:8] == b"M001"
    for words in (b"osteoedge", b"Training data: CC0-1.0", b"cam_labels.txt", b"lesion logits"):
        assert words in document
