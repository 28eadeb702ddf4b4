"""The verb `bench`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_runtime.external_options import ExternalDelegate, ExternalOptions

if TYPE_CHECKING:
    from benchmarks.compare import Comparison
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
            metavar="REF.json", help="An earlier bench.json: what is slower, beyond noise?"
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

    Examples:

    `osteoedge bench knee.osteo --out bench.json --delegates cpu,edgetpu --threads 1,2,4`

    `osteoedge bench knee.osteo float.tflite --dataset btxrd --where "centre == 2" --films`

    `osteoedge bench knee.osteo --compare reference.json`

    `osteoedge bench bench.json --report bench.html`
    """
    from rich.console import Console

    from benchmarks.report import details, read_bench, table, write_bench
    from edge_runtime.errors import ConfigError

    if where and dataset is None:
        raise ConfigError("--where chooses films of a dataset, and there is none", "Add --dataset")
    # Before anything is measured: a damaged reference should not cost the time.
    reference = None if compare is None else read_bench(compare)
    if any(path.suffix == ".json" for path in models):
        if len(models) > 1:
            raise ConfigError(
                "a bench.json is not measured together with models",
                "Name it alone, or as --compare REF.json",
                str(next(path for path in models if path.suffix == ".json")),
            )
        measured = read_bench(models[0])
    else:
        measured = _measure(
            models, _delegates(delegates), _threads(threads),
            seconds=seconds, films=films, dataset=dataset, where=where,
            library=external_delegate, options=external_option or [], silent=as_json,
        )  # fmt: skip
        write_bench(out, measured)
    comparison = None if reference is None else _compare(measured, reference)
    if as_json:
        typer.echo(measured.to_json() if comparison is None else comparison.to_json(), nl=False)
    else:
        console = Console(highlight=False)
        console.print(table(measured))
        for line in details(measured):
            console.print(line, markup=False, soft_wrap=True)
        if comparison is not None:
            _show(comparison, console)
        typer.echo(f"Figures: {out if measured is not reference else models[0]}")
    if comparison is not None and comparison.worse:
        raise typer.Exit(3)
    if any(row.status == "failed" for row in measured.rows):
        raise typer.Exit(1)
    if not as_json:
        typer.echo(_next(models, out))
