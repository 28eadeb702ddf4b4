"""DICOM TLS: contexts for both ends of a connection (PS3.15 B.9, BCP 195).

TLS 1.2 or later, forward secrecy, authenticated ciphers, and a certificate from both sides.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_runtime.errors import ConfigError
from edge_runtime.unit.config import TlsSettings

# Those of RFC 9325 4.2; of TLS 1.3 all are allowed.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return the context of a service: whoever calls shows a certificate that the authority signed.

    Raises
    ------
    ConfigError
        A file cannot be read, or holds no certificate or key.
    """
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings)


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return the context of a caller: the service's certificate names the host that is called.

    Raises
    ------
    ConfigError
        A file cannot be read, or holds no certificate or key.
    """
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), settings)


def _filled(context: ssl.SSLContext, settings: TlsSettings) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_ciphers(_CIPHERS)
    with _explained(settings.authority):
        context.load_verify_locations(settings.authority)
    with _explained(settings.certificate):
        # Without a passphrase, OpenSSL would ask for one at the terminal.
        context.load_cert_chain(settings.certificate, settings.key, password="")
    return context


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})", "Check the path and permissions", str(path)
        ) from None
    except (OSError, ValueError):
        # ssl.SSLError is an OSError; its text names the library's source files.
        raise ConfigError(
            "cannot be used for TLS",
            "Check that certificate, key and authority are PEM and belong together",
            str(path),
        ) from None
