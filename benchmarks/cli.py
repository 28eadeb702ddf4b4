"""The verb `bench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_runtime.errors import ConfigError
from edge_runtime.external_options import ExternalDelegate, ExternalOptions, key_values

if TYPE_CHECKING:
    from benchmarks.schema import Bench


def bench(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="Bundles (NAME.osteo) and float networks (NAME.tflite), measured in turns; or a "
            "bench.json alone, which is shown, compared or made a page of without measuring.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where to write the figures.")] = Path("bench.json"),
    delegates: Annotated[
        str, typer.Option(help="With commas: cpu, gpu, edgetpu, external, openvino.")
    ] = "cpu",
    external_delegate: ExternalDelegate = None,
    external_option: ExternalOptions = None,
    threads: Annotated[str, typer.Option(help="CPU threads, with commas.")] = "1,2",
    seconds: Annotated[float, typer.Option(min=0.1, help="Least time per measurement.")] = 2.0,
    films: Annotated[
        bool,
        typer.Option("--films", help="Each coding and size of film, stage by stage, and queues."),
    ] = False,
    dataset: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Measure the accuracy on its films, too.")
    ] = None,
    where: Annotated[
        str, typer.Option(help="Only films that satisfy this: --where 'centre == 2'")
    ] = "",
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write one page with plots.")
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            metavar="REF.json",
            help="An earlier bench.json: what is slower, beyond noise? Or a folder with several "
            "runs of the same: what is slower than these differ?",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print bench.json; with --compare, the comparison.")
    ] = False,
) -> None:
    """Measure models on this machine: latency percentiles, cold start, memory, energy, accuracy.

    All take turns in one run, so that what slows the machine down slows all of them. A delegate
    that is not there is a row that says why, never an empty place. Exit code 1 where a delegate
    failed; 3 where something is slower than in the reference by more than noise, or is gone.

    Example: `osteoedge bench knee.osteo --out bench.json --delegates cpu,edgetpu --threads 1,2,4`

    With accuracy and films: `osteoedge bench knee.osteo float.tflite --dataset btxrd --films`

    Against an earlier run: `osteoedge bench knee.osteo --compare reference.json`

    Without measuring: `osteoedge bench bench.json --report bench.html`
    """
    from rich.console import Console

    from benchmarks.compare import compare as hold_against
    from benchmarks.compare import details as comparison_details
    from benchmarks.compare import table as comparison_table
    from benchmarks.report import details, read_bench, read_runs, tables, write_bench

    if where and dataset is None:
        raise ConfigError("--where chooses films of a dataset, and there is none", "Add --dataset")
    # Before anything is measured: a damaged reference should not cost the time.
    references = read_runs(compare) if compare else []
    if any(path.suffix == ".json" for path in models):
        if len(models) > 1:
            raise ConfigError(
                "a bench.json is not measured together with models",
                "Name it alone, or as --compare REF.json",
                str(next(path for path in models if path.suffix == ".json")),
            )
        figures, measured = models[0], read_bench(models[0])
    else:
        measured = _measure(
            models, _delegates(delegates), thread_counts(threads),
            seconds=seconds, films=films, dataset=dataset, where=where,
            library=external_delegate, options=key_values(external_option or []), silent=as_json,
        )  # fmt: skip
        write_bench(out, measured)
        figures = out
    if report is not None:
        # Plots take a second to import, and a page is not always asked for.
        from benchmarks.page.write import write_page

        write_page(report, measured)
    comparison = hold_against(measured, references) if references else None
    if as_json:
        typer.echo(measured.to_json() if comparison is None else comparison.to_json(), nl=False)
    else:
        console = Console(highlight=False)
        for part in tables(measured):
            console.print(part)
        for line in details(measured):
            console.print(line, soft_wrap=True)
        if comparison is not None:
            console.print(comparison_table(comparison))
            for line in comparison_details(comparison):
                console.print(line, soft_wrap=True)
        typer.echo(f"Figures: {figures}")
        if report is not None:
            typer.echo(f"Page: {report}")
    if comparison is not None and comparison.worse:
        raise typer.Exit(3)
    if any(row.status == "failed" for row in measured.rows):
        raise typer.Exit(1)
    bundles = [path for path in models if path.suffix == ".osteo"]
    if bundles and not as_json:
        typer.echo(f"Next: osteoedge evaluate {bundles[0]} DATASET --out report")


def _measure(
    models: Sequence[Path],
    delegates: Sequence[str],
    threads: Sequence[int],
    *,
    seconds: float,
    films: bool,
    dataset: Path | None,
    where: str,
    library: Path | None,
    options: Mapping[str, str],
    silent: bool,
) -> Bench:
    from rich.console import Console
    from rich.progress import Progress

    from benchmarks.delegates.latency import benchmark
    from benchmarks.films.every_coding import measure_films
    from benchmarks.machine.condition import condition
    from benchmarks.machine.host import describe_host
    from benchmarks.schema import Bench

    screened = next((path for path in models if path.suffix == ".osteo"), None)
    if films and screened is None:
        raise ConfigError("--films screens films, which takes a bundle", "Name a NAME.osteo, too")
    before = condition()
    with Progress(console=Console(stderr=True), disable=silent) as progress:
        task = progress.add_task("models", total=1.0)
        rows, ratios, harness_us = benchmark(
            models, delegates, threads, seconds=seconds, dataset=dataset, where=where,
            library=library, options=options,
            progress=lambda share: progress.update(task, completed=share),
        )  # fmt: skip
        if screened is not None and films:
            of_films = progress.add_task("films", total=1.0)
            stages, queue = measure_films(
                screened, progress=lambda share: progress.update(of_films, completed=share)
            )
        else:
            stages, queue = (), ()
    host = describe_host(before, condition(), harness_us)
    return Bench(host=host, rows=rows, ratios=ratios, films=stages, queue=queue)


def thread_counts(text: str) -> list[int]:
    """Return what --threads names: numbers with commas.

    Raises
    ------
    ConfigError
        It is no such list, or a number is not within 1 to 64.
    """
    counts = _listed(text)
    if not counts or not all(part.isdecimal() and 1 <= int(part) <= 64 for part in counts):
        raise ConfigError(
            f"--threads {text!r} is no list of numbers from 1 to 64", "Write --threads 1,2"
        )
    return [int(part) for part in counts]


def _delegates(text: str) -> list[str]:
    from edge_runtime.delegates import NAMES

    names = _listed(text)
    if not names or not set(names) <= set(NAMES):
        raise ConfigError(
            f"--delegates {text!r} is no list of delegates",
            f"Use one or more of: {', '.join(NAMES)}",
        )
    return names


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
