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
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

import edge_runtime
from edge_runtime.bundle_cli import Site, TrustedKeys
from edge_runtime.bundle_cli import bundle as bundle_verbs
from edge_runtime.console.cli import console
from edge_runtime.errors import (
    ConfigError,
    GateError,
    MissingExtraError,
    OsteoedgeError,
    ResultError,
)
from edge_runtime.external_options import ExternalDelegate, ExternalOptions, key_values
from edge_runtime.feedback.cli import feedback as feedback_verbs
from edge_runtime.policy import Language
from edge_runtime.unit import cli as unit_verbs

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
app.add_typer(feedback_verbs, name="feedback")
app.add_typer(unit_verbs.audit, name="audit")
app.add_typer(unit_verbs.mode, name="mode")
app.add_typer(unit_verbs.drift, name="drift")
app.add_typer(console, name="console")


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
    own |= {group.name for group in app.registered_groups if group.name} - set(groups)
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
        str,
        typer.Option(
            help="What to write per film, with commas: json; png, the film with what was marked; "
            "mask, the marked area as a PNG of the film's size; cam, what the decision rests on; "
            "as DICOM: sr, the structured report; sc, the picture; seg, the marked area."
        ),
    ] = "json,png",
    delegate: Annotated[
        str,
        typer.Option(
            help="What runs the model: auto, cpu, gpu, edgetpu, openvino or external. "
            "`osteoedge doctor` tells which are there."
        ),
    ] = "auto",
    fallback: Annotated[
        Literal["allow", "forbid"],
        typer.Option(help="Whether another delegate may take over from the one asked for."),
    ] = "allow",
    external_delegate: ExternalDelegate = None,
    external_option: ExternalOptions = None,
    threads: Annotated[int, typer.Option(min=1, max=64, help="CPU threads.")] = 1,
    intended_use: Annotated[
        Literal["triage", "localise"],
        typer.Option(help="triage: decision and reasons alone, no probability, no box."),
    ] = "localise",
    trusted_keys: TrustedKeys = None,
    language: Annotated[
        Language | None,
        typer.Option(
            help="Tell each film's summary in this language, here and in the structured report. "
            "Without it, a single film's is told in English."
        ),
    ] = None,
    site: Site = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document a line instead of a table.")
    ] = False,
) -> None:
    """Screen radiographs: a JSON document and an overlay picture for each film.

    A file that cannot be screened is named in one line, and where it is an image at all it gets a
    document that says `unable`; the rest of the batch is done, and the exit code is 1.

    Example: `osteoedge screen incoming/ --bundle knee.osteo --out results`
    """
    # Imported here so that 'osteoedge --help' starts without OpenCV and pydicom.
    from edge_runtime.batch import FORMATS, screen_files
    from edge_runtime.bundle_cli import load_with_site
    from edge_runtime.screener import Screener

    formats = _listed(write, FORMATS)
    with Screener(
        load_with_site(bundle, trusted_keys, site),
        delegate,
        threads,
        fallback=fallback,
        intended_use=intended_use,
        external_delegate=external_delegate,
        external_options=key_values(external_option or []),
    ) as screener:
        for what in screener.degraded:
            errors_to.print(f"Degraded: {escape(what)}.", style="yellow")
        out.mkdir(parents=True, exist_ok=True)
        results = []
        for result in screen_files(
            paths, screener, out, formats, language or "en", progress=not as_json
        ):
            results.append(result)
            if result.error:
                _say(result.error)
            if as_json and result.screening:
                typer.echo(json.dumps(result.screening.model_dump(mode="json", by_alias=True)))
        failed = sum(result.error is not None for result in results)
        done = [one for one in results if one.error is None or isinstance(one.error, ResultError)]
        told = [result for result in results if result.screening]
        if not as_json and (language or len(told) == 1):
            for result in told:
                typer.echo("\n".join((result.stem, *result.summary(language or "en"), "")))
        if not as_json and done:
            from edge_runtime.batch import summary_table

            Console().print(summary_table(done, screener.bundle.manifest.purpose))
            typer.echo(f"{len(done)} screened, {failed} failed. Results: {out}")
            if done[0].written:
                typer.echo(f"Next: look at {out / done[0].written[-1]}")
    if failed or not done:
        raise typer.Exit(1)


@app.command()
def doctor(
    bundle: Annotated[
        Path | None,
        typer.Option(help="A .osteo file whose golden vectors every delegate is asked."),
    ] = None,
    external_delegate: ExternalDelegate = None,
    external_option: ExternalOptions = None,
    trusted_keys: TrustedKeys = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what this unit can do: delegates, runtime, and the codings of films that it reads.

    With a bundle, each delegate that is there loads it and replays its golden vectors. Exit code 1
    where none can run it.

    Example: `osteoedge doctor --bundle knee.osteo`
    """
    from edge_runtime.bundle import load_bundle
    from edge_runtime.doctor import examine, report

    found = examine(
        load_bundle(bundle, trusted_keys) if bundle else None,
        external_delegate,
        key_values(external_option or []),
    )
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        for part in report(found):
            Console().print(part)
        if bundle is None:
            typer.echo("Next: osteoedge doctor --bundle NAME.osteo")
        else:
            typer.echo(f"Next: osteoedge screen FILM --bundle {bundle}")
    if not found.serves:
        raise typer.Exit(1)


app.command()(unit_verbs.serve)
app.command()(unit_verbs.status)
app.command()(unit_verbs.withdraw)


def _listed(text: str, known: Sequence[str]) -> tuple[str, ...]:
    asked = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
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
