"""The verbs of a unit: `serve`, `status`, `audit`, `mode`, `drift` and `withdraw`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from edge_runtime.unit.config import UnitConfig

Config = Annotated[Path, typer.Option("--config", metavar="unit.toml", help="The unit's settings.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
By = Annotated[str, typer.Option(help="Who decides it: a person's name, for the audit log.")]
Why = Annotated[str, typer.Option(help="Why, for the audit log. Name no patient.")]

audit = typer.Typer(
    no_args_is_help=True,
    help="Look at and verify what a unit did: its hash-chained audit log.",
    rich_markup_mode="markdown",
)
mode = typer.Typer(
    no_args_is_help=True,
    help="Shadow mode or live: whether results are shown and sent.",
    rich_markup_mode="markdown",
)
drift = typer.Typer(
    no_args_is_help=True,
    help="Whether the films that come still look like those that the bundle was calibrated on.",
    rich_markup_mode="markdown",
)


def serve(
    config: Config,
    check: Annotated[
        bool, typer.Option("--check", help="Look at everything it would need, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Serve: take films in, screen them, and send the results, until stopped.

    Exit code of `--check`: 0, 2 where the settings are wrong, 3 where a gate refuses.

    Example: `osteoedge serve --config unit.toml --check`
    """
    from edge_runtime.unit.config import load_unit

    unit = load_unit(config)
    if check:
        code = check_command(unit, as_json)
        if code == 0 and not as_json:
            typer.echo(f"Next: osteoedge serve --config {config}")
        raise typer.Exit(code)
    from edge_runtime.unit import service
    from edge_runtime.unit.life import Life
    from edge_runtime.unit.log import configure_logging

    configure_logging()
    life = Life()
    life.stop_on_signals()
    service.serve(unit, config.resolve(), life)


def status(config: Config, as_json: AsJson = False) -> None:
    """Say how a unit does: queue, results, deliveries, delegate, disk. The service may be down.

    Example: `osteoedge status --config unit.toml`
    """
    from rich.console import Console

    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.status import read_status, report

    found = read_status(load_unit(config))
    if as_json:
        typer.echo(found.model_dump_json(by_alias=True, indent=2))
        return
    for table in report(found):
        Console().print(table)
    if not found.running:
        typer.echo(f"Next: osteoedge serve --config {config}")


def withdraw(
    uid: Annotated[str, typer.Argument(metavar="UID", help="Of a film or of a study.")],
    config: Config,
    reason: Annotated[
        Literal["quality", "patient-safety", "worklist"],
        typer.Option(help="What is wrong: the film, the patient, or the worklist entry."),
    ],
    by: By,
) -> None:
    """Take a film or a study back: nothing more of it is sent, and what was sent is rejected.

    The running service sends the rejection notes.

    Example: `osteoedge withdraw 1.2.826.0.1.3680043.8.498.1 --config unit.toml --reason
    patient-safety --by "M. Weber"`
    """
    from edge_runtime.errors import ConfigError
    from edge_runtime.rejection import Reason
    from edge_runtime.spool.withdrawal import withdraw as take_back
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.running import open_spool

    if not by.strip():
        raise ConfigError("a withdrawal needs a named person", "Give --by")
    code = Reason[reason.replace("-", "_").upper()]
    with open_spool(load_unit(config).spool.directory) as spool:
        films = take_back(spool, uid.strip(), code, by.strip())
    typer.echo(f"{films} withdrawn ({code.words}).")
    typer.echo(f"Next: osteoedge status --config {config}")


@audit.command()
def verify(config: Config) -> None:
    """Check that no entry was changed, left out or put in. Exit code 1 where one was.

    The newest hash tells whether the end was cut off: compare it with one that was noted before.

    Example: `osteoedge audit verify --config unit.toml`
    """
    from edge_runtime.spool.audit import verify as verify_chain
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.running import open_spool

    with open_spool(load_unit(config).spool.directory) as spool:
        entries, newest = verify_chain(spool)
    typer.echo(f"{entries} entries, whole and in order. Newest: {newest}")


@audit.command()
def show(
    config: Config,
    last: Annotated[int, typer.Option(min=1, help="How many entries.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one entry a line.")] = False,
) -> None:
    """Print the newest entries. Films and studies are named by hash.

    Example: `osteoedge audit show --config unit.toml --last 100`
    """
    import json
    from datetime import UTC, datetime

    from edge_runtime.spool.audit import entries
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.running import open_spool

    with open_spool(load_unit(config).spool.directory) as spool:
        newest = spool.row("SELECT MAX(seq) AS seq FROM audit")
        written = (newest["seq"] if newest else None) or 0
        for entry in entries(spool, after=max(0, written - last)):
            at = datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="seconds")
            if as_json:
                line = {"seq": entry.seq, "at": at, "event": entry.event, **entry.facts}
                typer.echo(json.dumps({**line, "sha256": entry.sha256}))
            else:
                facts = ", ".join(f"{key} {value}" for key, value in entry.facts.items())
                typer.echo(f"{entry.seq}  {at}  {entry.event}: {facts}")
    if not as_json:
        typer.echo(f"Next: osteoedge audit verify --config {config}")


