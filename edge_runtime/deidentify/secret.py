"""The key of a hospital, and what is derived from it: pseudonyms, UIDs and days.

One key, one hospital: the same patient gets the same pseudonym in every import made with it. Who
has the key can tell whether a given patient is in a dataset; it is kept apart from the dataset.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from pathlib import Path

from edge_runtime.errors import ConfigError

KEY_BYTES = 32
# The shift is a whole number of days into the past, so that no shifted date lies in the future.
MIN_SHIFT_DAYS, MAX_SHIFT_DAYS = 365, 3650


class Secret:
    """A key of 256 bits; everything is HMAC-SHA256 of it (RFC 2104), one name space a purpose."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @property
    def fingerprint(self) -> str:
        """Name of the key, 16 hexadecimal digits, from which the key cannot be had."""
        return self._digest("fingerprint", "").hex()[:16]

    def name(self, kind: str, original: str) -> str:
        """Return a pseudonym of 16 hexadecimal digits; ``kind`` keeps name spaces apart."""
        return self._digest(kind, original).hex()[:16]

    def uid(self, original: str) -> str:
        """Return the UID that stands for another one, in the UUID arc 2.25 (PS3.5 B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', original)[:16], version=5).int}"

    def shift_days(self, patient: str) -> int:
        """Return by how many days all dates of a patient go back, 365 to 3650."""
        span = MAX_SHIFT_DAYS - MIN_SHIFT_DAYS + 1
        return MIN_SHIFT_DAYS + int.from_bytes(self._digest("days", patient)) % span

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{text}".encode(), hashlib.sha256)


def open_secret(path: Path, dataset: Path) -> Secret:
    """Read a key file, or make one that only its owner may read (mode 0600).

    Raises
    ------
    ConfigError
        The file lies in the dataset folder, may be read by others, or is no key.
    """
    if path.resolve().is_relative_to(dataset.resolve()):
        raise ConfigError(
            "the key would lie in the dataset folder, and travel with it",
            "Keep the key elsewhere: --key FILE",
            str(path),
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Secret(_create(path))
    except FileExistsError:
        return Secret(_read(path))
    except OSError as error:
        raise ConfigError(
            f"the key cannot be written ({error.strerror})", "Name another file", str(path)
        ) from None


def _create(path: Path) -> bytes:
    if path.exists():
        raise FileExistsError
    key = secrets.token_bytes(KEY_BYTES)
    # Linked into place when it is whole: a key that is half there after a power cut is no key, and
    # a film under a lost key could never be continued.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(key.hex() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        path.hardlink_to(temporary)
    finally:
        temporary.unlink()
    return key


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(
                "the key may be read by others", f"Give the command: chmod 600 {path}", str(path)
            )
        key = bytes.fromhex(path.read_text("ascii").strip())
    except OSError as error:
        raise ConfigError(
            f"the key cannot be read ({error.strerror})", "Check the file", str(path)
        ) from None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(
            "this is no key (64 hexadecimal digits)",
            "Name the key file of this hospital, or a new file to make one",
            str(path),
        )
    return key
