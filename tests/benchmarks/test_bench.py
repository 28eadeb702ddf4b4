"""`osteoedge bench` on a real bundle."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.delegates import latency
from benchmarks.delegates.models import open_models
from benchmarks.harness import ROUNDS, Latencies
from benchmarks.schema import FIGURES, Bench, Row
from edge_runtime import delegates
from edge_runtime.bundle import (
    GOLDEN,
    HALF_MODEL,
    MODEL,
    HalfModel,
    Interval,
    ModelBundle,
    ModelSpec,
    load_bundle,
    write_bundle,
)
from edge_runtime.delegates import Coverage, Outputs, Probe
from edge_runtime.errors import ConfigError, ModelError
from edge_runtime.screener import Screener
from tests.benchmarks.benches import SCHEMA
from tests.benchmarks.networks import float_network
from tests.conftest import Trained, must, need, osteoedge
from train.dataset.schema import load_dataset
from train.evaluate.metrics import auc
from train.evaluate.screenings import read_film

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
KEYS = {"bundle", "variant", "delegate", "threads", "status", "reason", "n", "p50_ms", "p90_ms",
        "p99_ms", "cold_ms", "rss_mb", "energy_mj"}  # fmt: skip


def test_every_row_is_whole_and_what_is_not_there_says_why(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bench.json"
    result = must(
        osteoedge("bench", tiny_bundle, "--out", out, "--delegates", "cpu,edgetpu",
                  "--threads", "1,2", "--seconds", "0.2")
    )  # fmt: skip
    assert "Next: osteoedge evaluate" in result.stdout
    assert "SYNTHETIC" in result.stdout
    document = json.loads(out.read_text())
    assert Bench.model_validate_json(out.read_text()).to_json() == out.read_text()
    assert SCHEMA.is_valid(document)
    rows = document["rows"]
    assert [(row["delegate"], row["threads"]) for row in rows] == [
        ("cpu", 1), ("cpu", 2), ("edgetpu", 1), ("edgetpu", 2),
    ]  # fmt: skip
    assert document["host"]["harness_us"] < 1000
    assert document["host"]["cores"] >= 1
    for row in rows:
        assert set(row) >= KEYS
        assert row["synthetic"]
        assert set(row["unmeasured"]) == {key for key in FIGURES if row[key] is None}
    for row in rows[:2]:
        assert row["status"] == "ok"
        assert row["n"] >= 400
        assert row["per_second"] > 0
        assert row["energy_mj"] is None or row["energy_mj"] > 0
        assert row["suspicious"] is None
        assert row["error"]["max_steps"] <= 20 and row["error"]["probability"] <= 0.08
        assert row["coverage"]["taken"] == row["coverage"]["total"] - 3
        assert row["unmeasured"]["accuracy"] == "no dataset was given"
        assert 0 < row["p50_low_ms"] <= row["p50_ms"] <= row["p50_high_ms"] <= row["max_ms"]
        assert row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["max_ms"]
        assert row["p50_ms"] < row["screen_p50_ms"] <= row["screen_p90_ms"]
        assert row["cold_ms"] > row["p50_ms"], "a process start is in it"
        assert 20 < row["rss_mb"] <= row["peak_mb"] < 1000
    for row in rows[2:]:
        assert row["status"] == "unavailable"
        assert row["reason"].startswith("no Edge TPU")
        assert row["p50_ms"] is None


def test_a_delegate_that_computes_something_else_has_failed(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    sound = load_bundle(tiny_bundle)
    outputs = {head: np.invert(stored) for head, stored in sound.golden.outputs.items()}
    golden = dataclasses.replace(sound.golden, outputs=outputs)
    limits = sound.manifest.golden
    strict = limits.tolerance["cpu"].model_copy(update={"max_steps": 0.5})
    limits = limits.model_copy(update={"tolerance": {"cpu": strict}})
    wrong, out = tmp_path / "wrong.osteo", tmp_path / "bench.json"
    manifest = sound.manifest.model_copy(update={"golden": limits})
    write_bundle(wrong, manifest, {**sound.content, GOLDEN: golden.to_npz()})
    result = osteoedge("bench", wrong, "--out", out, "--threads", "1", "--seconds", "0.1")
    assert result.returncode == 1
    (row,) = json.loads(out.read_text())["rows"]
    assert row["status"] == "failed"
    assert "does not reproduce golden vector" in row["reason"]
    assert row["error"]["max_steps"] > 100
    assert row["p50_ms"] is None


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure each system a few times only; nothing here asks how long anything takes."""
    monkeypatch.setattr(latency, "LEAST", {"invoke": 20, "screen": 20})
    cold = dict.fromkeys(("cold_ms", "rss_mb", "peak_mb"), 1.0)
    monkeypatch.setattr(latency, "cold_start", lambda *_: cold)


