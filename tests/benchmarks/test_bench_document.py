"""bench.json: its schema, what may not be left out, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from benchmarks.report import details, read_bench, tables, write_bench
from benchmarks.schema import Bench, absent
from edge_runtime.errors import BenchmarkError
from tests.benchmarks.benches import host, not_there, ran, whole_bench
from tests.conftest import ROOT


def test_the_committed_schema_is_that_of_the_model() -> None:
    """Other tools read bench.json by this file. A change of it is a change of the format."""
    path = ROOT / "benchmarks" / "osteoedge.bench-1.schema.json"
    assert json.loads(path.read_text()) == Bench.model_json_schema(by_alias=True)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "bench.json"
    write_bench(path, whole_bench())
    assert read_bench(path) == whole_bench()
    assert json.loads(path.read_text())["schema"] == "osteoedge.bench/1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "no JSON, or only the beginning"),
        (lambda text: "[1]", "does not say what it is"),
        (lambda text: '{"host": {}, "rows": []}', "does not say what it is"),
        (lambda text: text.replace("bench/1", "bench/7"), "says it is osteoedge.bench/7, not"),
        (lambda text: text.replace('"harness_us": 0.21', '"harness_us": -1'), "host.harness_us: "),
        (lambda text: text.replace('"p50_ms"', '"p51_ms"', 1), "rows.0.p51_ms: "),
        (lambda text: text.encode().replace(b"knee", b"\xff"), "no JSON"),
    ],
)
def test_a_file_that_is_none_is_one_line(change: Any, message: str, tmp_path: Path) -> None:
    path, broken = tmp_path / "bench.json", change(whole_bench().to_json())
    path.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    with pytest.raises(BenchmarkError, match=message) as caught:
        read_bench(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "easure again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(BenchmarkError, match="it cannot be read"):
            read_bench(path)


def test_no_figure_is_left_out_without_a_reason() -> None:
    sound = ran("fp32", "cpu", 1, 8.0).model_dump()
    for change, message in (
        ({"p99_high_ms": None}, "no reason is given for p99_high_ms"),
        ({"unmeasured": absent("no meter", {})}, "a reason is given for accuracy, "),
        ({"reason": "why"}, "a row that is not ok has a reason, and no other"),
        ({"status": "failed"}, "a row that is not ok has a reason, and no other"),
    ):
        with pytest.raises(ValidationError, match=message):
            type(ran("fp32", "cpu", 1, 8.0)).model_validate(sound | change)
    row = ran("fp32", "cpu", 1, 8.0)
    with pytest.raises(ValidationError, match="two rows have the same bundle"):
        Bench(host=host(), rows=(row, row))


def said(bench: Bench) -> str:
    """What a terminal of the usual width shows."""
    console = Console(width=80, force_terminal=False)
    with console.capture() as captured:
        for part in tables(bench):
            console.print(part)
        for line in details(bench):
            console.print(line, soft_wrap=True)
    return captured.get()


def test_the_tables_say_what_matters() -> None:
    text = said(whole_bench())
    assert "knee 1.0 on A <fast> processor, 4 cores" in text
    assert "SYNTHETIC" not in text
    lines = text.splitlines()
    rows = [" ".join(line.split()) for line in lines]
    assert "qat-int8 cpu/1 8.20 (8.04-8.53) 9.43 13.1 56.4 ok" in rows
    assert "qat-int8 external/1 900 3.70 140 60/64 1 0.800 0.900" in rows
    assert "qat-int8 edgetpu/1 - - - - unavailable" in rows
    assert "qat-int8 external/1: faster than its memory can be read" in lines
    assert "qat-int8 external/1 0.040 (0.039-0.042) 0.046 0.064 40.1 suspicious" in rows
    assert "fp16 gpu/1: this GPU is software on the processor" in lines
    assert "fp16 gpu/1: llvmpipe draws on the CPU" in lines
    assert "qat-int8 edgetpu/1: no Edge TPU is plugged in" in lines
    assert "fp16 openvino/1: does not reproduce golden vector 3" in lines
    assert "the network, knee fp32 cpu/1 / knee qat-int8 cpu/1: 2.93 x (2.84-3.02)" in lines
    assert "Warning: another process is busy: stress 90 %" in lines
    assert "mJ" not in text, "nobody told the energy"


def test_models_are_told_apart() -> None:
    rows = (ran("fp32", "cpu", 1, 8.0), ran("fp32", "cpu", 1, 8.0, bundle="hip 2.0"))
    text = said(Bench(host=host(), rows=rows))
    assert "knee 1.0 and hip 2.0 on A <fast> processor" in text
    assert "knee fp32 cpu/1" in text and "hip fp32 cpu/1" in text


def test_nothing_ran_is_no_second_table() -> None:
    text = said(Bench(host=host(), rows=(not_there("fp16", "gpu", "failed", "no [/] device"),)))
    assert "fp16 gpu/1: no [/] device" in text
    assert "RAM" not in text


def test_drawings_are_said_to_be_drawings() -> None:
    rows = (ran("fp32", "cpu", 1, 8.0, synthetic=True), ran("fp32", "cpu", 2, 8.0, synthetic=None))
    assert "SYNTHETIC: model trained" in said(Bench(host=host(), rows=rows))
