"""DICOM TLS: both sides show a certificate, or nobody speaks."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from edge_runtime.dicom_tls import client_context, server_context
from edge_runtime.errors import ConfigError
from edge_runtime.unit.config import TlsSettings
from tests.e2e.certificates import Authority


def settings(authority: Authority, name: str, *, expired: bool = False) -> TlsSettings:
    return authority.issue(name, days=-1 if expired else 10)


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str = "localhost"
) -> str | None:
    """Both sides of a handshake; return the version that was agreed on, None where they do not."""
    ours, theirs = socket.socketpair()
    agreed: list[str | None] = []

    def serve() -> None:
        try:
            with server.wrap_socket(ours, server_side=True) as line:
                line.sendall(b"hello")
                agreed.append(line.version())
        except OSError:
            ours.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(theirs, server_hostname=host) as line:
            # Of TLS 1.3, a client learns that it was refused when it reads.
            heard = line.recv(5)
    except OSError:
        theirs.close()
        heard = b""
    thread.join(60)
    return agreed[0] if agreed and heard == b"hello" else None


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


def test_both_have_certificates(authority: Authority) -> None:
    server = server_context(settings(authority, "unit"))
    client = client_context(settings(authority, "console"))
    assert shake_hands(server, client) == "TLSv1.3"
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shake_hands(server, client) == "TLSv1.2"


def test_others_are_refused(authority: Authority, tmp_path: Path) -> None:
    server = server_context(settings(authority, "unit"))
    stranger = Authority(tmp_path / "theirs")
    foreign = settings(stranger, "console").model_copy(update={"authority": authority.certificate})
    assert shake_hands(server, client_context(foreign)) is None
    assert shake_hands(server, client_context(settings(authority, "old", expired=True))) is None
    nameless = ssl.create_default_context(cafile=str(authority.certificate))
    assert shake_hands(server, nameless) is None
    # And so are services, by whoever calls them.
    client = client_context(settings(authority, "console"))
    assert shake_hands(server_context(settings(authority, "x", expired=True)), client) is None
    assert shake_hands(server_context(settings(stranger, "unit")), client) is None
    assert shake_hands(server, client, host="somewhere.else") is None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_are_refused(authority: Authority) -> None:
    client = client_context(settings(authority, "console"))
    client.minimum_version = ssl.TLSVersion.TLSv1
    client.maximum_version = ssl.TLSVersion.TLSv1_1
    assert shake_hands(server_context(settings(authority, "unit")), client) is None


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    good = settings(authority, "unit")
    with pytest.raises(ConfigError, match=r"missing\.pem: cannot be read"):
        server_context(good.model_copy(update={"authority": tmp_path / "missing.pem"}))
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"broken\.pem: certificate and key do not make a pair"):
        client_context(good.model_copy(update={"certificate": broken}))
    other = authority.issue("other").key
    with pytest.raises(ConfigError, match="do not make a pair"):
        server_context(good.model_copy(update={"key": other}))
