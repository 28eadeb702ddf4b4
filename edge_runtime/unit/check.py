"""`osteoedge serve --check`: whether a unit can serve, and may, before it does."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table
from rich.text import Text

import edge_runtime
from edge_runtime.bundle import ModelBundle
from edge_runtime.errors import ConfigError, DelegateError, GateError, OsteoedgeError
from edge_runtime.screener import Screener
from edge_runtime.spool.database import DATABASE, sync_folder
from edge_runtime.unit.config import DicomDestination, StowDestination, TlsSettings, UnitConfig
from edge_runtime.unit.mode import load_servable
from edge_runtime.unit.running import open_spool, service_pid
from edge_runtime.unit.volume import DURABLE, encryption_of, mount_of, nearest

Level = Literal["ok", "note", "warning", "failure"]

_EXPIRES_SOON = timedelta(days=30)
_RESOLVE_S = 5.0
# What is written may be a little ahead of a clock that was set since.
_CLOCK_SLACK_S = 120.0
_COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "failure": "bold red"}


class Finding(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Level
    about: str = Field(description="what was looked at")
    what: str = Field(description="what was found")
    remedy: str = Field("", description="what to do; empty where there is nothing to do")
    gate: bool = Field(False, description="a failure of safety or privacy, not of configuration")


def check_unit(unit: UnitConfig, system: Path = Path("/")) -> list[Finding]:
    """Look at everything that a unit needs; nothing is changed.

    Parameters
    ----------
    system
        Where `proc`, `sys` and `dev` lie.
    """
    bundle, about_bundle = _check_bundle(unit)
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "bundle": lambda: [about_bundle],
        "delegate": lambda: _check_delegate(unit, bundle) if bundle else (),
        "encryption": lambda: [_check_encryption(unit, system)],
        "spool": lambda: _check_spool(unit, system),
        "port": lambda: _check_ports(unit),
        "folder": lambda: _check_folders(unit),
        "keys": lambda: _check_keys(unit),
        "tls": lambda: _check_tls(unit),
        "destination": lambda: _check_names(unit),
        "clock": lambda: [_check_clock(unit)],
    }
    found = []
    for about, check in checks.items():
        try:
            found += list(check())
        except PermissionError as error:
            found.append(
                Finding(
                    level="failure",
                    about=about,
                    what=f"{error.filename} may not be looked at",
                    remedy="Check as the user that the service runs as",
                )
            )
    return found


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
    volume = _check_encryption(unit, system)
    if volume.level == "failure":
        raise GateError(volume.what, volume.remedy, str(unit.spool.directory))
    return bundle, [_about_purpose(bundle), volume]


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 3 where a gate refuses, else 2 where anything fails, else 0."""
    failures = [finding for finding in findings if finding.level == "failure"]
    if any(finding.gate for finding in failures):
        return 3
    return 2 if failures else 0


def report(findings: Iterable[Finding]) -> Table:
    """Return findings as a table for people."""
    table = Table("", "about", "found", "do")
    for finding in findings:
        # Sections of unit.toml in brackets are no markup.
        told = (Text(text) for text in (finding.about, finding.what, finding.remedy))
        table.add_row(Text(finding.level, _COLOURS[finding.level]), *told)
    return table


def _check_bundle(unit: UnitConfig) -> tuple[ModelBundle | None, Finding]:
    try:
        bundle = load_servable(unit.bundle)
    except (ConfigError, GateError) as error:
        return None, _failure("bundle", error, gate=isinstance(error, GateError))
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


def _check_delegate(unit: UnitConfig, bundle: ModelBundle) -> Iterator[Finding]:
    asked = unit.screening
    try:
        screener = Screener(
            bundle,
            asked.delegate,
            asked.threads,
            fallback=asked.fallback,
            external_delegate=asked.external_delegate,
            external_options=asked.external_options,
        )
    except DelegateError as error:
        yield _failure("delegate", error)
        return
    with screener:
        use = screener.delegate
        yield Finding(
            level="ok",
            about="delegate",
            what=f"{use.name} {use.version} reproduces {bundle.manifest.golden.vectors} golden "
            "vectors",
        )
        for sentence in screener.degraded:
            yield Finding(
                level="warning", about="delegate", what=sentence, remedy="Ask 'osteoedge doctor'"
            )


def _check_encryption(unit: UnitConfig, system: Path) -> Finding:
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


def _check_spool(unit: UnitConfig, system: Path) -> Iterator[Finding]:
    folder = unit.spool.directory
    there = nearest(folder)
    try:
        _try_renaming(there)
    except OSError as error:
        yield Finding(
            level="failure",
            about="spool",
            what=f"nothing can be kept in {there} ({error.strerror})",
            remedy="Give the folder to the user that the service runs as",
        )
    else:
        made = "" if there == folder else ", will be made"
        yield Finding(level="ok", about="spool", what=f"{folder} can be written to{made}")
    if there == folder and folder.stat().st_mode & 0o077:
        yield Finding(
            level="warning",
            about="spool",
            what=f"other users may look into {folder}",
            remedy="chmod 700 it: patients' films lie there",
        )
    mount = mount_of(folder, system)
    if mount.kind not in DURABLE:
        yield Finding(
            level="warning",
            about="spool",
            what=f"{folder} lies on {mount.kind}, which may forget what it said was written",
            remedy=f"Use a local disk with one of: {', '.join(sorted(DURABLE))}",
        )
    yield _check_space(unit, there)


