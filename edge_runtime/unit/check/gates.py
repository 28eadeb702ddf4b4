"""The gates of safety and privacy: no service starts that they refuse."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.bundle import ModelBundle
from edge_runtime.errors import ConfigError, GateError
from edge_runtime.unit.check.finding import Finding, failure_of
from edge_runtime.unit.config import UnitConfig
from edge_runtime.unit.mode import load_servable
from edge_runtime.unit.volume import encryption_of


def pass_gates(unit: UnitConfig, system: Path = Path("/")) -> tuple[ModelBundle, list[Finding]]:
    """Return the bundle of a unit that may serve, and what its log should say of the gates.

    Raises
    ------
    ConfigError
        The bundle, or the folder of keys, cannot be read.
    GateError
        The bundle may not serve, or patients' films would lie on a volume without encryption.
    """
    bundle = load_servable(unit.bundle)
    volume = check_encryption(unit, system)
    if volume.level == "failure":
        raise GateError(volume.what, volume.remedy, str(unit.spool.directory))
    return bundle, [_about_purpose(bundle), volume]


def check_bundle(unit: UnitConfig) -> tuple[ModelBundle | None, Finding]:
    """Look whether the bundle may serve; return it where it may."""
    try:
        bundle = load_servable(unit.bundle)
    except (ConfigError, GateError) as error:
        return None, failure_of("bundle", error, gate=isinstance(error, GateError))
    return bundle, _about_purpose(bundle)


def _about_purpose(bundle: ModelBundle) -> Finding:
    manifest = bundle.manifest
    signed = (
        f"{manifest.name} {manifest.version}, signed by {bundle.signature.key_id}"
        if bundle.signature
        else manifest.name
    )
    if bundle.site is not None:
        signed += f", calibrated for {bundle.site.name}"
    if manifest.purpose == "research":
        return Finding(
            level="note",
            about="bundle",
            what=f"{signed}: a research bundle, in shadow mode only",
        )
    return Finding(level="ok", about="bundle", what=signed)


def check_encryption(unit: UnitConfig, system: Path) -> Finding:
    """Look whether films would lie on an encrypted volume."""
    folder, waiver = unit.spool.directory, (unit.spool.unencrypted_because or "").strip()
    found = encryption_of(folder, system)
    if found == "encrypted":
        return Finding(level="ok", about="encryption", what=f"{folder} lies on an encrypted volume")
    told = {"not encrypted": "is not encrypted", "not known": "tells of no encryption"}[found]
    if waiver:
        return Finding(
            level="warning",
            about="encryption",
            what=f"the volume of {folder} {told}; waived: {waiver}",
            gate=True,
        )
    return Finding(
        level="failure",
        about="encryption",
        what=f"the volume of {folder}, for patients' films, {told}",
        remedy="Put the spool on LUKS or fscrypt, or say why not in [spool] unencrypted_because",
        gate=True,
    )
