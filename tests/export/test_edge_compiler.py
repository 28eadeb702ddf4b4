"""The Edge TPU compiler, played by scripts that behave as its users report: it cannot be had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_runtime.errors import GateError
from export.edge_compiler import compile_for_edge_tpu, parse_operators
from tests.export.graphs import Graph

LOG = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 1753 ms.

Input model: model.tflite
Output model: model_edgetpu.tflite
Number of Edge TPU subgraphs: 1
Total number of operations: 10
Operation log: model_edgetpu.log

Operator                       Count      Status

LOGISTIC                       {mapped}          Mapped to Edge TPU
RESIZE_BILINEAR                1          Operation version not supported
ARG_MAX                        2          Operation not supported
"""


def model() -> bytes:
    graph = Graph()
    one, two = graph.tensor(1, 8), graph.tensor(1, 8)
    graph.op("LOGISTIC", [one], [two])
    return graph.file([one], [two])


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of PATH; a script there is the compiler."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def script(folder: Path, body: str) -> None:
    path = folder / "edgetpu_compiler"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def compiles(folder: Path, mapped: int = 7) -> str:
    log = folder / "log.txt"
    log.write_text(LOG.format(mapped=mapped))
    asked = '[ "$1 $2" = "--show_operations --out_dir" ] || exit 9'
    return f'{asked}\ncat {log}\ncp "$4" "$3/model_edgetpu.tflite"'


def test_without_a_compiler_the_bundle_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = compile_for_edge_tpu(model(), 0.9)
    assert found.facts.status == "unavailable"
    assert found.facts.reason == "edgetpu_compiler is not installed here"
    assert (found.facts.predicted_mapped, found.facts.total) == (1, 1)
    assert found.model is None


def test_a_model_that_compiles(play: Path) -> None:
    script(play, compiles(play))
    found = compile_for_edge_tpu(model(), 0.7)
    assert found.model == model()
    assert found.facts.status == "compiled"
    assert found.facts.mapped == 7
    assert found.facts.compiler == "16.0.384591198"


def test_success_with_too_little_mapped_is_none(play: Path) -> None:
    script(play, compiles(play))
    with pytest.raises(GateError, match=r"maps 7 of 10 operators.*2 ARG_MAX \(Operation not supp"):
        compile_for_edge_tpu(model(), 0.9)
    script(play, compiles(play, mapped=0))
    with pytest.raises(GateError, match="maps 0 of 3 operators"):
        compile_for_edge_tpu(model(), 0.01)


def test_what_fails_twice_may_succeed(play: Path) -> None:
    count = play / "count"
    script(
        play,
        f'echo x >> {count}\nif [ "$(wc -l < {count})" -lt 3 ]; then\n'
        f'echo "Internal compiler error. Aborting!"; exit 1; fi\n{compiles(play)}',
    )
    found = compile_for_edge_tpu(model(), 0.5)
    assert found.facts.status == "compiled"
    assert found.log.count("Internal compiler error") == 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo 'Internal compiler error. Aborting!'; exit 1", "Internal compiler error. Aborting!"),
        ("echo nothing of use", "nothing of use"),
        ("exec sleep 5", "no answer within 0.2 s"),
        ("true", "it said nothing"),
    ],
)
def test_what_always_fails_is_reported(play: Path, body: str, reason: str) -> None:
    script(play, body)
    found = compile_for_edge_tpu(model(), 0.5, timeout_s=0.2 if "sleep" in body else 30.0)
    assert found.facts.status == "failed"
    assert found.facts.reason == f"edgetpu_compiler failed 3 times: {reason}"
    assert found.model is None


def test_the_table_of_operators() -> None:
    assert parse_operators(LOG.format(mapped=12)) == [
        ("LOGISTIC", 12, "Mapped to Edge TPU"),
        ("RESIZE_BILINEAR", 1, "Operation version not supported"),
        ("ARG_MAX", 2, "Operation not supported"),
    ]
    assert parse_operators("Internal compiler error") == []
