"""`osteoedge bench` on a real bundle."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import must, osteoedge

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
    document = json.loads(out.read_text())
    rows = document["rows"]
    assert [(row["delegate"], row["threads"]) for row in rows] == [
        ("cpu", 1), ("cpu", 2), ("edgetpu", 1), ("edgetpu", 2),
    ]  # fmt: skip
    assert document["host"]["harness_us"] < 1000
    assert document["host"]["cores"] >= 1
    for row in rows:
        assert set(row) >= KEYS
        assert row["energy_mj"] is None
        assert row["unmeasured"]["energy_mj"]
    for row in rows[:2]:
        assert row["status"] == "ok"
        assert row["n"] >= 100
        assert 0 < row["p50_low_ms"] <= row["p50_ms"] <= row["p50_high_ms"] <= row["max_ms"]
        assert row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["max_ms"]
        assert row["cold_ms"] > row["p50_ms"], "a process start is in it"
        assert 20 < row["rss_mb"] < 1000
    for row in rows[2:]:
        assert row["status"] == "unavailable"
        assert "no delegate is called 'edgetpu'" in row["reason"]
        assert row["p50_ms"] is None


def test_threads_that_are_no_numbers(tiny_bundle: Path) -> None:
    result = osteoedge("bench", tiny_bundle, "--threads", "many")
    assert result.returncode == 2
    assert "--threads" in result.stderr
