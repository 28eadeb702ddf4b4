"""The page of a benchmark: what a person finds on it, and that it needs nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.page.write import write_page
from benchmarks.schema import Bench, QueueCost
from tests.benchmarks.benches import film, host, no_film, not_there, ran, ratio, whole_bench

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """What a page says: its text, its tables by row, and the captions of its charts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.open: list[str] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.charts: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, "every element ends"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        self.charts += [value or "" for name, value in attrs if name == "aria-label"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"style", "svg"} & set(self.open):
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, *cells: str) -> list[str]:
        """The one row of a table that starts so."""
        (found,) = (row for row in self.rows if row[: len(cells)] == list(cells))
        return found


def page(folder: Path, bench: Bench) -> Page:
    path = folder / "new" / "bench.html"
    write_page(path, Bench.model_validate_json(bench.to_json()))
    return Page(path.read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page(tmp_path_factory.mktemp("whole"), whole_bench())


def test_it_needs_no_other_file(whole: Page) -> None:
    html = whole.html
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\((?!#)|\s(src|srcset)=", html)
    # SVG's own: names of its parts.
    assert set(re.findall(r'href="(.)', html)) == {"#"}


def test_the_same_figures_are_the_same_page(whole: Page, tmp_path: Path) -> None:
    assert page(tmp_path, whole_bench()).html == whole.html


def test_everything_is_there(whole: Page) -> None:
    words = ("Medians", "How many times", "A film of 2500", "Cost against area", "so many films",
             "median time of a screening", "model's file")  # fmt: skip
    assert len(whole.charts) == whole.html.count("<svg") == len(words)
    assert all(word in caption for word, caption in zip(words, whole.charts, strict=True))
    assert "another process is busy" in whole.text[: whole.text.index("Latency")]
    assert "A <fast> processor" in whole.text
    assert "SYNTHETIC" not in whole.text


def test_rows_are_ranked_by_the_median_and_not_all_are(whole: Page) -> None:
    timed = [row for row in whole.rows if len(row) == 11][1:]
    assert [row[:2] for row in timed] == [
        ["1", "qat-int8, cpu, 2 threads"],
        ["2", "qat-int8, cpu, 1 thread"],
        ["3", "fp32, cpu, 1 thread"],
        ["", "qat-int8, external, 1 threadfaster than its memory can be read"],
        ["", "fp16, gpu, 1 threadsoftware GPU: a driver on the processor"],
    ]
    assert whole.rows.index(["", "Not ranked"]) == whole.rows.index(timed[3]) - 1
    assert timed[1][2].split() == ["8.20", "8.04–8.53"]
    assert "Network, fastest5.10 ms" in whole.text.replace("\n", "")


def test_what_is_not_there_says_why(whole: Page) -> None:
    assert whole.row("qat-int8, edgetpu, 1 thread", "unavailable", "no Edge TPU is plugged in")
    assert whole.row("fp16, openvino, 1 thread", "failed", "does not reproduce golden vector 3")
    assert whole.row("cold start", "fp32, cpu, 1 thread", "exit code 9")
    assert "Not measured: this board has no meter." in whole.text
    assert whole.row("HTJ2K .201", "unavailable: cannot be written here: no htj2k_encode")
    assert whole.row("temperature", "not told", "not told")
    assert whole.row("throttled", "no flag", "under-voltage")


def test_scaling_is_said_in_a_sentence(whole: Page) -> None:
    assert "61 times the area costs 2.45 times as much" in whole.text
    assert (
        "Each of 32 films that come at once costs 1.01 times what a film alone does" in whole.text
    )
    assert whole.row("32") == ["32", "3,872", "121"]
    assert whole.row("explicit VR")[3:] == ["10.0", "15.1", "20.1", "15.0", "1.50", "70.0",
                                            "132 126–138"]  # fmt: skip


def test_energy_that_was_measured(tmp_path: Path) -> None:
    rows = (
        ran("qat-int8", "cpu", 1, 8.0, energy_mj=310.0),
        ran("qat-int8", "gpu", 1, 5.0, unmeasured={"energy_mj": "its meter is silent"}),
    )
    metered = host().model_copy(update={"energy_meter": "RAPL, the package"})
    shown = page(tmp_path, Bench(host=metered, rows=rows))
    assert any("Millijoule" in caption for caption in shown.charts)
    assert shown.row("qat-int8, cpu, 1 thread", "310")
    assert "Not measured everywhere: its meter is silent." in shown.text
    assert "Meter: RAPL, the package." in shown.text
    assert "worth less" not in shown.text


def test_bundles_are_told_apart_and_drawings_are_named(tmp_path: Path) -> None:
    rows = (
        ran("qat-int8", "cpu", 1, 8.0, bundle="knee $2$ 1.0", synthetic=True),
        ran("qat-int8", "cpu", 1, 9.0, bundle="hip 2.0"),
    )
    bench = Bench(host=host(), rows=rows, ratios=(ratio(rows[1], rows[0], 1.01),))
    shown = page(tmp_path, bench)
    assert shown.row("1")[1] == "knee qat-int8, cpu, 1 thread"
    assert shown.row("hip qat-int8, cpu, 1 thread", "knee qat-int8, cpu, 1 thread", "network")
    assert "SYNTHETIC" in shown.text[: shown.text.index("What a screening")]


@pytest.mark.parametrize("status", ["unavailable", "failed"])
def test_nothing_ran(status: str, tmp_path: Path) -> None:
    row = not_there("qat-int8", "edgetpu", status, "no Edge TPU is plugged in")
    shown = page(tmp_path, Bench(host=host(), rows=(row,)))
    assert not shown.charts
    assert "nothing ran that can be ranked" in shown.text
    assert shown.text.count("Not measured: no Edge TPU is plugged in") == 2
    assert "Where the time" not in shown.text and "queues" not in shown.text


def test_one_film_and_one_queue_are_no_line(tmp_path: Path) -> None:
    bench = Bench(
        host=host(),
        rows=(ran("qat-int8", "cpu", 1, 8.0),),
        films=(film("explicit VR", 3052, 2500, 15.0), no_film("RLE", "no decoder is installed")),
        queue=(QueueCost(films=1, total_ms=100.0, per_film_ms=100.0),),
    )
    shown = page(tmp_path, bench)
    assert not any("Cost" in caption for caption in shown.charts)
    assert "File to report132 ms" in shown.text.replace("\n", "")
