"""The verb `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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

    counts = [part.strip() for part in threads.split(",")]
    if not all(part.isdigit() and int(part) for part in counts):
        raise ConfigError(f"--threads {threads!r} is no list of numbers", "Write --threads 1,2")
    names = [part.strip() for part in delegates.split(",") if part.strip()]

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
        return
    Console().print(table(host, rows))
    typer.echo(f"Figures: {out}")
    typer.echo(f"Next: osteoedge evaluate {bundle} DATASET --out report")