@mode.command("show")
def show_mode(config: Config) -> None:
    """Say whether results are shown and sent, and who said so.

    Example: `osteoedge mode show --config unit.toml`
    """
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.mode import current_mode, load_servable
    from edge_runtime.unit.running import open_spool

    unit = load_unit(config)
    bundle = load_servable(unit.bundle)
    with open_spool(unit.spool.directory) as spool:
        now = current_mode(spool, bundle)
    who = f"by {now.person}: {now.reason}" if now.person else "nobody let its results out"
    manifest = bundle.manifest
    site = "" if bundle.site is None else f", calibrated for {bundle.site.name}"
    typer.echo(f"{now.name}: {manifest.name} {manifest.version} ({manifest.purpose}){site}, {who}.")
    if not now.live and manifest.purpose == "evaluated":
        typer.echo(f"Next: osteoedge mode live --config {config} --by NAME --reason TEXT")


@mode.command("live")
def leave_shadow(config: Config, by: By, reason: Why) -> None:
    """Show and send results from now on, as long as this very bundle is installed.

    Exit code 3 where the bundle was not evaluated.

    Example: `osteoedge mode live --config unit.toml --by "Dr M. Weber" --reason "pilot approved"`
    """
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.mode import go_live, load_servable
    from edge_runtime.unit.running import open_spool

    unit = load_unit(config)
    bundle = load_servable(unit.bundle)
    with open_spool(unit.spool.directory) as spool:
        go_live(spool, bundle, by, reason)
    typer.echo(f"live: results of {bundle.manifest.name} {bundle.manifest.version} leave the unit.")
    typer.echo(f"Next: osteoedge status --config {config}")


@mode.command("shadow")
def enter_shadow(config: Config, by: By, reason: Why) -> None:
    """Show and send nothing from now on; films are screened, stored and audited all the same.

    Example: `osteoedge mode shadow --config unit.toml --by "Dr M. Weber" --reason "review"`
    """
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.mode import go_shadow, load_servable
    from edge_runtime.unit.running import open_spool

    unit = load_unit(config)
    bundle = load_servable(unit.bundle)
    with open_spool(unit.spool.directory) as spool:
        go_shadow(spool, bundle, by, reason)
    typer.echo("shadow: nothing is shown or sent.")
    typer.echo(f"Next: osteoedge status --config {config}")


@drift.command("show")
def show_drift(config: Config, as_json: AsJson = False) -> None:
    """Print how the films of a unit compare with the reference, block by block.

    Example: `osteoedge drift show --config unit.toml`
    """
    import json

    from rich.console import Console
    from rich.markup import escape

    from edge_runtime.drift.status import drift_history, drift_line, drift_status
    from edge_runtime.drift.table import history_table
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.running import open_spool

    with open_spool(load_unit(config).spool.directory) as spool:
        found, history = drift_status(spool), drift_history(spool)
    if as_json:
        document = found.model_dump(mode="json")
        document["history"] = [block.model_dump(mode="json") for block in history]
        typer.echo(json.dumps(document, indent=2))
        return
    console = Console()
    if history:
        console.print(history_table(history))
    if accepted := found.accepted:
        console.print(
            f"The reference is the unit's own films, accepted {accepted.at.astimezone():%Y-%m-%d} "
            f"by {escape(accepted.person)}: {escape(accepted.reason)}.",
            soft_wrap=True,
        )
    console.print(f"Drift: {escape(drift_line(found))}.", soft_wrap=True)
    accept = f"osteoedge drift accept --config {config} --by NAME --reason TEXT"
    if found.alarms:
        typer.echo("Next: look at films of that time, and mend what is wrong with them.")
        typer.echo(f"      Where the reason is known and harmless: {accept}")
    elif not found.available:
        typer.echo(f"Next: {accept}")


@drift.command("accept")
def accept_drift(config: Config, by: By, reason: Why) -> None:
    """Take the newest films of this unit, up to 500, for the reference from now on.

    For films that differ from the bundle's for a reason that is known and was looked into: another
    hospital, another detector. What is wrong with films is mended, not accepted.

    Example: `osteoedge drift accept --config unit.toml --by "Dr M. Weber" --reason "new detector,
    agreement with radiologists unchanged"`
    """
    from edge_runtime.drift.watch import accept
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.running import open_spool

    with open_spool(load_unit(config).spool.directory) as spool:
        films = accept(spool, by, reason)
    typer.echo(f"The newest {films} studies are the reference from the next block on.")
    typer.echo(f"Next: osteoedge drift show --config {config}")


def check_command(unit: UnitConfig, as_json: bool = False) -> int:
    """Print what `serve --check` finds.

    Returns
    -------
    int
        Exit code: 0, 2 where the configuration fails, 3 where a gate refuses.
    """
    import json

    from rich.console import Console

    from edge_runtime.unit.check import check_unit, exit_code, report

    findings = check_unit(unit)
    if as_json:
        typer.echo(json.dumps([finding.model_dump() for finding in findings], indent=2))
    else:
        Console().print(report(findings))
    return exit_code(findings)
