"""The comparison with other runtimes: that they agree first, and who is not there says so."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from ai_edge_litert import schema_py_generated as schema
from typer.testing import CliRunner

from benchmarks.peers import __main__, comparison
from benchmarks.peers.agreement import Difference, Limits, difference
from benchmarks.peers.document import Peers, table
from benchmarks.peers.files import float_file
from benchmarks.peers.process import Process, Stopwatch, Unusable
from benchmarks.peers.systems import FILMS, FP32, INT8, System
from edge_runtime.bundle import ModelBundle, load_bundle
from tests.conftest import ROOT, need
from tests.export.graphs import Graph

APP = typer.Typer()
APP.command()(__main__.main)
LOADERS = "tests.benchmarks.peer_loaders"
NOWHERE = Path("model")


def answers(*outputs: list) -> list[list[np.ndarray]]:
    """One film; int8 outputs of shape (1, n)."""
    return [[np.array([output], np.int8) for output in outputs]]


def test_a_difference_is_in_steps_of_the_output() -> None:
    ours = answers([0, 10], [-128, 127])
    assert difference(ours, ours, None) == Difference(0.0, 0.0)
    assert difference(answers([0, 13], [-128, 127]), ours, None) == Difference(3.0, 1.5)
    # Of the embedding, the mean alone counts.
    assert difference(answers([0, 10], [127, 127]), ours, 1) == Difference(0.0, 127.5)


def test_float_outputs_differ_by_255ths_of_their_range() -> None:
    ours = [[np.array([-2.0, 3.1], np.float32)]]
    found = difference([[np.array([-2.0, 3.12], np.float32)]], ours, None)
    assert found.largest == pytest.approx(1.0, rel=1e-3)
    assert found.mean == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(
    "given",
    [answers([0, 10]), answers([0], [0, 0]), [], [[np.array([0.0, np.nan])] * 2]],
    ids=["an output is missing", "another size", "a film is missing", "no number"],
)
def test_outputs_that_cannot_be_compared_are_a_failure(given: list) -> None:
    with pytest.raises(Unusable) as caught:
        difference(given, answers([0, 10], [1, 2]), None)
    assert caught.value.status == "failed"


def test_both_the_farthest_value_and_the_farthest_mean_are_limited() -> None:
    limits = Limits(largest=8.0, mean=1.0)
    assert Difference(8.0, 1.0).beyond(limits) is None
    for far in (Difference(9.0, 0.1), Difference(2.0, 1.1)):
        assert "it answers otherwise: off by up to" in str(far.beyond(limits))


def test_a_process_answers_arrays_and_times_itself() -> None:
    with Process(f"{LOADERS}:doubling", NOWHERE, 3) as process:
        assert process.version == "doubling 3"
        twice, same = process.ask(np.array([[1, -2]], np.int8))
        assert twice.dtype == np.int8 and same.dtype == np.float32
        assert twice.tolist() == [[2, -4]] and same.tolist() == [[1.0, -2.0]]
    with Process(f"{LOADERS}:sleeping", NOWHERE, 1) as process:
        process.ask(20)
        watch = Stopwatch()
        query = watch.query(process)
        query()
        query()
        assert watch.clock() >= 40e6, "two queries of 20 ms, and nothing else moves this clock"


@pytest.mark.parametrize(
    ("loader", "status", "reason"),
    [("absent", "unavailable", "no module no_such_runtime"),
     ("refusing", "failed", "op 7 is not known"),
     ("crashing", "failed", "its process ended (SIGABRT: out of memory)")],
)  # fmt: skip
def test_a_process_that_cannot_says_why(loader: str, status: str, reason: str) -> None:
    with pytest.raises(Unusable) as caught, Process(f"{LOADERS}:{loader}", NOWHERE, 1) as process:
        process.ask(1)
    assert (caught.value.status, caught.value.reason) == (status, reason)


def test_an_environment_of_its_own_needs_numpy_alone() -> None:
    script = (
        "import sys\n"
        "import benchmarks.peers.child, benchmarks.peers.runtimes.interpreters\n"
        "others = {name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(*others & {'numpy', 'scipy', 'pydantic', 'cv2', 'edge_runtime', 'tensorflow'})\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.split() == ["numpy"]


def float_network(bundle: ModelBundle, *, but: str = "") -> bytes:
    """Return a float32 file with the heads of a bundle: one convolution each, no converter.

    Of 1 x 1: TensorFlow 2.21 answers a kernel of 3 x 3 and strides that skip more with its bias.
    """
    generator, graph = np.random.default_rng(2), Graph()
    spec, signature = bundle.manifest.input_spec, schema.SignatureDefT()
    film = graph.tensor(1, spec.height, spec.width, 1, dtype="FLOAT32")
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = [named("film", film)], []
    for head, (_, rows, columns, channels) in shapes(bundle, but).items():
        kernel = generator.normal(size=(channels, 1, 1, 1)).astype(np.float32)
        weights = graph.tensor(*kernel.shape, dtype="FLOAT32", data=kernel)
        bias = graph.tensor(channels, dtype="FLOAT32", data=np.zeros(channels, np.float32))
        answer = graph.tensor(1, rows, columns, channels, dtype="FLOAT32")
        graph.op("CONV_2D", [film, weights, bias], [answer], padding=0,
                 strideH=spec.height // rows, strideW=spec.width // columns,
                 dilationHFactor=1, dilationWFactor=1)  # fmt: skip
        signature.outputs.append(named(head, answer))
    graph.root.signatureDefs = [signature]
    return graph.file([film], [entry.tensorIndex for entry in signature.outputs])


def shapes(bundle: ModelBundle, but: str) -> dict[str, tuple[int, ...]]:
    outputs = bundle.manifest.model.outputs.items()
    return {head: spec.shape for head, spec in outputs if head != but}


def named(name: str, tensor: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor
    return entry


@pytest.fixture(scope="module")
def peers(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Peers:
    """All runtimes that are here (TensorFlow once), one that answers nonsense, one that dies."""
    for package in ("tf2onnx", "onnxruntime", "openvino"):
        need(importlib.util.find_spec(package), f"{package} (pip install 'osteoedge[peers]')")
    folder = tmp_path_factory.mktemp("peers")
    out, exact = folder / "peers.json", folder / "float.tflite"
    exact.write_bytes(float_network(load_bundle(tiny_bundle)))
    wrong = System("nonsense", f"{LOADERS}:constant", "int8.tflite", "")
    dying = System("dying", f"{LOADERS}:crashing", "int8.tflite", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "INT8", (*INT8, wrong, dying))
        patch.setattr(comparison, "FP32", tuple(s for s in FP32 if s.name != "TensorFlow"))
        patch.setattr(comparison, "ROWS", 244)
        patch.setattr(comparison, "COLUMNS", 200)
        arguments = [tiny_bundle, "--float32", exact, "--threads", 1, "--out", out,
                     "--queries", 20, "--films", 20]  # fmt: skip
        result = CliRunner().invoke(APP, [str(argument) for argument in arguments])
    assert result.exit_code == 1, "somebody failed"
    assert "SYNTHETIC" in result.stdout
    document = json.loads(out.read_text())
    assert document["schema"] == "osteoedge.peers/1"
    return Peers.model_validate(document)


def test_who_is_here_agrees_and_is_measured(peers: Peers) -> None:
    measured = {row.system: row for row in peers.rows if row.what == "int8" and row.n}
    assert list(measured) == [
        "osteoedge", "LiteRT", "TensorFlow", "onnxruntime", "onnxruntime, uint8", "OpenVINO",
    ]  # fmt: skip
    ours = measured["osteoedge"]
    assert ours.max_steps == 0.0
    assert ours.times is not None
    assert (ours.times.low, ours.times.value, ours.times.high) == (1.0, 1.0, 1.0)
    assert measured["LiteRT"].max_steps == 0.0, "the very same kernels"
    for row in measured.values():
        assert row.status == "ok" and row.reason is None and row.n == 20 and row.version
        assert row.max_steps is not None and row.max_steps <= 32
        assert row.p50_ms is not None and row.p90_ms is not None and row.times is not None
        assert row.p50_low_ms is not None and 0 <= row.p50_low_ms <= row.p50_ms <= row.p90_ms
        assert row.times.low <= row.times.value <= row.times.high
    # The same numbers plus 128: what differs is in which kernels they were multiplied.
    uint8, int8 = measured["onnxruntime, uint8"], measured["onnxruntime"]
    assert uint8.mean_steps == pytest.approx(int8.mean_steps, abs=0.5)


def test_who_answers_otherwise_or_dies_has_failed(peers: Peers) -> None:
    failed = {row.system: row for row in peers.rows if row.status == "failed"}
    assert set(failed) == {"nonsense", "dying"}
    for row in failed.values():
        assert row.n is None and row.p50_ms is None and row.times is None
    assert "it answers otherwise: off by up to" in str(failed["nonsense"].reason)
    assert failed["nonsense"].max_steps is not None, "how far is told"
    assert "SIGABRT" in str(failed["dying"].reason)


def test_float_networks_agree_and_are_held_against_the_int8_one(peers: Peers) -> None:
    measured = {row.system: row for row in peers.rows if row.what == "fp32" and row.n}
    assert list(measured) == [
        "LiteRT", "onnxruntime", "OpenVINO", "OpenVINO, own precision",
    ]  # fmt: skip
    for row in measured.values():
        limit = 8 if row.system == "OpenVINO, own precision" else 0.1
        assert row.max_steps is not None and row.max_steps < limit
        assert row.times is not None


def test_who_is_not_here_says_what_to_do(peers: Peers, tiny_bundle: Path) -> None:
    absent = [row for row in peers.rows if row.status == "unavailable"]
    assert [(row.what, row.system) for row in absent] == [
        ("int8", "tflite-runtime"), ("fp32", "tflite-runtime"),
    ]  # fmt: skip
    assert all("constraints-tflite-runtime.txt" in str(row.reason) for row in absent)
    nothing = float_file(load_bundle(tiny_bundle), None)
    assert isinstance(nothing, Unusable) and nothing.status == "unavailable"
    assert "osteoedge export RUN --float32" in nothing.reason


def test_whole_ways_are_measured_with_all_cores_and_with_one(peers: Peers) -> None:
    for what in ("film", "film, one core"):
        rows = [row for row in peers.rows if row.what == what]
        assert [row.system for row in rows] == [system.name for system in FILMS]
        for row in rows:
            assert row.status == "ok" and row.n == 20
            assert row.malignant is not None and 0 <= row.malignant <= 1
        _, int8, uint8, _ = rows
        assert int8.malignant == pytest.approx(uint8.malignant, abs=0.05), "the same network"


def test_the_table_names_everybody(peers: Peers) -> None:
    found = table(peers)
    assert found.row_count == len(peers.rows)


def test_a_file_that_is_not_the_float_network_is_a_failure(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle, path = load_bundle(tiny_bundle), tmp_path / "given.tflite"

    def reason() -> str:
        found = float_file(bundle, path)
        assert isinstance(found, Unusable) and found.status == "failed"
        return found.reason

    assert "given.tflite cannot be read" in reason()
    path.write_text("no model")
    assert "given.tflite cannot be read" in reason()
    path.write_bytes(bundle.model)
    assert "does not answer in float32" in reason()
    path.write_bytes(float_network(bundle, but="mask"))
    assert "other heads than the bundle" in reason()
    path.write_bytes(float_network(bundle))
    assert float_file(bundle, path) == path


def test_an_absent_bundle_is_one_line() -> None:
    result = CliRunner().invoke(APP, ["absent.osteo"])
    assert result.exit_code == 1
    assert "absent.osteo" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [("--threads", "many"), ("--threads", "0"), ("--threads", ","),
     ("--tflite-runtime", "absent/bin/python")],
)  # fmt: skip
def test_options_that_name_nothing(tiny_bundle: Path, option: str, value: str) -> None:
    result = CliRunner().invoke(APP, [str(tiny_bundle), option, value])
    assert result.exit_code == 2
