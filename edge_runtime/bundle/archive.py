"""Write and read bundles. A device refuses whatever is not as it was exported."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from edge_runtime.bundle.golden import GoldenVectors
from edge_runtime.bundle.manifest import Manifest, SiteUse
from edge_runtime.bundle.signature import (
    SIGNATURE,
    Signature,
    check_signature,
    load_trusted_keys,
    sign_manifest,
)
from edge_runtime.bundle.zipping import MAX_TOTAL_BYTES, unzip_members, zip_members
from edge_runtime.errors import BundleError
from edge_runtime.files import write_atomically

MANIFEST, MODEL, GOLDEN, SUMS = "manifest.json", "model.int8.tflite", "golden.npz", "SHA256SUMS"
EDGE_TPU_MODEL, HALF_MODEL = "model.int8_edgetpu.tflite", "model.fp16.tflite"
FAMILIAR, LIMB_GATE = "familiar.npz", "limb_gate.npz"
CARD, CARD_PAGE, SBOM = "card.md", "card.html", "sbom.cdx.json"
MEMBERS = frozenset({MANIFEST, MODEL, GOLDEN, CARD, CARD_PAGE, SBOM, SUMS})
OPTIONAL_MEMBERS = frozenset({EDGE_TPU_MODEL, HALF_MODEL, FAMILIAR, LIMB_GATE, SIGNATURE})
# Members that the manifest cannot name: itself, and what is made of it.
_UNNAMED = frozenset({MANIFEST, SUMS, SIGNATURE})
T = TypeVar("T")


@dataclass(frozen=True)
class ModelBundle:
    """A bundle that passed every check of :func:`load_bundle`.

    Attributes
    ----------
    members
        Every member's bytes by its name.
    sha256
        Of the file.
    signature
        Who signed it. Whether that is anybody to be trusted, only ``trusted_keys`` of
        :func:`load_bundle` says.
    file
        The file's name.
    site
        Whose calibration it has in the place of its own; None: its own.
    """

    manifest: Manifest
    members: Mapping[str, bytes]
    golden: GoldenVectors
    sha256: str
    signature: Signature | None
    file: str
    site: SiteUse | None = None

    @property
    def content(self) -> dict[str, bytes]:
        """The members that the manifest names: what :func:`write_bundle` takes."""
        return _named(self.members)

    @property
    def exported(self) -> Manifest:
        """The manifest as it was exported, whatever a site file changed."""
        return Manifest.model_validate_json(self.members[MANIFEST])

    @property
    def deployed_sha256(self) -> str:
        """What a unit runs: of the bundle, or of bundle and site file."""
        return deployed_sha256(self.sha256, self.site.sha256 if self.site else None)

    @property
    def model(self) -> bytes:
        """The int8 TFLite file."""
        return self.members[MODEL]


def deployed_sha256(bundle: str, site: str | None) -> str:
    """Return what stands for a bundle and its site file, each named by its SHA-256."""
    return bundle if site is None else _sha256(f"{bundle} {site}".encode())


def write_bundle(path: Path, manifest: Manifest, members: Mapping[str, bytes]) -> None:
    """Write a bundle atomically; the same content gives the same bytes.

    Parameters
    ----------
    manifest
        Its ``members`` are filled in here.
    members
        Everything but manifest and checksums.
    """
    named = {name: _sha256(members[name]) for name in sorted(members)}
    document = manifest.model_copy(update={"members": named}).to_json()
    _write(path, {MANIFEST: document, **members})


def add_signature(path: Path, signature: Signature) -> None:
    """Put a signature into a bundle, in place of any other; no other byte of it changes."""
    members = unzip_members(path.read_bytes(), path.name)
    _write(path, {**members, SIGNATURE: signature.to_json()})


def sign_bundle(path: Path, key: Path) -> Signature:
    """Sign a bundle with a private key in PEM, in place of any signature that it has.

    Raises
    ------
    BundleError
        It cannot be loaded.
    ConfigError
        The key cannot be read, or is none of Ed25519.
    """
    signature = sign_manifest(load_bundle(path).members[MANIFEST], key)
    add_signature(path, signature)
    return signature


def load_bundle(path: Path | str, trusted_keys: Path | str | None = None) -> ModelBundle:
    """Read and check a bundle.

    Parameters
    ----------
    trusted_keys
        Folder of the keys one of which must have signed it, see :func:`load_trusted_keys`. Without
        one a bundle need not be signed; a signature that is there must fit all the same.

    Raises
    ------
    BundleError
        No bundle, truncated, a member missing, added or changed, an unknown schema or key, an input
        spec whose hash does not match, or a signature that is wrong, missing, not trusted or
        revoked.
    ConfigError
        The folder holds no key, or one that cannot be read.
    """
    path = Path(path)
    trusted = None if trusted_keys is None else load_trusted_keys(Path(trusted_keys))
    try:
        if path.stat().st_size > MAX_TOTAL_BYTES:
            raise BundleError("implausibly large", "Give --bundle a .osteo file", path.name)
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise BundleError(
            f"the bundle cannot be read ({getattr(error, 'strerror', None) or 'no such path'})",
            "Give --bundle the path of a .osteo file made by 'osteoedge export'",
            str(path),
        ) from None
    members, sha256 = unzip_members(data, path.name), _sha256(data)
    _check_names(members, path.name)
    found = {name: _sha256(member) for name, member in members.items()}
    _check_sums(members[SUMS], found, path.name)
    signature = check_signature(
        members.get(SIGNATURE), members[MANIFEST], sha256, trusted, path.name
    )
    manifest = _parse_manifest(members[MANIFEST], path.name)
    _check_members(found, manifest, path.name)
    return ModelBundle(
        manifest=manifest,
        members=members,
        golden=GoldenVectors.from_npz(members[GOLDEN], manifest.model.outputs, path.name),
        sha256=sha256,
        signature=signature,
        file=path.name,
    )


def _write(path: Path, members: Mapping[str, bytes]) -> None:
    signature = {SIGNATURE: members[SIGNATURE]} if SIGNATURE in members else {}
    sums = _sums({name: _sha256(data) for name, data in members.items()})
    ordered = {MANIFEST: members[MANIFEST], **_named(members), SUMS: sums, **signature}
    write_atomically(path, zip_members(ordered))


def _named(members: Mapping[str, T]) -> dict[str, T]:
    """Return the members that a manifest names, in order; of their bytes or of their hashes."""
    return {name: members[name] for name in sorted(members) if name not in _UNNAMED}


def _sums(hashes: Mapping[str, str]) -> bytes:
    """Return what `sha256sum` prints of the members, but the signature, which may come later."""
    summed = {MANIFEST: hashes[MANIFEST], **_named(hashes)}
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(summed.items())).encode()


def _check_names(members: Mapping[str, bytes], source: str) -> None:
    if MANIFEST not in members:
        raise BundleError(
            "a zip file, but no osteoedge bundle (no manifest.json)",
            "Give --bundle a .osteo file made by 'osteoedge export'",
            source,
        )
    odd = (MEMBERS - set(members)) | (set(members) - MEMBERS - OPTIONAL_MEMBERS)
    if odd:
        raise BundleError(
            f"members missing or added: {', '.join(sorted(odd))}", "Copy the bundle again", source
        )


def _check_sums(sums: bytes, hashes: Mapping[str, str], source: str) -> None:
    expected = _sums(hashes)
    if sums != expected:
        stated = set(sums.splitlines())
        changed = [line.split()[1].decode() for line in expected.splitlines() if line not in stated]
        raise BundleError(
            f"{', '.join(changed) or SUMS} was changed after export",
            "Do not use this bundle; export or copy it again",
            source,
        )


def _check_members(hashes: Mapping[str, str], manifest: Manifest, source: str) -> None:
    for member, stated in (
        (FAMILIAR, manifest.calibration.familiarity is not None),
        (LIMB_GATE, manifest.calibration.limb is not None),
        (HALF_MODEL, manifest.half is not None),
        (EDGE_TPU_MODEL, manifest.edge_tpu.status == "compiled"),
    ):
        if stated != (member in hashes):
            raise BundleError(
                f"{member} and the manifest contradict each other", "Export it again", source
            )
    named = _named(hashes)
    if odd := sorted(k for k, _ in set(named.items()) ^ set(manifest.members.items())):
        raise BundleError(
            f"{', '.join(dict.fromkeys(odd))} is not what the manifest names",
            "Do not use this bundle; export or copy it again",
            source,
        )


def _parse_manifest(data: bytes, source: str) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise BundleError(
            f"the manifest is not understood ({key}: {first['msg']})",
            "Use an osteoedge of the version that exported it",
            source,
        ) from None
    if manifest.input_spec.sha256() != manifest.input_spec_sha256:
        raise BundleError(
            "the input spec does not match its hash", "Do not use this bundle", source
        )
    return manifest


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
