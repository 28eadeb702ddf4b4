"""``python -m benchmarks.peers``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from benchmarks.cli import thread_counts
from benchmarks.harness import ROUNDS
from benchmarks.peers.comparison import compare
from benchmarks.peers.document import sentences, table
from edge_runtime.errors import ConfigError, OsteoedgeError
from edge_runtime.files import write_atomically


def main(
    bundle: Annotated[Path, typer.Argument(help="NAME.osteo")],
    float32: Annotated[
        Path | None, typer.Option(help="The network before it was quantized, .tflite.")
    ] = None,
    threads: Annotated[str, typer.Option(help="CPU threads, with commas.")] = "1,2",
    tflite_runtime: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Python of an environment that holds tflite-runtime."
        ),
    ] = None,
    queries: Annotated[int, typer.Option(min=20, help="Of each network, at least.")] = 400,
    films: Annotated[int, typer.Option(min=20, help="Of each whole way, at least.")] = 40,
    out: Annotated[Path | None, typer.Option(help="Where to write the figures as JSON.")] = None,
) -> None:
    """Measure a bundle against other runtimes; exit code 1 where one fails.

    Example: `python -m benchmarks.peers knee.osteo --float32 knee.fp32.tflite --out peers.json`
    """
    errors = Console(stderr=True, highlight=False)
    try:
        with errors.status("peers") as status:
            peers = compare(
                bundle,
                float32,
                thread_counts(threads),
                tflite_runtime=tflite_runtime,
                queries=-(-queries // ROUNDS) * ROUNDS,
                films=-(-films // ROUNDS) * ROUNDS,
                progress=status.update,
            )
    except OsteoedgeError as error:
        errors.print("[bold red]Error[/]", escape(str(error)), soft_wrap=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, peers.to_json().encode())
    Console().print(table(peers))
    for sentence in sentences(peers):
        typer.echo(sentence)
    if any(row.status == "failed" for row in peers.rows):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