def by_key(models: Sequence[Path], delegates: Sequence[str], **options: Any) -> dict[str, Row]:
    """Measure, and return rows by delegate and variant."""
    rows, _, _ = latency.benchmark(models, delegates, [1], seconds=0.01, **options)
    return {f"{row.delegate} {row.variant}": row for row in rows}


def test_a_cold_start_that_dies_leaves_the_other_figures(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a unit short of memory does to a process; this one exits before it has screened.
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(latency, "LEAST", {"invoke": 20, "screen": 20})
    (row,), _, _ = latency.benchmark([tiny_bundle], ["cpu"], [1], seconds=0.01)
    assert row.status == "ok"
    assert row.p50_ms is not None and row.p50_ms > 0
    assert row.cold_ms is None and row.rss_mb is None and row.peak_mb is None
    assert {row.unmeasured[name] for name in ("cold_ms", "rss_mb", "peak_mb")} == {"exit code 1"}


def test_memory_is_that_of_the_fresh_process_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    cv2.imwrite(str(film), np.zeros((400, 300), np.uint8))
    command = [sys.executable, "-m", "benchmarks.cold_start", str(tiny_bundle), "cpu", "1",
               str(film)]  # fmt: skip
    held = np.ones(2**29, np.uint8)  # 512 MiB that the process which starts it holds
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert held.all()
    assert 20 < answer["rss_mb"] <= answer["peak_mb"] < 512


@pytest.mark.usefixtures("quick")
def test_float_networks_stand_beside_the_int8_file(tiny_bundle: Path, tmp_path: Path) -> None:
    plain, bundle = tmp_path / "float.tflite", tmp_path / "both.osteo"
    plain.write_bytes(float_network())
    sound = load_bundle(tiny_bundle)
    same = Interval(value=0.0, low=0.0, high=0.0)
    half = HalfModel(heads={}, auc_macro=same)
    manifest = sound.manifest.model_copy(update={"half": half})
    write_bundle(bundle, manifest, {**sound.content, HALF_MODEL: float_network(half=True)})
    shares: list[float] = []
    rows, ratios, _ = latency.benchmark(
        [plain, bundle], ["cpu", "gpu"], [1], seconds=0.01, progress=shares.append
    )
    assert [(row.variant, row.delegate) for row in rows] == [
        ("fp32", "cpu"), ("fp32", "gpu"), ("qat-int8", "cpu"), ("qat-int8", "gpu"),
        ("fp16", "cpu"), ("fp16", "gpu"),
    ]  # fmt: skip
    assert shares == sorted(shares) and shares[-1] == 1.0
    by_name = {row.key: row for row in rows}
    for key in ("float fp32 cpu/1", f"{sound.manifest.name} fp16 cpu/1"):
        row = by_name[key]
        assert row.status == "ok" and row.p50_ms is not None and row.p50_ms > 0
        assert row.coverage is not None and row.coverage.total in (1, 2)
        assert row.file_mb is not None and row.file_mb < 0.01
        assert row.screen_p50_ms is None and row.error is None and row.cold_ms is None
        assert "int8 file" in row.unmeasured["screen_p50_ms"]
        assert by_name[key.replace("cpu", "gpu")].status == "unavailable"
        assert "CPU alone" in str(by_name[key.replace("cpu", "gpu")].reason)
    assert by_name["float fp32 cpu/1"].synthetic is None
    int8 = by_name[f"{sound.manifest.name} qat-int8 cpu/1"]
    assert int8.error is not None and int8.error.max_steps <= 20
    assert int8.file_mb == pytest.approx(len(sound.model) / 1e6)
    assert [(ratio.row, ratio.reference, ratio.what) for ratio in ratios] == [
        (int8.key, rows[0].key, "invoke"), (rows[4].key, rows[0].key, "invoke"),
    ]  # fmt: skip
    first = ratios[0].times
    assert first.low <= first.value <= first.high
    assert int8.p50_ms is not None and rows[0].p50_ms is not None
    assert first.value == pytest.approx(int8.p50_ms / rows[0].p50_ms)


def test_a_network_that_answers_all_films_alike_is_suspicious(tmp_path: Path) -> None:
    blind, broken = tmp_path / "blind.tflite", tmp_path / "broken.tflite"
    blind.write_bytes(float_network(0.0))
    broken.write_bytes(float_network(np.nan))
    rows, ratios, _ = latency.benchmark([blind, broken], ["cpu"], [1], seconds=0.01)
    assert rows[0].status == "ok"
    assert rows[0].suspicious == "two different films get the same answer"
    assert rows[1].status == "failed"
    assert "no number" in str(rows[1].reason)
    assert rows[1].p50_ms is None
    assert ratios == ()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path, bundle: path.write_bytes(bundle.model), "quantized"),
        (lambda path, bundle: path.write_bytes(b"nothing of the kind"), "no TFLite file"),
        (lambda path, bundle: path.mkdir(), "cannot be read"),
        (lambda path, bundle: None, "cannot be read"),
    ],
)
def test_what_is_no_float_network_is_refused(
    make: Callable[[Path, ModelBundle], object], why: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    make(path, load_bundle(tiny_bundle))
    with pytest.raises(ModelError, match=why) as refused:
        open_models([path])
    assert "model.tflite" in str(refused.value) and "NAME.osteo" in str(refused.value)


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "knee.tflite").write_bytes(float_network())
    with pytest.raises(ConfigError, match="two models are called knee and are fp32"):
        open_models([tmp_path / "one" / "knee.tflite", tmp_path / "two" / "knee.tflite"])


