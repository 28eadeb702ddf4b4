"""Who stands behind a bundle: Ed25519 signatures (RFC 8032) over its manifest.

The manifest names the hash of every other member, so one signature covers all of them.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_runtime.errors import BundleError, ConfigError
from edge_runtime.files import write_atomically

if TYPE_CHECKING:
    # Loaded where there is a signature: a bundle without one is not to wait for it.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE = "signature.json"
REVOKED = "revoked.txt"
# A signature of a manifest is a signature of nothing else.
_CONTEXT = b"osteoedge bundle manifest\n"


class Signature(BaseModel):
    """The content of signature.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal["osteoedge.signature/1"] = Field("osteoedge.signature/1", alias="schema")
    key_id: str = Field(description="of the public key: the first 16 hex digits of its SHA-256")
    public_key: str = Field(description="32 bytes in Base64")
    signature: str = Field(description="64 bytes in Base64")

    def to_json(self) -> bytes:
        """Return it as it lies in the bundle."""
        return (self.model_dump_json(by_alias=True, indent=2) + "\n").encode()


@dataclass(frozen=True)
class TrustedKeys:
    """Public keys by their ids, and what is trusted no more.

    ``revoked`` holds ids of keys, and SHA-256 of bundles or of their manifests.
    """

    keys: Mapping[str, Ed25519PublicKey]
    revoked: frozenset[str]


def generate_key(path: Path) -> str:
    """Write a key pair, ``path`` (for its owner's eyes) and ``path`` with `.pub`; return its id.

    Raises
    ------
    ConfigError
        One of the files is there already, or cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    public_path = path.with_name(path.name + ".pub")
    for taken in (path, public_path):
        if taken.exists():
            raise ConfigError("a key is there already", "Choose another name", str(taken))
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pem)
        public = private.public_key()
        write_atomically(
            public_path, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
    except OSError as error:
        raise ConfigError(
            f"the key cannot be written ({error.strerror})", "Choose another folder", str(path)
        ) from None
    return key_id(public)


def sign_manifest(manifest: bytes, key: Path) -> Signature:
    """Sign the bytes of a manifest.json with a private key in PEM.

    Raises
    ------
    ConfigError
        The key cannot be read, or is none of Ed25519.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(
            "no private key of Ed25519 in this file",
            "Make one with 'osteoedge bundle keygen', and give the file without .pub",
            str(key),
        )
    public = private.public_key()
    return Signature(
        key_id=key_id(public),
        public_key=base64.b64encode(public.public_bytes_raw()).decode(),
        signature=base64.b64encode(private.sign(_CONTEXT + manifest)).decode(),
    )


def load_trusted_keys(folder: Path) -> TrustedKeys:
    """Read a folder of public keys, `*.pub` in PEM, and its `revoked.txt` where there is one.

    A line of `revoked.txt` is the id of a key, or the SHA-256 of a bundle or of its manifest, as
    `osteoedge bundle show` prints them; what follows a `#` says why. A bundle that is signed again
    keeps its manifest.

    Raises
    ------
    ConfigError
        There is no key, or one that cannot be read.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    keys = {}
    for path in sorted(folder.glob("*.pub")):
        try:
            key = load_pem_public_key(path.read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigError(
                "no public key of Ed25519 in this file", "Remove or replace it", str(path)
            )
        keys[key_id(key)] = key
    if not keys:
        raise ConfigError(
            "no public key (*.pub) in this folder",
            "Put the .pub file of 'osteoedge bundle keygen' there",
            str(folder),
        )
    listed = folder / REVOKED
    lines = listed.read_text("utf-8").splitlines() if listed.exists() else []
    revoked = (line.partition("#")[0].strip().lower() for line in lines)
    return TrustedKeys(keys, frozenset(entry for entry in revoked if entry))


def key_id(key: Ed25519PublicKey) -> str:
    """Return the first 16 hex digits of the SHA-256 of a public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def check_signature(
    document: bytes | None,
    manifest: bytes,
    bundle_sha256: str,
    trusted: TrustedKeys | None,
    source: str,
) -> Signature | None:
    """Return the signature of a manifest, None where there is none and none is asked for.

    Parameters
    ----------
    document
        Content of signature.json, None where there is none.
    source
        The bundle's name, for errors.

    Raises
    ------
    BundleError
        It is malformed, of another manifest, missing though ``trusted`` is given, by a key that is
        not trusted, or revoked.
    """
    named = {bundle_sha256, hashlib.sha256(manifest).hexdigest()}
    if trusted is not None and named & trusted.revoked:
        raise BundleError("this bundle was revoked", "Install a newer one", source)
    if document is None:
        if trusted is not None:
            raise BundleError(
                "the bundle is not signed",
                "Ask its maker for a signed one, or sign it with 'osteoedge bundle sign'",
                source,
            )
        return None
    signature = _verified(document, manifest, source)
    if trusted is None:
        return signature
    if signature.key_id in trusted.revoked:
        raise BundleError(
            f"the key {signature.key_id} that signed it was revoked",
            "Ask its maker for a bundle signed with another key",
            source,
        )
    if signature.key_id not in trusted.keys:
        raise BundleError(
            f"signed with the key {signature.key_id}, which is not trusted here",
            "Put its .pub file among the trusted keys if you know whose it is",
            source,
        )
    return signature


def _verified(document: bytes, manifest: bytes, source: str) -> Signature:
    """Return a signature that is one of this manifest by the key that it names."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        signature = Signature.model_validate_json(document)
        key = Ed25519PublicKey.from_public_bytes(
            base64.b64decode(signature.public_key, validate=True)
        )
        key.verify(base64.b64decode(signature.signature, validate=True), _CONTEXT + manifest)
    except (ValidationError, ValueError):
        raise BundleError(
            "the signature is not understood",
            "Use an osteoedge of the version that signed it",
            source,
        ) from None
    except InvalidSignature:
        raise BundleError(
            "the signature is not that of this manifest",
            "Do not use this bundle; copy it again from its maker",
            source,
        ) from None
    if key_id(key) != signature.key_id:
        raise BundleError(
            "the signature names another key than its own", "Do not use this bundle", source
        )
    return signature
