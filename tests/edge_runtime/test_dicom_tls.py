"""Certificates that cannot be used are named, with the remedy."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from edge_runtime.dicom_tls import client_context, server_context
from edge_runtime.errors import ConfigError
from edge_runtime.unit.config import TlsSettings
from tests.e2e.certificates import Authority


@pytest.fixture
def settings(tmp_path: Path) -> TlsSettings:
    return Authority(tmp_path).issue("unit")


def test_both_sides_must_show_a_certificate(settings: TlsSettings) -> None:
    for context in (client_context(settings), server_context(settings)):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("field", ["certificate", "key", "authority"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM"])
def test_a_file_that_cannot_be_used_is_named(
    settings: TlsSettings, tmp_path: Path, field: str, content: bytes | None
) -> None:
    file = tmp_path / "bad.pem"
    if content is not None:
        file.write_bytes(content)
    broken = settings.model_copy(update={field: file})
    for context in (client_context, server_context):
        with pytest.raises(ConfigError, match=r"bad\.pem"):
            context(broken)


def test_a_key_of_another_certificate_is_named(settings: TlsSettings, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other").issue("unit")
    with pytest.raises(ConfigError, match="make a pair"):
        client_context(settings.model_copy(update={"key": other.key}))


def test_a_key_with_a_passphrase_does_not_ask_for_it(settings: TlsSettings, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(settings.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="without passphrase"):
        client_context(settings.model_copy(update={"key": locked}))
