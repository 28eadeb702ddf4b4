"""Keys of bundles, certificates and their keys, and tokens."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from edge_runtime.unit.check.finding import Finding
from edge_runtime.unit.config import DicomDestination, StowDestination, TlsSettings, UnitConfig

_EXPIRES_SOON = timedelta(days=30)


def check_keys(unit: UnitConfig) -> Iterator[Finding]:
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


def check_tls(unit: UnitConfig) -> Iterator[Finding]:
    """Look at certificates, their keys, and tokens."""
    if unit.intake.dicom is not None and unit.intake.dicom.tls is not None:
        yield from _check_tls_files("[intake.dicom.tls]", unit.intake.dicom.tls)
    if unit.console is not None and unit.console.tls is not None:
        tls = unit.console.tls
        yield from _check_pair("tls of the console", tls.certificate, tls.key)
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
