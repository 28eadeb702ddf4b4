"""What an Edge TPU would run, against what its compiler did, and rule by rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema

from edge_runtime.bundle import load_bundle
from edge_runtime.errors import ModelError
from export.compat import Compatibility, edge_tpu_compatibility
from tests.conftest import must, osteoedge
from tests.export.graphs import Graph


def left_on_the_cpu(compiled: bytes) -> set[bytes]:
    """Return the outputs of what the compiler left outside its own operator."""
    root = schema.ModelT.InitFromPackedBuf(compiled, 0)
    graph = root.subgraphs[0]
    return {
        graph.tensors[op.outputs[0]].name
        for op in graph.operators
        if root.operatorCodes[op.opcodeIndex].customCode != b"edgetpu-custom-op"
    }


def predicted_on_the_cpu(model: bytes) -> set[bytes]:
    graph = schema.ModelT.InitFromPackedBuf(model, 0).subgraphs[0]
    found = edge_tpu_compatibility(model)
    return {
        graph.tensors[graph.operators[op.index].outputs[0]].name
        for op in found.ops
        if op.target == "cpu"
    }


def test_what_the_compiler_left_to_the_cpu_is_predicted(local_data: Path) -> None:
    pairs = sorted((local_data / "edgetpu_pairs").glob("*_edgetpu.tflite"))
    assert pairs
    for compiled in pairs:
        model = compiled.with_name(compiled.name.replace("_edgetpu", "")).read_bytes()
        assert predicted_on_the_cpu(model) == left_on_the_cpu(compiled.read_bytes()), compiled.name


def test_the_default_network_maps_completely(tiny_bundle: Path) -> None:
    found = edge_tpu_compatibility(load_bundle(tiny_bundle).model)
    assert [op for op in found.ops if op.reason] == []
    assert found.mapped == found.total > 60
    assert not found.streams_parameters


def one(
    name: str, build: Callable[[Graph], tuple[list[int], list[int]]], **options: int
) -> Compatibility:
    """Return what is said of a model of one operator."""
    graph = Graph()
    inputs, outputs = build(graph)
    graph.op(name, inputs, outputs, **options)
    return edge_tpu_compatibility(graph.file(inputs[:1], outputs))


def convolution(graph: Graph) -> tuple[list[int], list[int]]:
    bias = graph.indices(0, 0)
    return [graph.tensor(1, 8, 8, 4), graph.weights(2, 1, 1, 4), bias], [graph.tensor(1, 8, 8, 2)]


def computed_weights(graph: Graph) -> tuple[list[int], list[int]]:
    return [graph.tensor(1, 8, 8, 4), graph.tensor(1, 1, 1, 4)], [graph.tensor(1, 8, 8, 1)]


def in_float(graph: Graph) -> tuple[list[int], list[int]]:
    return [graph.tensor(1, 8, dtype="FLOAT32")], [graph.tensor(1, 8)]


def batch_of_two(graph: Graph) -> tuple[list[int], list[int]]:
    return [graph.tensor(2, 8, 8, 4)], [graph.tensor(2, 8, 8, 4)]


def unknown_side(graph: Graph) -> tuple[list[int], list[int]]:
    return [graph.tensor(1, 1, 8, 4, signature=(1, -1, 8, 4))], [graph.tensor(1, 1, 8, 4)]


def pair(*shape: int) -> Callable[[Graph], tuple[list[int], list[int]]]:
    return lambda graph: ([graph.tensor(*shape)], [graph.tensor(*shape)])


def resize(small: int, large: int) -> Callable[[Graph], tuple[list[int], list[int]]]:
    return lambda graph: (
        [graph.tensor(1, small, small, 4), graph.indices(large, large)],
        [graph.tensor(1, large, large, 4)],
    )


def mean(axis: int, channels: int = 4) -> Callable[[Graph], tuple[list[int], list[int]]]:
    return lambda graph: (
        [graph.tensor(1, 8, 8, channels), graph.indices(axis)],
        [graph.tensor(1, 8, 8)],
    )


def pad(*widths: int) -> Callable[[Graph], tuple[list[int], list[int]]]:
    return lambda graph: (
        [graph.tensor(1, 8, 8, 4), graph.indices(*widths)],
        [graph.tensor(1, 9, 9, 4)],
    )


def joined(graph: Graph) -> tuple[list[int], list[int]]:
    return [graph.tensor(1, 8, 8, 4), graph.weights(1, 8, 8, 4)], [graph.tensor(1, 8, 8, 8)]


def stepped(graph: Graph) -> tuple[list[int], list[int]]:
    corners = [graph.indices(0, 0), graph.indices(1, 8), graph.indices(1, 2)]
    return [graph.tensor(1, 8), *corners], [graph.tensor(1, 4)]


@pytest.mark.parametrize(
    ("name", "build", "options"),
    [
        ("CONV_2D", convolution, {"dilationWFactor": 2, "dilationHFactor": 2}),
        ("SOFTMAX", pair(1, 1000), {}),
        ("RESIZE_BILINEAR", resize(24, 48), {}),
        ("MEAN", mean(1), {}),
        ("MEAN", mean(-1, channels=8), {}),
        ("PAD", pad(0, 0, 0, 1, 0, 1, 0, 0), {}),
        ("QUANTIZE", pair(1, 8), {}),
        ("LOGISTIC", pair(1, 8, 8, 4), {}),
    ],
)
def test_what_is_mapped(
    name: str,
    build: Callable[[Graph], tuple[list[int], list[int]]],
    options: dict[str, int],
) -> None:
    found = one(name, build, **options)
    assert found.ops[0].reason is None
    assert (found.mapped, found.total) == (1, 1)


@pytest.mark.parametrize(
    ("name", "build", "options", "reason"),
    [
        ("CONV_2D", convolution, {"dilationWFactor": 2}, "dilation differs between x and y"),
        ("CONV_2D", computed_weights, {}, "parameters are not constant"),
        ("QUANTIZE", in_float, {}, "unsupported data type"),
        ("LOGISTIC", batch_of_two, {}, "unsupported rank (up to 3 innermost"),
        ("LOGISTIC", unknown_side, {}, "size is not known at compile time"),
        ("ARG_MAX", pair(1, 8), {}, "Operation not supported"),
        ("SOFTMAX", pair(1, 16001), {}, "more than 16000 elements"),
        ("SOFTMAX", pair(1, 8, 8, 4), {}, "more than one dimension"),
        ("RESIZE_BILINEAR", resize(1, 33), {}, "would lose precision"),
        ("MEAN", mean(0), {}, "reduces the batch dimension"),
        ("MEAN", mean(-1, channels=6), {}, "no multiple of 4"),
        ("PAD", pad(1, 0, 0, 0, 0, 0, 0, 0), {}, "pads the batch dimension"),
        ("MAX_POOL_2D", pair(1, 8, 8, 4), {"fusedActivationFunction": 1}, "fused activation"),
        ("CONCATENATION", joined, {}, "all zeros"),
        ("STRIDED_SLICE", stepped, {}, "stride other than 1"),
    ],
)
def test_what_is_not_mapped_and_why(
    name: str,
    build: Callable[[Graph], tuple[list[int], list[int]]],
    options: dict[str, int],
    reason: str,
) -> None:
    found = one(name, build, **options)
    assert found.ops[0].target == "cpu"
    assert reason in (found.ops[0].reason or "")
    assert found.mapped == 0
    assert found.parameter_bytes == 0


def test_nothing_passes_through_the_cpu_back_to_the_edge_tpu() -> None:
    graph = Graph()
    film, *between = (graph.tensor(1, 8, 8, 4) for _ in range(6))
    graph.op("ARG_MAX", [film], [between[0]])  # before the Edge TPU: does no harm
    graph.op("LOGISTIC", [between[0]], [between[1]])
    graph.op("ARG_MAX", [between[1]], [between[2]])
    graph.op("LOGISTIC", [between[2]], [between[3]])  # behind the CPU
    graph.op("TANH", [between[1]], [between[4]])  # a branch that no operator on the CPU is in
    found = edge_tpu_compatibility(graph.file([film], [between[3], between[4]]))
    assert [op.target for op in found.ops] == ["cpu", "edgetpu", "cpu", "cpu", "edgetpu"]
    assert found.ops[3].reason == "More than one subgraph is not supported"


def test_one_operator_of_a_later_version_and_the_compiler_takes_nothing() -> None:
    graph = Graph()
    (inputs, outputs), last = convolution(graph), graph.tensor(1, 8, 8, 2)
    graph.op("CONV_2D", inputs, outputs, version=6)
    graph.op("LOGISTIC", outputs, [last])
    found = edge_tpu_compatibility(graph.file(inputs[:1], [last]))
    assert found.mapped == 0
    for op in found.ops:
        assert "Didn't find op for builtin opcode 'CONV_2D' version '6'" in (op.reason or "")


def test_parameters_beyond_the_chip_are_streamed() -> None:
    def wide(inputs: int) -> Compatibility:
        return one(
            "FULLY_CONNECTED",
            lambda g: ([g.tensor(1, inputs), g.weights(1000, inputs)], [g.tensor(1, 1000)]),
        )

    assert not wide(7000).streams_parameters
    assert wide(8000).streams_parameters
    assert wide(8000).parameter_bytes == 8_000_000


@pytest.mark.parametrize("damage", [b"", b"TFL3", b"\0\0\0\0TFL3", b"not a model at all" * 9])
def test_what_is_no_model_is_refused(damage: bytes) -> None:
    with pytest.raises(ModelError, match=r"x\.tflite: not a TFLite model, or damaged"):
        edge_tpu_compatibility(damage, "x.tflite")


def test_a_truncated_model_is_refused() -> None:
    graph = Graph()
    inputs, outputs = convolution(graph)
    graph.op("CONV_2D", inputs, outputs)
    whole = graph.file(inputs[:1], outputs)
    refused = 0
    for length in range(8, len(whole) - 8, 40):
        try:
            edge_tpu_compatibility(whole[:length])
        except ModelError:
            refused += 1
    assert refused >= 3, "and nothing but ModelError was raised"


def test_the_command_prints_json_and_a_table(tmp_path: Path) -> None:
    graph = Graph()
    inputs, outputs = convolution(graph)
    graph.op("CONV_2D", inputs, outputs, version=3)
    path = tmp_path / "model.tflite"
    path.write_bytes(graph.file(inputs[:1], outputs))
    document = json.loads(must(osteoedge("compat", path, "--json")).stdout)
    assert document["ops"] == [
        {"index": 0, "op": "CONV_2D", "version": 3, "target": "edgetpu", "reason": None}
    ]
    assert (document["mapped"], document["total"]) == (1, 1)
    assert document["streams_parameters"] is False
    assert "1 of 1 operators would run on the Edge TPU" in must(osteoedge("compat", path)).stdout
    missing = osteoedge("compat", tmp_path / "none.tflite")
    assert missing.returncode == 1
    assert missing.stderr.strip().startswith("Error none.tflite: cannot be read")
