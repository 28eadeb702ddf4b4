"""A bench.json made by hand, with everything in it that a page can show."""

from __future__ import annotations

from typing import Any

from benchmarks.schema import (
    FIGURES,
    Accuracy,
    Bench,
    Condition,
    Coverage,
    Error,
    FilmStages,
    Host,
    Interval,
    QueueCost,
    Ratio,
    Row,
    absent,
)

STAGES = ("read", "decode", "preprocess", "invoke", "postprocess", "report")


def condition(**changed: Any) -> Condition:
    told: dict[str, Any] = {
        "frequency_mhz": 2500.0, "temperature_c": None, "throttled": (), "load_1min": 0.2,
        "busy": (),
    }  # fmt: skip
    return Condition(**told | changed)


def host(*warnings: str) -> Host:
    return Host(
        cpu="A <fast> processor", cores=4, architecture="aarch64", board=None,
        governor="performance", memory_mb=4096, system="Linux", python="3.11.2",
        packages={"osteoedge": "0.1.0", "numpy": "2.0.0"}, measured_at="2026-01-01T12:00:00+00:00",
        before=condition(), after=condition(throttled=("under-voltage",), busy=("stress 90 %",)),
        warnings=warnings, harness_us=0.21,
    )  # fmt: skip


def around(value: float, by: float = 0.05) -> Interval:
    return Interval(value=value, low=value * (1 - by), high=value * (1 + by))


def ran(
    variant: str, delegate: str, threads: int, p50: float, auc: float = 0.8, **changed: Any
) -> Row:
    """A row that was measured, all of it but its energy."""
    figures: dict[str, Any] = {
        "n": 600, "max_ms": p50 * 3, "per_second": 1000 / p50, "warmup_ms": p50 * 8,
        "screen_p50_ms": p50 * 2 + 40, "screen_p50_low_ms": p50 * 2 + 39,
        "screen_p50_high_ms": p50 * 2 + 42, "screen_p90_ms": p50 * 2 + 50, "cold_ms": 900.0,
        "rss_mb": 140.0, "peak_mb": 190.0, "file_mb": 3.7,
        "coverage": Coverage(taken=60, total=64, left={"SOFTMAX": 4}),
        "error": Error(max_steps=1.0, mean_steps=0.01, probability=0.004),
        "accuracy": Accuracy(
            dataset="phantoms", sha256="a" * 64, films=200, auc_macro=around(auc),
            auc_tumour=around(auc + 0.05), sensitivity=around(0.9), specificity=around(0.7),
            dice=None,
        ),
    }  # fmt: skip
    for percent, times in (("p50", 1.0), ("p90", 1.15), ("p99", 1.6)):
        figures[f"{percent}_ms"] = p50 * times
        figures[f"{percent}_low_ms"] = p50 * times * 0.98
        figures[f"{percent}_high_ms"] = p50 * times * 1.04
    row: dict[str, Any] = {
        "bundle": "knee 1.0", "synthetic": False, "variant": variant, "delegate": delegate,
        "threads": threads, "status": "ok", "reason": None, **figures, **changed,
    }  # fmt: skip
    reasons = changed.get("unmeasured", {})
    unmeasured = {
        name: reasons.get(name, "this board has no meter")
        for name in FIGURES
        if row.get(name) is None
    }
    return Row(**row | {"unmeasured": unmeasured})


def not_there(variant: str, delegate: str, status: Any, reason: str) -> Row:
    return Row(
        bundle="knee 1.0", synthetic=False, variant=variant, delegate=delegate, threads=1,  # type: ignore[arg-type]
        status=status, reason=reason, unmeasured=absent(reason),
    )  # fmt: skip


def film(coding: str, rows: int, columns: int, decode: float) -> FilmStages:
    share = rows * columns / 7.6e6
    taken = (10.0 * share, decode * share, 20.0 * share, 15.0, 1.5, 60.0 + 10 * share)
    total = sum(taken)
    return FilmStages(
        coding=coding, rows=rows, columns=columns, file_mb=2 * rows * columns / 1e6, n=10,
        status="ok", reason=None, stages_ms=dict(zip(STAGES, taken, strict=True)), total_ms=total,
        total_low_ms=total * 0.96, total_high_ms=total * 1.05,
    )  # fmt: skip


def no_film(coding: str, reason: str) -> FilmStages:
    return FilmStages(
        coding=coding, rows=3052, columns=2500, file_mb=0.0, n=0, status="unavailable",
        reason=reason, stages_ms={}, total_ms=None, total_low_ms=None, total_high_ms=None,
    )  # fmt: skip


def ratio(row: Row, reference: Row, times: float) -> Ratio:
    return Ratio(row=row.key, reference=reference.key, what="invoke", times=around(times, 0.03))


def whole_bench() -> Bench:
    first = ran("qat-int8", "cpu", 1, 8.2)
    rows = (
        first,
        ran("qat-int8", "cpu", 2, 5.1),
        ran("fp32", "cpu", 1, 24.0, auc=0.81, cold_ms=None, unmeasured={"cold_ms": "exit code 9"}),
        ran("fp16", "gpu", 1, 3.2, software_gpu=True, degraded=("llvmpipe draws on the CPU",)),
        ran("qat-int8", "external", 1, 0.04, suspicious="faster than its memory can be read"),
        not_there("qat-int8", "edgetpu", "unavailable", "no Edge TPU is plugged in"),
        not_there("fp16", "openvino", "failed", "does not reproduce golden vector 3"),
    )
    return Bench(
        host=host("another process is busy: stress 90 %"),
        rows=rows,
        ratios=tuple(ratio(row, first, t) for row, t in zip(rows[1:3], (0.62, 2.93), strict=True)),
        films=(
            film("explicit VR", 3052, 2500, 15.0),
            film("JPEG 2000", 3052, 2500, 700.0),
            no_film("HTJ2K .201", "cannot be written here: no htj2k_encode"),
            *(film("explicit VR", side, side, 15.0) for side in (512, 1000, 2000, 4000)),
        ),
        queue=tuple(
            QueueCost(films=n, total_ms=n * each, per_film_ms=each)
            for n, each in (
                (1, 120.0),
                (2, 114.0),
                (4, 113.0),
                (8, 115.0),
                (16, 118.0),
                (32, 121.0),
            )
        ),
    )
