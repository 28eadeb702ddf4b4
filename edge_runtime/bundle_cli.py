"""The verbs `bundle show`, `verify`, `sign` and `keygen`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge_runtime.bundle import Interval, ModelBundle

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
Site = Annotated[
    Path | None,
    typer.Option(help="Site file of 'osteoedge calibrate'; needs --trusted-keys."),
]


def load_with_site(path: Path, trusted_keys: Path | None, site: Path | None) -> ModelBundle:
    """Return a bundle, with the calibration of a site file where there is one.

    Raises
    ------
    BundleError, ConfigError
        As of :func:`edge_runtime.bundle.load_bundle` and :func:`edge_runtime.bundle.with_site`;
        or a site file is given, and no keys.
    """
    from edge_runtime.bundle import load_bundle, with_site
    from edge_runtime.errors import ConfigError

    loaded = load_bundle(path, trusted_keys)
    if site is None:
        return loaded
    if trusted_keys is None:
        raise ConfigError(
            "a site file decides what is flagged, so somebody must stand behind it",
            "Add --trusted-keys, the folder of the .pub file of whoever signed it",
            str(site),
        )
    return with_site(loaded, site, trusted_keys)


@bundle.command()
def show(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A model bundle, or a site file for one.")
    ],
    card: Annotated[bool, typer.Option("--card", help="Print the model card instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Say what a bundle is, what it was made from, and who signed it; or a site file.

    A signature that is not that of the content is refused. Whether its key is one to be trusted,
    `osteoedge bundle verify --trusted-keys` says.

    Example: `osteoedge bundle show knee.osteo`
    """
    import hashlib
    import json

    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    from edge_runtime.bundle import CARD, MANIFEST, load_bundle
    from edge_runtime.errors import ConfigError

    if _is_site_file(path):
        if card:
            raise ConfigError("a site file has no model card", "Leave --card out", path.name)
        _show_site(path, as_json=as_json)
        return
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


def _is_site_file(path: Path) -> bool:
    """Tell JSON from a zip; what is neither is left to the bundle's reader, which names it."""
    try:
        with path.open("rb") as stream:
            return stream.read(1) == b"{"
    except OSError:
        return False


def _show_site(path: Path, *, as_json: bool) -> None:
    import json

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from edge_runtime.bundle import load_site

    loaded = load_site(path)
    site, fit = loaded.site, loaded.site.fitted
    if as_json:
        identity = {"sha256": loaded.sha256, "signed_by": loaded.signature.key_id}
        document = site.model_dump(mode="json", by_alias=True)
        typer.echo(json.dumps({**document, **identity}, indent=2))
        return
    table = Table(title=escape(site.name), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for point in site.operating_points:
        told = f"{point.score} >= {point.threshold:.3f}, {point.target}"
        if fit is not None and point.name in fit.promises:
            found, promise = fit.rates[point.name].after, fit.promises[point.name]
            told = (
                f"{told} (so with probability {promise.assurance:.2f}); here sensitivity "
                f"{_interval(found.sensitivity)}, specificity {_interval(found.specificity)}"
            )
        table.add_row(f"{point.name} -> {point.action}", told)
    if site.recalibration is not None:
        _, benign, malignant = site.recalibration.bias
        table.add_row(
            "class logits", f"x {site.recalibration.scale:.3f}, benign {benign:+.3f}, "
            f"malignant {malignant:+.3f}",
        )  # fmt: skip
    if fit is None:
        table.add_row("fitted on", "no films: somebody chose these thresholds")
    else:
        where = f", {fit.where}" if fit.where else ""
        table.add_row("fitted", f"{fit.at:%Y-%m-%d %H:%M} UTC by {fit.software}")
        table.add_row("fitted on", escape(f"{fit.dataset}{where}"))
        if fit.synthetic:
            table.add_row("", "SYNTHETIC: drawings, for demonstration only")
        table.add_row(
            "films", f"{fit.films - fit.unable} of {fit.patients} patients, {fit.tumour_patients} "
            f"with a tumour, {fit.malignant_patients} with a malignant one; centres "
            f"{escape(', '.join(fit.centres))}; {fit.unable} more could not be checked",
        )  # fmt: skip
        table.add_row("films that trained the bundle", escape(fit.training_films))
        table.add_row(
            "calibration error",
            f"{_interval(fit.ece_before)} before, {_interval(fit.ece_after)} after",
        )
        table.add_row("data licence", escape(fit.licence))
        table.add_row("dataset sha256", fit.dataset_sha256)
    table.add_row("for the manifest sha256", site.manifest_sha256)
    table.add_row("signed by", loaded.signature.key_id)
    table.add_row("sha256", loaded.sha256)
    Console().print(table)
    typer.echo(f"Next: osteoedge bundle verify NAME.osteo --site {path} --trusted-keys FOLDER")


def _interval(figure: Interval) -> str:
    return f"{figure.value:.2f} ({figure.low:.2f}-{figure.high:.2f})"


@bundle.command()
def verify(path: BundlePath, trusted_keys: TrustedKeys = None, site: Site = None) -> None:
    """Check a bundle as a device does: members, hashes, signature, and the golden vectors here.

    With a site file, whether a trusted key signed it for this bundle as well. Exit code 1 where
    one of the two must not be used.

    Example: `osteoedge bundle verify knee.osteo --trusted-keys /etc/osteoedge/keys`
    """
    from edge_runtime.screener import Screener

    loaded = load_with_site(path, trusted_keys, site)
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
    if site is not None and loaded.site is not None:
        typer.echo(f"{site.name} calibrates it for {loaded.site.name}, signed by a trusted key.")


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