def _try_renaming(folder: Path) -> None:
    """Do in a folder what the spool does for each film."""
    with tempfile.TemporaryDirectory(prefix=".check-", dir=folder) as trial:
        with (Path(trial) / "a").open("wb") as stream:
            stream.write(b"film")
            stream.flush()
            os.fsync(stream.fileno())
        (Path(trial) / "a").rename(Path(trial) / "b")
        sync_folder(Path(trial))


def _check_space(unit: UnitConfig, folder: Path) -> Finding:
    disk, reserve = shutil.disk_usage(folder), unit.spool.reserve_mib << 20
    told = f"{disk.free >> 20} MiB free, [spool] reserve_mib is {unit.spool.reserve_mib}"
    if disk.total <= reserve:
        return Finding(
            level="failure",
            about="space",
            what=f"the disk is smaller than its reserve: {disk.total >> 20} MiB",
            remedy="Lower [spool] reserve_mib, or use a larger disk",
        )
    if disk.free <= reserve:
        return Finding(
            level="warning",
            about="space",
            what=f"{told}: no film will be taken",
            remedy="Make space on the disk",
        )
    return Finding(level="ok", about="space", what=told)


def _check_ports(unit: UnitConfig) -> Iterator[Finding]:
    pid = service_pid(unit.spool.directory)
    asked = [
        (name, one.bind, one.port)
        for name, one in (("[intake.dicom]", unit.intake.dicom), ("[health]", unit.health))
        if one is not None
    ]
    with ExitStack() as held:
        # All at once, so that two of ours on one port are found, too.
        for name, address, port in asked:
            about, where = "port", f"{name} {address} port {port}"
            try:
                _listen(held, address, port)
            except OSError as error:
                if pid is not None and error.errno == errno.EADDRINUSE:
                    yield Finding(
                        level="note", about=about, what=f"{where} is used by the running service"
                    )
                else:
                    yield Finding(
                        level="failure",
                        about=about,
                        what=f"{where} cannot be used ({error.strerror})",
                        remedy="Choose another port or address, or stop what holds it",
                    )
            else:
                yield Finding(level="ok", about=about, what=f"{where} is free")


def _listen(held: ExitStack, address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    trial = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
    # As a server does: connections that are closing are no hindrance.
    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    trial.bind((address, port))
    trial.listen(1)


def _check_folders(unit: UnitConfig) -> Iterator[Finding]:
    spool = unit.spool.directory.resolve()
    for watched in unit.intake.folders:
        folder = watched.path.resolve()
        needed = os.R_OK | os.X_OK | (os.W_OK if watched.after == "remove" else 0)
        if folder.is_relative_to(spool) or spool.is_relative_to(folder):
            yield Finding(
                level="failure",
                about="folder",
                what=f"{watched.path} and the spool lie one within the other",
                remedy="Watch another folder",
            )
        elif not folder.is_dir():
            yield Finding(
                level="warning",
                about="folder",
                what=f"{watched.path} is not there now",
                remedy="Make it, or plug it in",
            )
        elif not os.access(folder, needed):
            yield Finding(
                level="failure",
                about="folder",
                what=f"{watched.path} may not be read, or files in it not removed",
                remedy="Give the service's user access, or set after = 'keep'",
            )
        else:
            yield Finding(level="ok", about="folder", what=f"{watched.path} can be read")


def _check_keys(unit: UnitConfig) -> Iterator[Finding]:
    """Look at who else could decide which bundle is trusted."""
    folder = unit.bundle.trusted_keys
    loose = [path for path in (folder, *folder.glob("*.pub")) if path.exists() and _may_write(path)]
    for path in loose:
        yield Finding(
            level="warning",
            about="keys",
            what=f"every user may change {path}, and so which bundles are trusted",
            remedy="chmod go-w it",
        )


def _may_write(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o022)


def _check_tls(unit: UnitConfig) -> Iterator[Finding]:
    if unit.intake.dicom is not None and unit.intake.dicom.tls is not None:
        yield from _check_tls_files("[intake.dicom.tls]", unit.intake.dicom.tls)
    for one in unit.destinations:
        if isinstance(one, DicomDestination) and one.tls is not None:
            yield from _check_tls_files(f"tls of {one.name}", one.tls)
        elif isinstance(one, StowDestination):
            if one.authority is not None:
                yield from _check_certificate(f"authority of {one.name}", one.authority)
            if one.certificate is not None:
                yield from _check_pair(f"tls of {one.name}", one.certificate, one.certificate)
            if one.token_file is not None:
                yield from _check_secret(f"token of {one.name}", one.token_file)


def _check_tls_files(about: str, files: TlsSettings) -> Iterator[Finding]:
    yield from _check_pair(about, files.certificate, files.key)
    yield from _check_certificate(about, files.authority)


def _check_pair(about: str, certificate: Path, key: Path) -> Iterator[Finding]:
    yield from _check_certificate(about, certificate)
    yield from _check_secret(about, key)
    try:
        ours = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ValueError):
        return  # Told already.
    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
    except OSError:
        return  # Told already.
    except (ValueError, TypeError):
        fits = None
    else:
        form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        fits = ours.public_key().public_bytes(*form) == private.public_key().public_bytes(*form)
    if not fits:
        yield Finding(
            level="failure",
            about=about,
            what=f"{key} is no key without passphrase"
            if fits is None
            else f"{key} is not the key of {certificate}",
            remedy="Give the private key of the certificate, in PEM",
        )


