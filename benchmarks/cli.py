"""The verb `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# Those of the design; this version may lack some, and their rows say so.
DELEGATES = ("cpu", "gpu", "edgetpu", "openvino")


def bench(
    bundle: Annotated[Path, typer.Argument(help="NAME.osteo")],
    out: Annotated[Path, typer.Option(help="Where to write the figures.")] = Path("bench.json"),
    delegates: Annotated[
        str, typer.Option(help="With commas: cpu, gpu, edgetpu, openvino.")
    ] = "cpu",
    threads: Annotated[str, typer.Option(help="CPU threads, with commas.")] = "1,2",
    seconds: Annotated[float, typer.Option(min=0.1, help="Least time per measurement.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print bench.json.")] = False,
) -> None:
    """Measure a bundle on this machine: latency percentiles, cold start, memory.

    A delegate that is not there is a row that says why, never an empty place.

    Example: `osteoedge bench knee.osteo --out bench.json --delegates cpu,edgetpu --threads 1,2,4`
    """
    from rich.console import Console
    from rich.progress import Progress

    from benchmarks.report import table, write_bench
    from edge_runtime.errors import ConfigError

    counts = _listed(threads)
    if not counts or not all(part.isdecimal() and 1 <= int(part) <= 64 for part in counts):
        raise ConfigError(
            f"--threads {threads!r} is no list of numbers from 1 to 64", "Write --threads 1,2"
        )
    names = _listed(delegates)
    if not names or not set(names) <= set(DELEGATES):
        raise ConfigError(
            f"--delegates {delegates!r} is no list of delegates",
            f"Use one or more of: {', '.join(DELEGATES)}",
        )

    from benchmarks.host import describe_host
    from benchmarks.latency import benchmark

    host = describe_host()
    with Progress(console=Console(stderr=True), disable=as_json) as progress:
        task = progress.add_task("bench", total=1.0)
        rows, harness_us = benchmark(
            bundle,
            names,
            [int(part) for part in counts],
            seconds=seconds,
            progress=lambda share: progress.update(task, completed=share),
        )
    host["harness_us"] = round(harness_us, 3)
    document = write_bench(out, host, rows)
    if as_json:
        typer.echo(document, nl=False)
    else:
        Console().print(table(host, rows))
        typer.echo(f"Figures: {out}")
    if any(row["status"] == "failed" for row in rows):
        raise typer.Exit(1)
    if not as_json:
        typer.echo(f"Next: osteoedge evaluate {bundle} DATASET --out report")


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
