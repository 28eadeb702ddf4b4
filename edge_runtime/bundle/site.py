"""The site file: one hospital's own thresholds for a bundle, signed as the bundle is.

A threshold belongs to the hospital that it was fitted in. A site file replaces the thresholds of a
bundle's operating points, and nothing else: it adds none, leaves none out, and fits one bundle.
It lies beside the bundle, and every result names it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_runtime.bundle.archive import MANIFEST, ModelBundle
from edge_runtime.bundle.manifest import OperatingPoint, SiteUse
from edge_runtime.bundle.signature import (
    Signature,
    check_signature,
    load_trusted_keys,
    sign_manifest,
)
from edge_runtime.errors import BundleError
from edge_runtime.files import write_atomically

_MAX_BYTES = 1 << 20


class SiteFile(BaseModel):
    """What a site file says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal["osteoedge.site/1"] = Field("osteoedge.site/1", alias="schema")
    name: str = Field(min_length=1, max_length=64, description="of the site")
    manifest_sha256: str = Field(description="of the bundle's manifest.json")
    operating_points: tuple[OperatingPoint, ...]


class _Signed(BaseModel):
    """The file: what was signed, as text, and the signature of its UTF-8 bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: str
    signature: Signature


def write_site(path: Path, site: SiteFile, key: Path) -> None:
    """Write a site file, signed with a private key in PEM.

    Raises
    ------
    ConfigError
        The key cannot be read, or is none of Ed25519.
    """
    text = site.model_dump_json(by_alias=True, indent=2)
    signed = _Signed(site=text, signature=sign_manifest(text.encode(), key))
    write_atomically(path, (signed.model_dump_json(by_alias=True, indent=2) + "\n").encode())


def with_site(bundle: ModelBundle, path: Path, trusted_keys: Path) -> ModelBundle:
    """Return a bundle with the thresholds of a site file.

    Parameters
    ----------
    trusted_keys
        Folder of the keys one of which must have signed the site file.

    Raises
    ------
    BundleError
        It cannot be read, is not signed by a trusted key, or is for another bundle.
    ConfigError
        The folder holds no key, or one that cannot be read.
    """
    trusted = load_trusted_keys(trusted_keys)
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES)
        signed = _Signed.model_validate_json(content)
        site = SiteFile.model_validate_json(signed.site)
    except OSError as error:
        raise BundleError(
            f"the site file cannot be read ({error.strerror})", "Check the path", str(path)
        ) from None
    except ValidationError:
        raise BundleError(
            "no site file of this version", "Fit it again for this unit's bundle", path.name
        ) from None
    sha256 = hashlib.sha256(content).hexdigest()
    signature = signed.signature.to_json()
    check_signature(signature, signed.site.encode(), sha256, trusted, path.name)
    manifest = bundle.manifest
    if site.manifest_sha256 != hashlib.sha256(bundle.members[MANIFEST]).hexdigest():
        raise BundleError(
            "the site file was fitted for another bundle", "Fit it again for this one", path.name
        )
    ours, theirs = manifest.calibration.operating_points, site.operating_points
    if [_meaning(point) for point in ours] != [_meaning(point) for point in theirs]:
        raise BundleError(
            "the site file has other operating points than the bundle",
            "Fit it again for this unit's bundle",
            path.name,
        )
    calibration = manifest.calibration.model_copy(update={"operating_points": theirs})
    return replace(
        bundle,
        manifest=manifest.model_copy(update={"calibration": calibration}),
        site=SiteUse(name=site.name, sha256=sha256),
    )


def _meaning(point: OperatingPoint) -> tuple[str, ...]:
    return point.name, point.score, point.level, point.action
