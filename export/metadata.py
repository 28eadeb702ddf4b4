"""Standard TFLite metadata inside the model file, so that other tools know what its numbers mean.

The schema is that of TensorFlow Lite Support (metadata_schema.fbs 1.x): a flatbuffer in the model's
metadata `TFLITE_METADATA`, and files that it names in a zip behind the model, which a TFLite
interpreter does not look at.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_runtime.bundle import LABELS
from edge_runtime.bundle.zipping import add_member
from edge_runtime.preprocess import InputSpec
from export.flatbuffer import pack, unpack

_NAME, _IDENTIFIER, _PARSER = "TFLITE_METADATA", b"M001", "1.0.0"
# Values of the schema's enumerations.
_IMAGE_PROPERTIES, _RGB, _GRAYSCALE, _NORMALIZATION, _AXIS_LABELS = 2, 1, 2, 1, 2

_DESCRIPTIONS = {
    "cam": "class-activation map, logits; their mean over the map is what softmax takes",
    "mask": "lesion logits, a quarter of the input's resolution",
    "subtype": "activation map of subtypes, logits",
    "region": "activation map of body regions, logits",
    "embedding": "features under cam",
}


def with_metadata(
    model: bytes,
    input_spec: InputSpec,
    *,
    licence: str,
    subtypes: Sequence[str],
    regions: Sequence[str],
) -> bytes:
    """Return a TFLite file that says what its tensors are: names, normalization, labels.

    Nothing that is computed changes.
    """
    channels = {"cam": LABELS, "subtype": subtypes, "region": regions}
    root = unpack(model)
    (graph,), (signature,) = root.subgraphs, root.signatureDefs
    named = {entry.tensorIndex: entry.name.decode() for entry in signature.outputs}
    heads = [named[int(at)] for at in graph.outputs]
    files = {f"{head}_labels.txt": channels[head] for head in heads if channels.get(head)}
    space = _GRAYSCALE if graph.tensors[graph.inputs[0]].shape[3] == 1 else _RGB
    document = _metadata(heads, input_spec, space, licence, files)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(document, np.uint8)
    entry.name, entry.buffer = _NAME, len(root.buffers)
    root.buffers.append(buffer)
    root.metadata = [*(root.metadata or []), entry]
    packed = io.BytesIO(pack(root))
    with zipfile.ZipFile(packed, "a") as archive:
        for name, words in files.items():
            add_member(archive, name, "".join(f"{word}\n" for word in words).encode())
    return packed.getvalue()


def _metadata(
    heads: Sequence[str],
    spec: InputSpec,
    space: int,
    licence: str,
    files: Mapping[str, Sequence[str]],
) -> bytes:
    tables = _Tables()
    outputs = [
        tables.table(
            7,
            {0: tables.text(head), 1: tables.text(_DESCRIPTIONS[head])}
            | (
                {6: tables.vector([tables.file(f"{head}_labels.txt")])}
                if f"{head}_labels.txt" in files
                else {}
            ),
        )
        for head in heads
    ]
    subgraph = tables.table(
        10, {2: tables.vector([_film(tables, spec, space)]), 3: tables.vector(outputs)}
    )
    model = tables.table(
        8,
        {
            0: tables.text("osteoedge bone-tumour check"),
            1: tables.text("Research software, not a medical device. Bone tumours on plain films."),
            3: tables.vector([subgraph]),
            5: tables.text(f"Training data: {licence}"),
            7: tables.text(_PARSER),
        },
    )
    return tables.finish(model)


def _film(tables: _Tables, spec: InputSpec, space: int) -> _Offset:
    """Add the description of the input: grey levels, (x - mean) / divisor in every channel."""
    colours = tables.table(2, {0: space})
    content = tables.table(3, {0: _IMAGE_PROPERTIES, 1: colours})
    options = tables.table(2, {0: tables.floats(spec.mean), 1: tables.floats(spec.divisor)})
    unit = tables.table(2, {0: _NORMALIZATION, 1: options})
    stats = tables.table(2, {0: tables.floats(255.0), 1: tables.floats(0.0)})
    return tables.table(
        7,
        {
            0: tables.text("film"),
            1: tables.text("radiograph, bright bone on black, grey levels 0 to 255"),
            3: content,
            4: tables.vector([unit]),
            5: stats,
        },
    )


class _Offset(int):
    """Where something lies in the buffer, as opposed to a number."""


class _Tables:
    """A flatbuffer written table by table, fields by their slots in the schema."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)

    def text(self, words: str) -> _Offset:
        return _Offset(self._builder.CreateString(words))

    def floats(self, *values: float) -> _Offset:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return _Offset(self._builder.EndVector())

    def vector(self, offsets: Sequence[int]) -> _Offset:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return _Offset(self._builder.EndVector())

    def file(self, name: str) -> _Offset:
        """Add the name of a file in the zip whose lines name the channels of a tensor."""
        return self.table(5, {0: self.text(name), 2: _AXIS_LABELS})

    def table(self, slots: int, fields: Mapping[int, int]) -> _Offset:
        self._builder.StartObject(slots)
        for slot, value in fields.items():
            if isinstance(value, _Offset):
                self._builder.PrependUOffsetTRelativeSlot(slot, value, 0)
            else:
                self._builder.PrependUint8Slot(slot, value, 0)
        return _Offset(self._builder.EndObject())

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, _IDENTIFIER)
        return bytes(self._builder.Output())
