"""The command `osteoedge`.

Exit codes: 0 done; 1 some inputs failed, each named, the rest done; 2 usage or configuration;
3 a gate refused. Verbs of the workstation come from the entry-point group `osteoedge.commands` and
are imported only when called, so that nothing of them is loaded on a device.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import edge_runtime
from edge_runtime.bundle_cli import TrustedKeys
from edge_runtime.bundle_cli import bundle as bundle_verbs
from edge_runtime.errors import (
    ConfigError,
    GateError,
    MissingExtraError,
    OsteoedgeError,
    RadiographError,
)

COMMAND_GROUP = "osteoedge.commands"
# What the entry points need, by the package that they come from.
EXTRA_OF_PACKAGE = {"train": "train", "export": "train", "benchmarks": "bench"}

errors_to = Console(stderr=True, highlight=False, soft_wrap=True)


app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Bone-tumour screening on portable X-ray units. Research software, not a medical device."
    ),
)

app.add_typer(bundle_verbs, name="bundle")


def main() -> None:
    """Run the command line; every expected error becomes one line and an exit code."""
    # pydicom's warnings quote header values, and those can be names.
    warnings.filterwarnings("ignore", module="pydicom")
    try:
        _add_workstation_verbs(sys.argv[1:])
        app()
    except OsteoedgeError as error:
        _say(error)
        sys.exit(_exit_code(error))
    except ModuleNotFoundError as error:
        extra = _extra_of(error)
        if extra is None:
            raise
        _say(
            MissingExtraError(
                f"this verb needs the package {error.name}",
                f"Install the extra: pip install 'osteoedge[{extra}]'",
            )
        )
        sys.exit(2)


def _add_workstation_verbs(arguments: Sequence[str]) -> None:
    """Import the verb that is called, or all of them where the list of verbs is asked for.

    An entry point `GROUP.VERB` adds a verb to a group of the device.
    """
    points = importlib.metadata.entry_points(group=COMMAND_GROUP)
    groups = {"bundle": bundle_verbs}
    called, *rest = [word for word in arguments if not word.startswith("-")] or [""]
    own = {command.callback.__name__ for command in app.registered_commands if command.callback}
    for point in sorted(points, key=lambda point: point.name):
        group, _, name = point.name.rpartition(".")
        if called in own or (called in {*points.names, *groups} and called != (group or name)):
            continue
        if group and rest and rest[0] != name:
            continue
        verb = point.load()
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=name)
        else:
            groups.get(group, app).command(name)(verb)


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"osteoedge {edge_runtime.__version__}")
        raise typer.Exit


@app.command()
def screen(
    paths: Annotated[
        list[Path], typer.Argument(help="DICOM, PNG or JPEG files, or folders of them.")
    ],
    bundle: Annotated[Path, typer.Option(help="The model bundle, a .osteo file.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("screenings"),
    write: Annotated[
        str, typer.Option(help="What to write per film: json, png, or both with a comma.")
    ] = "json,png",
    delegate: Annotated[str, typer.Option(help="What runs the model: auto or cpu.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, max=64, help="CPU threads.")] = 1,
    trusted_keys: TrustedKeys = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document a line instead of a table.")
    ] = False,
) -> None:
    """Screen radiographs: a JSON document and an overlay picture for each film.

    A file that cannot be screened is named in one line; the rest of the batch is done, and the
    exit code is 1.

    Example: `osteoedge screen incoming/ --bundle knee.osteo --out results`
    """
    # Imported here so that 'osteoedge --help' starts without OpenCV and pydicom.
    from edge_runtime.batch import screen_files
    from edge_runtime.bundle import load_bundle
    from edge_runtime.screener import Screener

    formats = _formats(write)
    screener = Screener(load_bundle(bundle, trusted_keys), delegate, threads)
    for what in screener.degraded:
        errors_to.print(f"Degraded: {what}.", style="yellow")
    out.mkdir(parents=True, exist_ok=True)
    done, failed = [], 0
    for result in screen_files(paths, screener, out, formats, progress=not as_json):
        if isinstance(result, RadiographError):
            failed += 1
            _say(result)
            continue
        done.append(result)
        if as_json:
            typer.echo(json.dumps(result.screening.model_dump(mode="json", by_alias=True)))
    if not as_json and done:
        from edge_runtime.batch import summary_table

        manifest = screener.bundle.manifest
        Console().print(summary_table(done, manifest.purpose))
        typer.echo(f"{len(done)} screened, {failed} failed. Results: {out}")
        if formats:
            first = out / f"{done[0].stem}.{formats[-1]}"
            typer.echo(f"Next: look at {first}")
    if failed or not done:
        raise typer.Exit(1)


def _formats(write: str) -> tuple[str, ...]:
    known = ("json", "png")
    asked = tuple(dict.fromkeys(part.strip() for part in write.split(",") if part.strip()))
    for name in asked:
        if name not in known:
            raise ConfigError(
                f"--write knows no format {name!r}", f"Use one or more of: {', '.join(known)}"
            )
    return asked


def _say(error: OsteoedgeError) -> None:
    errors_to.print("[bold red]Error[/]", escape(str(error)))


def _exit_code(error: OsteoedgeError) -> int:
    if isinstance(error, GateError):
        return 3
    return 2 if isinstance(error, ConfigError | MissingExtraError) else 1


def _extra_of(error: ModuleNotFoundError) -> str | None:
    """Return the extra whose package raised the error, judged by the frames it passed through."""

    def packages() -> Iterator[str]:
        trace = error.__traceback__
        while trace is not None:
            yield str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[0]
            trace = trace.tb_next

    passed = list(packages())
    return next((extra for name, extra in EXTRA_OF_PACKAGE.items() if name in passed), None)


if __name__ == "__main__":
    main()