def _check_certificate(about: str, path: Path) -> Iterator[Finding]:
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        yield Finding(
            level="failure",
            about=about,
            what=f"{path} holds no certificate that can be read"
            + (f" ({error.strerror})" if isinstance(error, OSError) else ""),
            remedy="Give a certificate in PEM",
        )
        return
    now = datetime.now(UTC)
    ends = min(one.not_valid_after_utc for one in certificates)
    if ends <= now or any(one.not_valid_before_utc > now for one in certificates):
        yield Finding(
            level="failure",
            about=about,
            what=f"{path} is not valid now, but until {ends:%Y-%m-%d}",
            remedy="Renew it, or set the clock",
        )
    elif ends - now < _EXPIRES_SOON:
        yield Finding(
            level="warning",
            about=about,
            what=f"{path} is valid until {ends:%Y-%m-%d} only",
            remedy="Renew it",
        )
    else:
        yield Finding(level="ok", about=about, what=f"{path} is valid until {ends:%Y-%m-%d}")


def _check_secret(about: str, path: Path) -> Iterator[Finding]:
    try:
        path.read_bytes()
    except OSError as error:
        yield Finding(
            level="failure",
            about=about,
            what=f"{path} cannot be read ({error.strerror})",
            remedy="Correct the path, or give the service's user access",
        )
        return
    if path.stat().st_mode & 0o077:
        yield Finding(
            level="warning",
            about=about,
            what=f"other users may read {path}",
            remedy="chmod 600 it",
        )


def _check_names(unit: UnitConfig) -> Iterator[Finding]:
    """Look destinations up; a unit without network now is no failure."""
    hosts = {
        one.name: one.host if isinstance(one, DicomDestination) else urlsplit(one.url).hostname
        for one in unit.destinations
    }
    found: set[str] = set()

    def look_up(name: str, host: str | None) -> None:
        try:
            socket.getaddrinfo(host or "", None)
        except (OSError, UnicodeError):
            return
        found.add(name)

    # The name service may take long, and cannot be told to stop.
    asked = [threading.Thread(target=look_up, args=one, daemon=True) for one in hosts.items()]
    for thread in asked:
        thread.start()
    deadline = time.monotonic() + _RESOLVE_S
    for thread in asked:
        thread.join(max(0.0, deadline - time.monotonic()))
    for name, host in hosts.items():
        if name in found:
            yield Finding(level="ok", about="destination", what=f"{name}: {host} is known")
        else:
            yield Finding(
                level="warning",
                about="destination",
                what=f"{name}: {host} is not known to the name service now",
                remedy="Correct the name, unless the network is away",
            )


def _check_clock(unit: UnitConfig) -> Finding:
    """Look whether time has gone back behind what was written before."""
    now, written = time.time(), [Path(edge_runtime.__file__), unit.bundle.path]
    latest = max(path.stat().st_mtime for path in written if path.exists())
    if os.access(unit.spool.directory / DATABASE, os.R_OK):
        try:
            with open_spool(unit.spool.directory) as spool:
                entry = spool.row("SELECT MAX(at) AS at FROM audit")
            latest = max(latest, (entry["at"] if entry else None) or 0.0)
        except OsteoedgeError:
            pass  # What is wrong with the spool is told elsewhere.
    if now + _CLOCK_SLACK_S < latest:
        return Finding(
            level="warning",
            about="clock",
            what=f"it is {_day(now)} by the clock, and something was written on {_day(latest)}",
            remedy="Set the clock; a battery of the clock may be empty",
        )
    return Finding(level="ok", about="clock", what=f"{_day(now)} is plausible")


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _failure(about: str, error: OsteoedgeError, *, gate: bool = False) -> Finding:
    where = f"{error.source}: " if error.source else ""
    return Finding(
        level="failure", about=about, what=f"{where}{error.what}", remedy=error.remedy, gate=gate
    )
