"""The verbs `osteoedge feedback import|report|export|close`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_runtime.unit.cli import By, Config

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")]

feedback = typer.Typer(
    no_args_is_help=True,
    help="Was the unit right? Radiologists' reads in, a weekly report and films to retrain out.",
    rich_markup_mode="markdown",
)


@feedback.command("import")
def import_(
    reads: Annotated[
        Path, typer.Argument(metavar="READS", help="reads.csv, a DICOM SR, or a folder of SRs.")
    ],
    config: Config,
    label_map: Annotated[
        Path | None,
        typer.Option("--map", help="TOML: what the hospital's words and codes mean, its columns."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Enter what radiologists read, and link it to the studies of the unit.

    The CSV has `study_instance_uid` or `accession_number`, `reading` (in words of the label map),
    `reader`, `read_at` (ISO 8601) and, if you like, `comment`. Of reports, coded conclusions are
    taken. What was entered before is not entered again. A line or file that cannot be taken is
    named, the rest is entered, and the exit code is 1.

    Example: `osteoedge feedback import reads.csv --config unit.toml`

    Example: `osteoedge feedback import reports/ --config unit.toml --map words.toml`
    """
    import json

    from edge_runtime.feedback.importing import import_reads
    from edge_runtime.feedback.reads import Entered
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.running import open_spool

    with open_spool(load_unit(config).spool.directory) as spool:
        found = import_reads(spool, reads, label_map)
    numbers = {outcome.value: found.entered[outcome] for outcome in Entered}
    for error in found.failures:
        typer.echo(f"Error {error}", err=True)
    if as_json:
        failed = [
            {"source": one.source, "error": one.what, "remedy": one.remedy}
            for one in found.failures
        ]
        told = {**numbers, "linked_before": found.linked_before, "failed": failed}
        typer.echo(json.dumps(told, indent=2))
    else:
        typer.echo(
            f"{numbers['linked']} linked to a study, {numbers['unlinked']} of studies that the "
            f"unit does not have yet, {numbers['known']} known before, "
            f"{len(found.failures)} failed."
        )
        if found.linked_before:
            typer.echo(f"{found.linked_before} of earlier imports found their study now.")
        typer.echo(f"Next: osteoedge feedback report --config {config} --out DIR")
    if found.failures:
        raise typer.Exit(1)


@feedback.command()
def report(
    config: Config,
    out: Annotated[Path, typer.Option(help="Folder for feedback-WEEK.html.")],
    week: Annotated[
        str | None, typer.Option(help="By ISO 8601. Without it, the last whole week.")
    ] = None,
    with_names: Annotated[
        bool, typer.Option("--with-names", help="Patients' names in the lists, to be kept safe.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON as well.")
    ] = False,
) -> None:
    """Write the week as one page: films, flagged, unable, retakes, agreement, whom to recall.

    The page needs no network. It names patients by accession number and patient ID, and says so.

    Example: `osteoedge feedback report --config unit.toml --week 2026-W47 --out reports`
    """
    from edge_runtime.errors import ConfigError
    from edge_runtime.feedback.page import html_page
    from edge_runtime.feedback.report import weekly_report
    from edge_runtime.feedback.week import parse_week, week_at
    from edge_runtime.files import write_atomically
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.running import open_spool

    unit = load_unit(config)
    asked = None if week is None else parse_week(week)
    with open_spool(unit.spool.directory) as spool:
        found = weekly_report(
            spool, unit.name, asked or week_at(spool.now()).before(1), with_names=with_names
        )
    page = out / f"feedback-{found.week}.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(page, html_page(found).encode())
    except OSError as error:
        raise ConfigError(
            f"cannot be written ({error.strerror})", "Name another folder", str(page)
        ) from None
    if as_json:
        typer.echo(found.model_dump_json(by_alias=True, indent=2))
        return
    typer.echo(
        f"{found.week}: {found.figures.films} films, {found.figures.studies} studies, "
        f"{found.agreement_week.studies} read by radiologists, "
        f"{len(found.recall.cases)} to recall or follow up."
    )
    typer.echo(f"Next: look at {page}")


@feedback.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Dataset folder, new or of before.")],
    config: Config,
    all_read: Annotated[
        bool, typer.Option("--all-read", help="Also studies that were read as they were decided.")
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(help="The hospital's secret key. Without it, the unit's own, in the spool."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="For dataset.toml. Without it: local use only.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write films that were read otherwise than decided, de-identified, as a dataset folder.

    De-identified by DICOM PS3.15 Annex E. With the key that `osteoedge data dicom` used, patients
    get the same pseudonyms. Pictures may still show a name: look at those that are named.

    Example: `osteoedge feedback export disagreements --config unit.toml`
    """
    import json

    from edge_runtime.feedback.export import LICENCE, export_reads
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.running import open_spool

    with open_spool(load_unit(config).spool.directory) as spool:
        found = export_reads(
            spool, out, all_read=all_read, key_file=key, licence=licence or LICENCE
        )
    for error in found.failures:
        typer.echo(f"Error {error}", err=True)
    if as_json:
        failed = [
            {"source": one.source, "error": one.what, "remedy": one.remedy}
            for one in found.failures
        ]
        told = {"films": found.films, "gone": found.gone, "look_at": found.look_at}
        typer.echo(json.dumps({**told, "failed": failed}, indent=2))
    else:
        typer.echo(f"{found.films} films in {out}, {len(found.failures)} failed.")
        if found.gone:
            typer.echo(f"{found.gone} more were read, and the unit has deleted their files.")
        if found.look_at:
            typer.echo(
                f"{len(found.look_at)} may show text, such as a name: look at "
                f"{', '.join(sorted(found.look_at))}"
            )
        if found.films:
            typer.echo(f"Next: osteoedge data check {out}")
    if found.failures:
        raise typer.Exit(1)


@feedback.command()
def close(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="Its accession number or Study Instance UID.")
    ],
    config: Config,
    by: By,
    reason: Annotated[str, typer.Option(help="What was done, for the audit log. Name no patient.")],
) -> None:
    """Take a study off the list of those to recall: somebody has dealt with it.

    Example: `osteoedge feedback close A-4711 --config unit.toml --by "N. Okello" --reason "seen in
    clinic"`
    """
    from edge_runtime.feedback.headers import keep_missing_headers
    from edge_runtime.feedback.reads import named_study
    from edge_runtime.feedback.recall import close_case
    from edge_runtime.unit.config import load_unit
    from edge_runtime.unit.running import open_spool

    with open_spool(load_unit(config).spool.directory) as spool:
        keep_missing_headers(spool)
        close_case(spool, named_study(spool, study.strip()), by, reason)
    typer.echo("Closed.")
    typer.echo(f"Next: osteoedge feedback report --config {config} --out DIR")
