"""What this unit can do, and why not more: the delegates, the runtime, the codings of films."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder
from rich.table import Table

from edge_runtime.bundle import ModelBundle
from edge_runtime.delegates import RANKING, find_delegate
from edge_runtime.delegates.isolation import Limits
from edge_runtime.dicom_codecs import register_codecs
from edge_runtime.engine import load_unproven
from edge_runtime.errors import DelegateError
from edge_runtime.proof import Proof

_PACKAGES = ("osteoedge", "ai-edge-litert", "tflite-runtime", "numpy", "opencv-python-headless",
             "pydicom")  # fmt: skip
_CODINGS = (
    *uid.UncompressedTransferSyntaxes,
    *uid.RLETransferSyntaxes,
    *uid.JPEGTransferSyntaxes,
    *uid.JPEGLSTransferSyntaxes,
    *uid.JPEG2000TransferSyntaxes,
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GoldenDistance(_Part):
    """The farthest of all golden vectors."""

    max_steps: float = Field(description="of a single value, in steps of its int8 output")
    mean_steps: float = Field(description="of a head on average, in steps")
    probability: float = Field(description="of a class probability, 0..1")


class DelegateFindings(_Part):
    """One delegate on this unit."""

    name: str
    rank: int = Field(description="1 is tried first by `auto`")
    ranked_so: str = Field(description="why it has that rank")
    available: bool
    version: str
    reason: str = Field(description="why it is not available; empty where it is")
    degraded: tuple[str, ...]
    golden: Literal["reproduced", "failed", "not_asked"] = Field(
        description="not_asked: there is no bundle, or the delegate is not available"
    )
    golden_reason: str = Field(description="what failed; empty where nothing did")
    golden_distance: GoldenDistance | None = Field(
        description="how far it is from the exporter's reference; None: not asked, or failed"
    )


class Findings(_Part):
    """What `osteoedge doctor` found."""

    python: str
    machine: str
    packages: dict[str, str | None] = Field(description="None: not installed")
    bundle: str | None
    delegates: tuple[DelegateFindings, ...]
    codings: dict[str, bool] = Field(description="by transfer syntax: are its films read")
    serves: bool = Field(description="whether a delegate is there that can run the bundle")


def examine(
    bundle: ModelBundle | None,
    external_delegate: Path | None = None,
    external_options: Mapping[str, str] | None = None,
) -> Findings:
    """Look at this unit.

    Parameters
    ----------
    bundle
        Loaded onto every delegate that is there, which must then reproduce its golden vectors.
    """
    delegates = tuple(
        _examine_delegate(rank, bundle, external_delegate, external_options)
        for rank in range(len(RANKING))
    )
    register_codecs()
    return Findings(
        python=platform.python_version(),
        machine=platform.machine(),
        packages={name: installed_version(name) for name in _PACKAGES},
        bundle=bundle.file if bundle else None,
        delegates=delegates,
        codings={uid.UID(coding).name: _reads(coding) for coding in _CODINGS},
        serves=any(
            found.available and (bundle is None or found.golden == "reproduced")
            for found in delegates
        ),
    )


def _examine_delegate(
    rank: int,
    bundle: ModelBundle | None,
    library: Path | None,
    options: Mapping[str, str] | None,
) -> DelegateFindings:
    name, ranked_so = RANKING[rank]
    delegate = find_delegate(name, library, options)
    probe = delegate.probe()
    degraded: tuple[str, ...] = (probe.degraded,) if probe.degraded else ()
    golden: Literal["reproduced", "failed", "not_asked"] = "not_asked"
    why, distance = "", None
    if probe.available and bundle is not None:
        try:
            with closing(load_unproven(bundle, delegate, 1, Limits())) as model:
                found = Proof(bundle).check(name, model)
                degraded += (model.degraded,) if model.degraded else ()
        except DelegateError as error:
            golden, why = "failed", error.what
        else:
            golden = "reproduced"
            distance = GoldenDistance(
                max_steps=found.max_steps,
                mean_steps=found.mean_steps,
                probability=found.probability,
            )
    return DelegateFindings(
        name=name,
        rank=rank + 1,
        ranked_so=ranked_so,
        available=probe.available,
        version=probe.version,
        reason=probe.reason,
        degraded=degraded,
        golden=golden,
        golden_reason=why,
        golden_distance=distance,
    )


def report(findings: Findings) -> Iterator[Table]:
    """Return the findings as tables for people."""
    table = Table(title=f"Delegates, Python {findings.python}, {findings.machine}")
    for heading in ("", "delegate", "available", "version", "golden vectors", "why"):
        table.add_column(heading)
    for found in findings.delegates:
        why = "; ".join(filter(None, [found.reason, found.golden_reason, *found.degraded]))
        golden = found.golden.replace("_", " ")
        if distance := found.golden_distance:
            golden += f", off by up to {distance.max_steps:g} steps, {distance.mean_steps:.2f} on "
            golden += f"average, {distance.probability:.3f} of a probability"
        table.add_row(
            str(found.rank),
            found.name,
            "yes" if found.available else "no",
            found.version,
            golden,
            why,
        )
    yield table
    table = Table(title="Codings of films (DICOM transfer syntaxes)")
    table.add_column("coding")
    table.add_column("read")
    for coding, read in findings.codings.items():
        table.add_row(coding, "yes" if read else "no")
    yield table


def _reads(coding: str) -> bool:
    try:
        return bool(get_decoder(coding).is_available)
    except NotImplementedError:
        return False


def installed_version(package: str) -> str | None:
    """Return a distribution's version, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