def test_an_external_delegate_is_measured(
    tiny_bundle: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "LEAST", {"invoke": 20, "screen": 20})
    monkeypatch.setattr(latency, "COLD_STARTS", 1)
    rows = by_key([tiny_bundle], ["external"], library=toy, options={"mode": "ok"})
    row = rows["external qat-int8"]
    assert row.status == "ok" and row.suspicious is None
    assert row.coverage is not None and row.coverage.taken == 3
    assert row.coverage.left["CONV_2D"] > 10
    assert row.coverage.taken + sum(row.coverage.left.values()) == row.coverage.total
    assert "libtoy_delegate.so" in str(row.version)
    assert any("takes only 3 of" in what for what in row.degraded)
    # Two processes: the interpreter is in a child.
    assert row.rss_mb is not None and row.peak_mb is not None
    assert 60 < row.rss_mb <= row.peak_mb


@pytest.mark.usefixtures("quick")
def test_a_wrong_delegate_has_failed_and_its_error_is_stated(tiny_bundle: Path, toy: Path) -> None:
    options = {"mode": "wrong"}
    row = by_key([tiny_bundle], ["external"], library=toy, options=options)["external qat-int8"]
    assert row.status == "failed"
    assert "does not reproduce golden vector 0" in str(row.reason)
    assert row.error is not None and row.error.max_steps > 20
    assert row.p50_ms is None and row.screen_p50_ms is None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("mode", "why"),
    [("crash", "while it was timed, .*SIGSEGV"), ("wrong", "golden vector|while it was timed")],
)
def test_one_that_begins_to_misbehave_takes_no_other_with_it(
    mode: str, why: str, tiny_bundle: Path, toy: Path
) -> None:
    # Of what it computes: six golden vectors and the warm-up of five films, three operators each.
    options = {"mode": mode, "after": "36"}
    rows = by_key([tiny_bundle], ["cpu", "external"], library=toy, options=options)
    assert rows["cpu qat-int8"].status == "ok"
    assert rows["cpu qat-int8"].n is not None and rows["cpu qat-int8"].n >= 20
    assert rows["external qat-int8"].status == "failed"
    assert re.search(why, str(rows["external qat-int8"].reason))
    assert rows["external qat-int8"].p50_ms is None


