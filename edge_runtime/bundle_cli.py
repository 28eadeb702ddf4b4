"""The verbs `bundle show`, `verify`, `sign` and `keygen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

bundle = typer.Typer(
    no_args_is_help=True,
    help="Look at, verify and sign model bundles.",
    rich_markup_mode="markdown",
)

BundlePath = Annotated[Path, typer.Argument(metavar="NAME.osteo", help="A model bundle.")]
TrustedKeys = Annotated[
    Path | None,
    typer.Option("--trusted-keys", help="Folder of .pub keys; one of them must have signed it."),
]


@bundle.command()
def show(
    path: BundlePath,
    card: Annotated[bool, typer.Option("--card", help="Print the model card instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Say what a bundle is, what it was made from, and who signed it.

    Example: `osteoedge bundle show knee.osteo`
    """
    import hashlib
    import json

    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    from edge_runtime.bundle import CARD, MANIFEST, load_bundle

    loaded = load_bundle(path)
    manifest, signature = loaded.manifest, loaded.signature
    identity = {
        "sha256": loaded.sha256,
        "manifest_sha256": hashlib.sha256(loaded.members[MANIFEST]).hexdigest(),
        "signed_by": None if signature is None else signature.key_id,
    }
    if as_json:
        document = {**json.loads(loaded.members[MANIFEST]), **identity}
        typer.echo(json.dumps(document, indent=2))
        return
    if card:
        Console().print(Markdown(loaded.members[CARD].decode()))
        return
    made, fitted = manifest.provenance, manifest.calibration
    table = Table(
        title=f"{manifest.name} {manifest.version}", title_justify="left", show_header=False
    )
    table.add_row("purpose", manifest.purpose)
    table.add_row("network", f"{manifest.model.backbone}, {manifest.model.variant}")
    table.add_row("input", f"{manifest.input_spec.width} x {manifest.input_spec.height} px")
    table.add_row("heads", ", ".join(manifest.model.outputs))
    films = f"{made.dataset}{f', {made.where}' if made.where else ''}"
    if made.train_films is None:
        table.add_row("trained", "elsewhere")
        table.add_row("calibrated on", films)
    else:
        table.add_row("trained on", f"{films}, {made.train_films} films")
    table.add_row("data licence", made.licence)
    for name, figures in manifest.quantization.metrics.items():
        table.add_row(f"macro AUC, {name}, calibration films", f"{figures['auc_macro']:.3f}")
    for point in fitted.operating_points:
        table.add_row(
            f"{point.name} -> {point.action}",
            f"{point.score} >= {point.threshold:.3f}: sensitivity {point.sensitivity.value:.2f}, "
            f"specificity {point.specificity.value:.2f}",
        )
    table.add_row("signed by", identity["signed_by"] or "nobody")
    table.add_row("bundle sha256", identity["sha256"])
    table.add_row("manifest sha256", identity["manifest_sha256"])
    for name, data in loaded.members.items():
        table.add_row(name, f"{len(data) / 1e3:,.1f} kB")
    Console().print(table)
    typer.echo(f"Next: osteoedge bundle verify {path}")


@bundle.command()
def verify(path: BundlePath, trusted_keys: TrustedKeys = None) -> None:
    """Check a bundle as a device does: members, hashes, signature, and the golden vectors here.

    Exit code 1 where it must not be used.

    Example: `osteoedge bundle verify knee.osteo --trusted-keys /etc/osteoedge/keys`
    """
    from edge_runtime.bundle import load_bundle
    from edge_runtime.screener import Screener

    loaded = load_bundle(path, trusted_keys)
    screener = Screener(loaded)
    signature = loaded.signature
    if signature is None:
        who = "Nobody signed it"
    elif trusted_keys is None:
        who = f"Signed by {signature.key_id}, trusted or not: --trusted-keys was not given"
    else:
        who = f"Signed by the trusted key {signature.key_id}"
    typer.echo(
        f"{loaded.file} is whole, and delegate {screener.delegate.name} "
        f"({screener.delegate.version}) reproduces its {loaded.manifest.golden.vectors} golden "
        f"vectors. {who}."
    )


@bundle.command()
def sign(
    path: BundlePath,
    key: Annotated[Path, typer.Option(help="Private key of 'osteoedge bundle keygen'.")],
) -> None:
    """Sign a bundle, in place of any signature that it has. Nothing else of it changes.

    Example: `osteoedge bundle sign knee.osteo --key hospital`
    """
    from edge_runtime.bundle import sign_bundle

    signature = sign_bundle(path, key)
    typer.echo(f"Signed {path.name} with the key {signature.key_id}.")
    typer.echo(f"Next: osteoedge bundle verify {path} --trusted-keys FOLDER_WITH_THE_PUB_FILE")


@bundle.command()
def keygen(
    path: Annotated[Path, typer.Argument(metavar="NAME", help="Writes NAME and NAME.pub.")],
) -> None:
    """Make an Ed25519 key pair. Keep NAME to yourself; put NAME.pub on the units.

    The private key is not encrypted: keep it where only those who release bundles can read it.

    Example: `osteoedge bundle keygen hospital`
    """
    from edge_runtime.bundle import generate_key

    made = generate_key(path)
    typer.echo(f"Key {made}: {path} (private, mode 600) and {path}.pub")
    typer.echo(f"Next: osteoedge bundle sign NAME.osteo --key {path}")
