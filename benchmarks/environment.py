"""How large an installed device is, what is in it, and under which licences.

``python -m benchmarks.environment`` installs the device in a clean virtual environment, as a unit
does, and looks at what came. ``--venv DIR`` looks at one that is there: on a board, at the unit's.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import tomllib
import venv
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.installed import Environment, canonical, inventory
from edge_runtime.errors import ConfigError, OsteoedgeError
from edge_runtime.files import write_atomically

CHECKOUT = Path(__file__).resolve().parent.parent
# Smaller libraries are counted, and listed with --json.
_LISTED_MB = 1.0


def make_environment(folder: Path, *installs: Sequence[str]) -> Path:
    """Make a virtual environment and run `pip install` in it once for each of ``installs``.

    Returns
    -------
    Path
        Its folder of commands.

    Raises
    ------
    ConfigError
        Something cannot be installed.
    """
    venv.create(folder, with_pip=True)
    for arguments in installs:
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
            raise ConfigError(
                "; ".join(lines) or f"pip exited with {result.returncode}",
                "Look whether a package registry is in reach",
                " ".join(arguments),
            )
    return folder / "bin"


def copy_packaged(checkout: Path, folder: Path) -> str:
    """Copy what is packaged, so that building leaves nothing in the working tree.

    Returns
    -------
    str
        ``folder``, for pip.
    """
    project = tomllib.loads((checkout / "pyproject.toml").read_text())
    folder.mkdir()
    for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]:
        for package in checkout.glob(pattern):
            if (package / "__init__.py").is_file():
                shutil.copytree(
                    package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__")
                )
    for name in (
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
    ):
        shutil.copy(checkout / name, folder / name)
    return str(folder)


def install_device(folder: Path, wheel: Path | None, checkout: Path = CHECKOUT) -> None:
    """Install the device in a clean environment: a wheel, or a checkout with its constraints.

    Raises
    ------
    ConfigError
        There is neither, or it cannot be installed.
    """
    if wheel is not None:
        if not wheel.is_file():
            raise ConfigError("there is no such file", "Name a wheel of osteoedge", str(wheel))
        make_environment(folder, [str(wheel)])
        return
    if not (checkout / "pyproject.toml").is_file():
        raise ConfigError(
            "this is no checkout of osteoedge", "Name a wheel (--wheel) or an environment (--venv)"
        )
    with tempfile.TemporaryDirectory() as temporary:
        source = copy_packaged(checkout, Path(temporary) / "source")
        make_environment(folder, ["-c", str(checkout / "constraints.txt"), source])


def tables(found: Environment) -> Iterator[Table]:
    """Return what was found as tables for people; MB are millions of bytes."""
    title = (
        f"{_mb(found.total_bytes)} MB for {', '.join(found.platforms) or 'any machine'}, of these "
        f"{_mb(found.bytecode_bytes)} MB .pyc"
    )
    table = Table(title=title, title_justify="left")
    for heading in (
        "distribution",
        "version",
        "MB",
        ".pyc",
        "licence of its own code",
        "comes with",
    ):
        table.add_column(heading, justify="right" if heading in ("MB", ".pyc") else "left")
    required = {part.name for part in found.requirements}
    for part in found.installed:
        itself = canonical(part.name) in required
        comes_with = "required" if itself else ", ".join(part.needed_for)
        table.add_row(part.name, part.version, _mb(part.bytes_), _mb(part.bytecode_bytes),
                      part.licence, comes_with)  # fmt: skip
    yield table

    table = Table(title="What would go without a requirement", title_justify="left")
    table.add_column("requirement")
    table.add_column("MB", justify="right")
    for need in found.requirements:
        table.add_row(need.name, _mb(need.alone_bytes))
    yield table

    large = [library for library in found.libraries if library.bytes_ >= _LISTED_MB * 1e6]
    rest = found.libraries[len(large) :]
    table = Table(title="Shared libraries inside wheels", title_justify="left")
    for heading in ("library", "of", "MB", "licence files that name it"):
        table.add_column(heading, justify="right" if heading == "MB" else "left")
    for library in large:
        where = "\n".join(library.named_in) or "none"
        table.add_row(library.name, library.distribution, _mb(library.bytes_), where)
    table.add_row(f"{len(rest)} smaller ones", "", _mb(sum(r.bytes_ for r in rest)), "--json")
    yield table

    table = Table(title="Copyleft", title_justify="left")
    for heading in ("licence", "covers", "of", "where it is written"):
        table.add_column(heading)
    for (distribution, licence, covers, what, where), same in groupby(
        found.copyleft, key=lambda f: (f.distribution, f.licence, f.covers, f.what, f.where)
    ):
        files = ", ".join(finding.file for finding in same if finding.file)
        of = f"{distribution}: {what}" + (f" ({files})" if files else "")
        table.add_row(licence, covers, of, where)
    yield table


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f}"


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
