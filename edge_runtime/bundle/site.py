"""The site file: one hospital's own calibration of a bundle, signed as the bundle is.

A threshold belongs to the hospital that it was fitted in, and so does what a probability means. A
site file replaces the thresholds of a bundle's operating points; one that was fitted on the site's
films (`osteoedge calibrate`) recalibrates the class probabilities that they cut as well, and the
prediction sets that follow from them. It adds no operating point, leaves none out, and fits one
bundle. It lies beside the bundle, and every result names it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_runtime.bundle.archive import MANIFEST, ModelBundle
from edge_runtime.bundle.manifest import (
    LABELS,
    ConformalQuantile,
    Fusion,
    Interval,
    OperatingPoint,
    SiteUse,
)
from edge_runtime.bundle.signature import (
    Signature,
    check_signature,
    load_trusted_keys,
    sign_manifest,
)
from edge_runtime.errors import BundleError
from edge_runtime.files import write_atomically

_MAX_BYTES = 1 << 20

# It stands in every result: one line, and short enough for a label.
SiteName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Recalibration(_Part):
    """What class logits z become at a site: scale * z + bias.

    Temperature scaling (Guo et al., "On calibration of modern neural networks", ICML 2017) and the
    shift of logits that another share of each class brings (Saerens et al., Neural Computation
    14:21, 2002).
    """

    scale: float = Field(gt=0, description="an inverse temperature")
    bias: tuple[float, float, float] = Field(description="by class; no_tumour's is 0")

    def of(self, fusion: Fusion) -> Fusion:
        """Return a fusion whose class logits are recalibrated: they are linear in its weights."""

        def scaled(weights: tuple[float, float, float]) -> tuple[float, float, float]:
            no_tumour, benign, malignant = weights
            return self.scale * no_tumour, self.scale * benign, self.scale * malignant

        bias = [own + added for own, added in zip(scaled(fusion.bias), self.bias, strict=True)]
        return fusion.model_copy(
            update={
                "cam": self.scale * fusion.cam,
                "mask": scaled(fusion.mask),
                "subtype": self.scale * fusion.subtype,
                "bias": (bias[0], bias[1], bias[2]),
                "context": {
                    fact: {word: scaled(weights) for word, weights in words.items()}
                    for fact, words in fusion.context.items()
                },
            }
        )


class Rates(_Part):
    """What was referred of a site's films or studies; those that are `unable` count as referred.

    95 % intervals resampled by patient.
    """

    sensitivity: Interval
    specificity: Interval
    referral_rate: Interval


class Change(_Part):
    """The same films with the bundle's own calibration, and with the site's."""

    before: Rates
    after: Rates = Field(description="cross-validated: each patient by a fit to the others")


class Promise(_Part):
    """What the number of patients behind a threshold promises of films to come."""

    sensitivity: Interval = Field(description="expected, and where it lies with 95 %")
    assurance: float = Field(ge=0, le=1, description="probability that it is the target or more")


class SiteFit(_Part):
    """On which films a site file was fitted, and what that changed."""

    at: datetime
    software: str
    dataset: str
    dataset_sha256: str = Field(description="of dataset.toml and radiographs.csv")
    licence: str
    where: str | None = Field(description="the condition that chose among its films")
    synthetic: bool
    training_films: str = Field(description="what is known of films that trained the bundle")
    films: int = Field(description="with a label")
    unlabelled: int = Field(description="films without one, which count for nothing")
    unable: int = Field(description="labelled films that could not be checked: they set nothing")
    patients: int = Field(description="behind thresholds and probabilities")
    studies: int
    tumour_patients: int
    malignant_patients: int
    centres: tuple[str, ...]
    folds: int = Field(description="of the cross-validation, by patient")
    rates: dict[str, Change] = Field(
        description="by operating point; referred and study_referred: by any of them"
    )
    promises: dict[str, Promise] = Field(description="by operating point")
    ece_before: Interval = Field(description="expected calibration error")
    ece_after: Interval = Field(description="the same, cross-validated")


class SiteFile(_Part):
    """What a site file says."""

    schema_: Literal["osteoedge.site/1"] = Field("osteoedge.site/1", alias="schema")
    name: SiteName
    manifest_sha256: str = Field(description="of the bundle's manifest.json")
    operating_points: tuple[OperatingPoint, ...]
    recalibration: Recalibration | None = Field(None, description="None: the bundle's own")
    conformal_quantiles: dict[str, ConformalQuantile] | None = Field(
        None, description="by class; None: the bundle's own"
    )
    fitted: SiteFit | None = Field(None, description="None: thresholds that somebody chose")

    @model_validator(mode="after")
    def _probabilities_and_their_quantiles(self) -> Self:
        quantiles = self.conformal_quantiles
        if (self.recalibration is None) != (quantiles is None):
            raise ValueError("quantiles are those of the probabilities that they were fitted to")
        if quantiles is not None and set(quantiles) != set(LABELS):
            raise ValueError("a quantile for each class")
        return self


@dataclass(frozen=True)
class SignedSite:
    """A site file as it was read.

    Attributes
    ----------
    signature
        Who signed it. Whether that is anybody to be trusted, only ``trusted_keys`` of
        :func:`load_site` says.
    sha256
        Of the file.
    """

    site: SiteFile
    signature: Signature
    sha256: str


class _Signed(BaseModel):
    """The file: what was signed, as text, and the signature of its UTF-8 bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

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


def load_site(path: Path, trusted_keys: Path | None = None) -> SignedSite:
    """Read a site file and check its signature.

    Parameters
    ----------
    trusted_keys
        Folder of the keys one of which must have signed it; None: whoever signed it.

    Raises
    ------
    BundleError
        It cannot be read, its signature is not that of its content, or not a trusted key's.
    ConfigError
        The folder holds no key, or one that cannot be read.
    """
    trusted = None if trusted_keys is None else load_trusted_keys(trusted_keys)
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
    signature = signed.signature
    check_signature(signature.to_json(), signed.site.encode(), sha256, trusted, path.name)
    return SignedSite(site, signature, sha256)


def with_site(bundle: ModelBundle, path: Path, trusted_keys: Path) -> ModelBundle:
    """Return a bundle with the calibration of a site file.

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
    signed = load_site(path, trusted_keys)
    site, manifest = signed.site, bundle.manifest
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
    changed: dict[str, Any] = {"operating_points": theirs}
    if site.recalibration is not None:
        changed["fusion"] = site.recalibration.of(manifest.calibration.fusion)
        changed["conformal_quantiles"] = site.conformal_quantiles
    calibration = manifest.calibration.model_copy(update=changed)
    return replace(
        bundle,
        manifest=manifest.model_copy(update={"calibration": calibration}),
        site=SiteUse(name=site.name, sha256=signed.sha256),
    )


def _meaning(point: OperatingPoint) -> tuple[str, ...]:
    return point.name, point.score, point.level, point.action
