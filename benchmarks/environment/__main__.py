"""The command ``python -m benchmarks.environment``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.environment.install import install_device
from benchmarks.environment.installed import inventory
from benchmarks.environment.report import tables
from edge_runtime.errors import OsteoedgeError
from edge_runtime.files import write_atomically


def main(
    environment: Annotated[
        Path | None, typer.Option("--venv", help="One that is there, in place of a clean one.")
    ] = None,
    wheel: Annotated[
        Path | None, typer.Option(help="What to install, in place of this checkout.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the JSON there, too.")] = None,
) -> None:
    """Print what an installed device holds: sizes, libraries inside wheels, copyleft licences."""
    try:
        if environment is not None:
            found = inventory(environment)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary) / "venv"
                install_device(folder, wheel)
                found = inventory(folder)
    except OsteoedgeError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    document = found.model_dump_json(by_alias=True, indent=2) + "\n"
    if out is not None:
        write_atomically(out, document.encode())
    if as_json:
        typer.echo(document, nl=False)
        return
    console = Console()
    for table in tables(found):
        console.print(table)


if __name__ == "__main__":
    typer.run(main)
