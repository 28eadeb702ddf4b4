"""The verbs `export` and `compat`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer


def export(
    run: Annotated[Path, typer.Argument(help="A finished run of 'osteoedge train'.")],
    out: Annotated[Path, typer.Option(help="The bundle to write, NAME.osteo.")],
    variant: Annotated[
        str,
        typer.Option(help="qat-int8, or ptq-int8: the float weights, quantized after training."),
    ] = "qat-int8",
) -> None:
    """Export a run to int8 TFLite, calibrated on the file itself, as a model bundle.

    Stops with exit code 3 where the int8 file lost more than the recipe allows.

    Example: `osteoedge export runs/phantom --out phantom.osteo`

    To compare: `osteoedge export runs/phantom --out ptq.osteo --variant ptq-int8`
    """
    from rich.console import Console
    from rich.table import Table

    from edge_runtime.bundle import Variant
    from edge_runtime.errors import ConfigError
    from export.pack import export_run
    from train.run import load_run

    if variant not in get_args(Variant):
        raise ConfigError(f"there is no variant {variant!r}", "Choose qat-int8 or ptq-int8")
    loaded = load_run(run)
    with Console(stderr=True).status("export") as status:
        result = export_run(
            loaded, out, lambda step: status.update(f"export: {step}"), cast(Variant, variant)
        )
    manifest = result.manifest
    calibration = manifest.calibration
    table = Table(title=f"{out} ({manifest.purpose})", title_justify="left", show_header=False)
    table.add_row("size", f"{result.bytes / 1e6:.2f} MB")
    for name, auc in result.auc.items():
        table.add_row(f"macro AUC, {name}", f"{auc:.4f}")
    table.add_row("calibration films", f"{calibration.films} of {calibration.patients} patients")
    fusion = calibration.fusion
    weights = ", ".join(f"{weight:.2f}" for weight in fusion.mask[1:])
    table.add_row("weight of the class head, and of the mask", f"{fusion.cam:.2f}; {weights}")
    table.add_row("int8 levels used", ", ".join(f"{k} {v}" for k, v in result.levels.items()))
    table.add_row("zeros in the int8 kernels", f"{result.zeros:.0%}")
    for point in calibration.operating_points:
        table.add_row(
            f"{point.name} -> {point.action}",
            f"{point.score} >= {point.threshold:.3f}: sensitivity {point.sensitivity.value:.2f} "
            f"({point.sensitivity.low:.2f}-{point.sensitivity.high:.2f}), "
            f"specificity {point.specificity.value:.2f} "
            f"({point.specificity.low:.2f}-{point.specificity.high:.2f})",
        )
    table.add_row("data licence", manifest.provenance.licence)
    Console().print(table)
    typer.echo(f"Next: osteoedge screen FILES --bundle {out} --out results")
    typer.echo(f"      osteoedge evaluate {out} DATASET --out report")


def compat(
    model: Annotated[Path, typer.Argument(metavar="MODEL.tflite", help="An int8 or uint8 model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say op by op what an Edge TPU would run, and why not the rest. No compiler is needed.

    Example: `osteoedge compat model.tflite`
    """
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from export.compat import ON_CHIP_BYTES, edge_tpu_compatibility, read_model

    found = edge_tpu_compatibility(read_model(model), model.name)
    if as_json:
        document = {
            "ops": [asdict(op) for op in found.ops],
            "mapped": found.mapped,
            "total": found.total,
            "parameter_bytes": found.parameter_bytes,
            "streams_parameters": found.streams_parameters,
        }
        typer.echo(json.dumps(document, indent=2))
        return
    table = Table("#", "op", "version", "runs on", "why not on the Edge TPU")
    for op in found.ops:
        table.add_row(str(op.index), op.op, str(op.version), op.target, op.reason or "")
    Console().print(table)
    typer.echo(f"{found.mapped} of {found.total} operators would run on the Edge TPU.")
    megabytes = f"{found.parameter_bytes / 2**20:.1f} MiB of parameters"
    room = f"{ON_CHIP_BYTES / 2**20:.0f} MiB that are free on chip"
    if found.streams_parameters:
        typer.echo(f"{megabytes} do not fit the {room}: some cross the bus at every run.")
    else:
        typer.echo(f"{megabytes} fit the {room}.")
