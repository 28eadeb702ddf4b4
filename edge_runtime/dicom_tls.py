"""DICOM TLS (PS3.15 B.9, BCP 195): TLS 1.2 or later, and both sides show a certificate.

A service that is called must be who its certificate says: the host name or address by which it is
called is in it. Callers are known by AE title and address beside their certificate.
"""

from __future__ import annotations

import ssl

from edge_runtime.errors import ConfigError
from edge_runtime.unit.config import TlsSettings

# Those of RFC 9325 4.2; of TLS 1.3 all are allowed.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return what a service accepts connections with.

    Raises
    ------
    ConfigError
        A file cannot be read, or is not what it is said to be.
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, settings)


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return what a client connects with.

    Raises
    ------
    ConfigError
        A file cannot be read, or is not what it is said to be.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, settings)


def _context(protocol: int, settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = protocol == ssl.PROTOCOL_TLS_CLIENT
    context.set_ciphers(_CIPHERS)
    context.verify_mode = ssl.CERT_REQUIRED
    for file in (settings.certificate, settings.key, settings.authority):
        try:
            file.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"cannot be read ({error.strerror})", "Check the path and permissions", str(file)
            ) from None
    try:
        context.load_verify_locations(settings.authority)
    except ssl.SSLError:
        raise ConfigError(
            "holds no certificate", "Give the authority's as PEM", str(settings.authority)
        ) from None
    try:
        # Without a passphrase OpenSSL would ask for one, and wait.
        context.load_cert_chain(settings.certificate, settings.key, password="")
    except ssl.SSLError as error:
        raise ConfigError(
            f"certificate and key do not make a pair ({error.reason or 'not PEM'})",
            f"Give as PEM a certificate and its key without passphrase ({settings.key})",
            str(settings.certificate),
        ) from None
    return context