class FromMemory:
    """A delegate that knows the golden vectors by heart, and computes nothing."""

    name, member, isolated = "external", MODEL, False

    def __init__(self, bundle: ModelBundle) -> None:
        spec, golden = bundle.manifest.model, bundle.golden
        self.coverage, self.degraded = Coverage(78, ()), ""
        self._known = {
            spec.quantize(pixels, bundle.manifest.input_spec).tobytes(): {
                head: stored[number : number + 1] for head, stored in golden.outputs.items()
            }
            for number, pixels in enumerate(golden.pixels)
        }

    def environment(self) -> dict[str, str]:
        return {}

    def probe(self) -> Probe:
        return Probe(True, version="by heart")

    def load(self, model: bytes, spec: ModelSpec, threads: int) -> FromMemory:
        return self

    def run(self, tensor: np.ndarray) -> Outputs:
        return self._known.get(tensor.tobytes(), next(iter(self._known.values())))

    def close(self) -> None:
        pass


@pytest.mark.usefixtures("quick")
def test_a_delegate_that_knows_the_golden_vectors_by_heart_is_flagged_and_not_ranked(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FromMemory(load_bundle(tiny_bundle))
    monkeypatch.setattr(delegates, "ExternalDelegate", lambda library, options: fake)
    rows, ratios, _ = latency.benchmark([tiny_bundle], ["external", "cpu"], [1], seconds=0.01)
    assert [row.status for row in rows] == ["ok", "ok"]
    assert rows[0].error is not None and rows[0].error.max_steps == 0
    assert "golden vectors are answered, but 15 of 16 other films" in str(rows[0].suspicious)
    assert rows[1].suspicious is None
    assert ratios == ()


@pytest.mark.usefixtures("quick")
def test_a_gpu_that_is_none_is_marked_and_not_ranked(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(SWIFTSHADER.is_file(), "a Vulkan driver (Debian packages chromium-common, libvulkan1)")
    monkeypatch.setenv("VK_ICD_FILENAMES", str(SWIFTSHADER))
    times = Latencies(tuple(np.full((ROUNDS, 20), 1.0)), warmup_ms=1.0)
    monkeypatch.setattr(latency, "measure", lambda asked, **_: dict.fromkeys(asked, times))
    rows, ratios, _ = latency.benchmark([tiny_bundle], ["gpu", "cpu"], [1], seconds=0.0)
    assert [row.status for row in rows] == ["ok", "ok"]
    assert rows[0].software_gpu and any("computes on the CPU" in what for what in rows[0].degraded)
    assert rows[0].coverage is not None and rows[0].coverage.left == {}
    assert rows[0].error is not None and 0 < rows[0].error.max_steps <= 20
    assert not rows[1].software_gpu
    assert ratios == (), "as fast as it may seem, it is not what others are held against"


@pytest.mark.usefixtures("quick")
def test_what_is_timed_answers_the_dataset_as_evaluation_does(trained: Trained) -> None:
    where = "centre == 3 and view == 'frontal'"
    row = by_key([trained.bundle], ["cpu"], dataset=trained.dataset, where=where)["cpu qat-int8"]
    found = row.accuracy
    assert found is not None and found.auc_macro is not None and found.sensitivity is not None
    dataset = load_dataset(trained.dataset).select(where)
    assert found.films == len(dataset.films)
    assert found.sha256 == dataset.sha256
    assert found.dataset == f"{dataset.card.name}, {where}"
    screener = Screener(load_bundle(trained.bundle), "cpu")
    screenings = [
        screener.screen(read_film(dataset.image_path(film), film, through_dicom=False))
        for _, film in dataset.films.iterrows()
    ]
    tumour = np.array([screening.scores["tumour"] for screening in screenings])
    positive = (dataset.films["label"] != "no_tumour").to_numpy()
    assert found.auc_tumour is not None
    assert found.auc_tumour.value == pytest.approx(auc(positive, tumour))
    point = next(p for p in screenings[0].operating_points if p.score == "tumour")
    referred = (tumour >= point.threshold) | [s.decision == "unable" for s in screenings]
    assert found.sensitivity.value == pytest.approx(referred[positive].mean())
    assert found.specificity is not None
    assert found.specificity.value == pytest.approx(1 - referred[~positive].mean())
    assert found.dice is not None and 0 <= found.dice.low <= found.dice.value <= found.dice.high


@pytest.mark.parametrize(
    ("option", "value"),
    [("--threads", "many"), ("--threads", "0"), ("--threads", "999"), ("--threads", ","),
     ("--delegates", "cpuu"), ("--delegates", ",")],
)  # fmt: skip
def test_options_that_name_nothing(tiny_bundle: Path, option: str, value: str) -> None:
    result = osteoedge("bench", tiny_bundle, option, value)
    assert result.returncode == 2
    assert option in result.stderr
