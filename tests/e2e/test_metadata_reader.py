"""The metadata in the model file, read by the schema of those who defined it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.environment.install import make_environment
from edge_runtime.bundle import load_bundle

READER = """
import importlib.util, json, sys
from ai_edge_litert import schema_py_generated as tflite
spec = importlib.util.find_spec("tensorflow_lite_support.metadata.metadata_schema_py_generated")
schema = importlib.util.module_from_spec(spec)
spec.loader.exec_module(schema)
root = tflite.ModelT.InitFromPackedBuf(open(sys.argv[1], "rb").read(), 0)
(entry,) = [m for m in root.metadata if m.name == b"TFLITE_METADATA"]
document = bytes(bytearray(root.buffers[entry.buffer].data))
assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(document, 0)
model = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(document, 0))
(graph,) = model.subgraphMetadata
(film,) = graph.inputTensorMetadata
unit = film.processUnits[0].options
print(json.dumps({
    "licence": model.license.decode(),
    "grey": film.content.contentProperties.colorSpace == schema.ColorSpaceType.GRAYSCALE,
    "mean": list(map(float, unit.mean)), "std": list(map(float, unit.std)),
    "labels": {
        head.name.decode(): [file.name.decode() for file in head.associatedFiles or []]
        for head in graph.outputTensorMetadata
    },
}))
"""


def test_tensorflow_lite_support_reads_it(tiny_bundle: Path, tmp_path: Path) -> None:
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-support, the last reader of its own schema, ends at Python 3.11")
    bundle = load_bundle(tiny_bundle)
    model = tmp_path / "model.tflite"
    model.write_bytes(bundle.model)
    python = (
        make_environment(
            tmp_path / "venv",
            ["--no-deps", "tflite-support==0.4.4"],
            ["ai-edge-litert", "numpy", "flatbuffers"],
        )
        / "python"
    )
    result = subprocess.run(
        [python, "-c", READER, model], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["licence"] == "Training data: CC0-1.0"
    assert found["grey"]
    assert (found["mean"], found["std"]) == ([127.0], [128.0])
    outputs = bundle.manifest.model.outputs
    in_order = sorted(outputs, key=lambda head: outputs[head].index)
    assert list(found["labels"]) == in_order, "described in the order of the file's outputs"
    assert found["labels"]["cam"] == ["cam_labels.txt"]
    assert found["labels"]["subtype"] == ["subtype_labels.txt"]
    assert found["labels"]["mask"] == []
