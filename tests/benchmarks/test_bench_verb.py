"""What `osteoedge bench` does with its options; measuring itself is replaced by figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from benchmarks import cli
from benchmarks.delegates import latency
from benchmarks.films import every_coding
from benchmarks.machine import condition as condition_module
from benchmarks.report import read_bench, write_bench
from benchmarks.schema import Bench
from edge_runtime.errors import BenchmarkError, ConfigError
from tests.benchmarks.benches import condition, host, not_there, ran, whole_bench
from tests.conftest import osteoedge

APP = typer.Typer()
APP.command()(cli.bench)
ROW = ran("qat-int8", "cpu", 1, 8.0, synthetic=True)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the verb asks to be measured; the answer is that of :func:`whole_bench`."""
    said: dict[str, Any] = {}
    answer = whole_bench()

    def benchmark(models: Any, delegates: Any, threads: Any, **options: Any) -> Any:
        said.update(options, models=models, delegates=delegates, threads=threads)
        options["progress"](1.0)
        return said.get("rows", answer.rows[:4]), answer.ratios, 0.3

    def measure_films(bundle: Path, *, progress: Any) -> Any:
        said["screened"] = bundle
        progress(1.0)
        return answer.films, answer.queue

    monkeypatch.setattr(latency, "benchmark", benchmark)
    monkeypatch.setattr(every_coding, "measure_films", measure_films)
    monkeypatch.setattr(condition_module, "condition", condition)
    return said


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def verb(*arguments: object) -> Result:
    return CliRunner().invoke(APP, [str(part) for part in arguments], catch_exceptions=False)


def kept(path: Path, *rows: Any, **changed: Any) -> Path:
    write_bench(path, Bench(host=host().model_copy(update=changed), rows=rows))
    return path


def test_every_option_reaches_what_measures(asked: dict[str, Any], here: Path) -> None:
    result = verb("float.tflite", "knee.osteo", "--delegates", "cpu,external", "--threads", "4,1",
                  "--seconds", "0.5", "--dataset", "btxrd", "--where", "centre == 2",
                  "--external-delegate", "lib.so", "--external-option", "k=v", "--films",
                  "--out", "figures/bench.json", "--report", "bench.html")  # fmt: skip
    assert result.exit_code == 0
    assert asked.pop("progress")
    assert asked == {
        "models": [Path("float.tflite"), Path("knee.osteo")], "delegates": ["cpu", "external"],
        "threads": [4, 1], "seconds": 0.5, "dataset": Path("btxrd"), "where": "centre == 2",
        "library": Path("lib.so"), "options": {"k": "v"}, "screened": Path("knee.osteo"),
    }  # fmt: skip
    written = read_bench(here / "figures/bench.json")
    assert written.films == whole_bench().films and written.queue == whole_bench().queue
    assert written.ratios == whole_bench().ratios
    assert written.host.harness_us == 0.3
    assert "8.20 (8.04-8.53)" in result.stdout
    assert "Figures: figures/bench.json" in result.stdout
    assert "Page: bench.html" in result.stdout
    assert "Next: osteoedge evaluate knee.osteo DATASET" in result.stdout
    assert "<svg" in (here / "bench.html").read_text()


def test_films_are_screened_where_that_is_asked_for(asked: dict[str, Any], here: Path) -> None:
    assert verb("knee.osteo").exit_code == 0
    assert "screened" not in asked
    assert read_bench(here / "bench.json").films == ()
    with pytest.raises(ConfigError, match="takes a bundle"):
        verb("float.tflite", "--films")


def test_json_is_the_file(asked: dict[str, Any], here: Path) -> None:
    result = verb("knee.osteo", "--json")
    assert result.stdout == (here / "bench.json").read_text()


def test_a_delegate_that_failed_is_an_exit_code(asked: dict[str, Any], here: Path) -> None:
    asked["rows"] = (ROW, not_there("fp16", "gpu", "failed", "other answers"))
    result = verb("knee.osteo")
    assert result.exit_code == 1
    assert "fp16 gpu/1: other answers" in result.stdout
    assert read_bench(here / "bench.json").rows == asked["rows"]


@pytest.mark.parametrize(
    ("p50", "code", "word"), [(8.0, 0, "within noise"), (9.6, 3, "slower"), (6.4, 0, "faster")]
)
def test_against_a_reference(
    p50: float, code: int, word: str, asked: dict[str, Any], here: Path
) -> None:
    reference = kept(here / "reference.json", ROW)
    asked["rows"] = (ran("qat-int8", "cpu", 1, p50, synthetic=True),)
    result = verb("knee.osteo", "--compare", reference)
    assert result.exit_code == code
    assert "SYNTHETIC" in result.stdout
    assert word in result.stdout
    assert "ANOTHER MACHINE: processor was A <fast> processor and is " in result.stdout
    as_json = verb("knee.osteo", "--compare", reference, "--json")
    assert as_json.exit_code == code
    assert json.loads(as_json.stdout)["changes"][0]["row"] == "knee qat-int8 cpu/1"
    assert read_bench(here / "bench.json").rows == asked["rows"]


def test_figures_are_shown_and_compared_without_measuring(here: Path) -> None:
    """The installed command, as a user calls it."""
    earlier = kept(here / "earlier.json", ROW, ran("fp32", "cpu", 1, 30.0))
    before = kept(here / "now.json", ROW).read_bytes()
    result = osteoedge("bench", "now.json", "--compare", earlier, "--report", "page.html", cwd=here)
    assert result.returncode == 3, result.stderr
    assert "gone: knee fp32 cpu/1, not measured" in result.stdout
    assert "Next" not in result.stdout
    assert (here / "now.json").read_bytes() == before
    assert not (here / "bench.json").exists()
    assert (here / "page.html").exists()


def test_a_folder_of_references(here: Path) -> None:
    now = kept(here / "now.json", ran("qat-int8", "cpu", 1, 8.5))
    runs = here / "runs"
    with pytest.raises(BenchmarkError, match="cannot be read"):
        verb(now, "--compare", runs)
    runs.mkdir()
    with pytest.raises(BenchmarkError, match=r"no \.json file is in this folder"):
        verb(now, "--compare", runs)
    for number in range(5):
        kept(runs / f"{number}.json", ran("qat-int8", "cpu", 1, 7.5 + 0.5 * (number % 3)))
    assert verb(now, "--compare", runs).exit_code == 0
    assert verb(now, "--compare", runs / "0.json").exit_code == 3, "one knows nothing of the others"


def test_what_makes_no_sense_is_said_before_anything_is_measured(
    asked: dict[str, Any], here: Path
) -> None:
    broken = kept(here / "broken.json", ROW)
    broken.write_text(broken.read_text()[:100])
    with pytest.raises(BenchmarkError, match="only the beginning"):
        verb("knee.osteo", "--compare", broken)
    with pytest.raises(ConfigError, match="--where chooses films of a dataset"):
        verb("knee.osteo", "--where", "centre == 2")
    with pytest.raises(ConfigError, match="not measured together with models"):
        verb("knee.osteo", "broken.json")
    with pytest.raises(ConfigError, match="is no KEY=VALUE"):
        verb("knee.osteo", "--external-option", "key")
    assert not asked
