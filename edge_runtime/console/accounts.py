"""Tokens and passwords: made, kept as hashes, compared; and guessing is slowed down.

Passwords are hashed with scrypt (RFC 7914) at the cost that its author gives for sign-in at a
terminal. A session is a name and an end, sealed with what was signed in with: it outlives a restart
of the console, and ends with a new token or password.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from edge_runtime.errors import ConfigError
from edge_runtime.files import write_atomically

SESSION_S = 12 * 3600.0
"""A long shift."""

# 2^14 rounds of 1 KiB take 16 MiB and some 50 ms.
_COST = {"n": 1 << 14, "r": 8, "p": 1, "maxmem": 1 << 26}
_SALT_BYTES, _HASH_BYTES = 16, 32
# So many wrong ones are a typing error; then each doubles the wait.
_FREE_TRIES, _FIRST_WAIT_S, _LONGEST_WAIT_S = 5, 1.0, 60.0
_MOST_CALLERS = 1000


def make_token(file: Path) -> str:
    """Write a new token, for this user's eyes only; the one before it is worth nothing any more.

    Raises
    ------
    ConfigError
        The file cannot be written.
    """
    token = secrets.token_urlsafe(32)
    before = os.umask(0o077)
    try:
        write_atomically(file, f"{token}\n".encode())
    except OSError as error:
        raise ConfigError(
            f"the token cannot be written ({error.strerror})",
            "Make its folder, and run this as the service's user",
            str(file),
        ) from None
    finally:
        os.umask(before)
    return token


def read_token(file: Path) -> str:
    """Return the token of a unit.

    Raises
    ------
    ConfigError
        There is none, or others may read it.
    """
    try:
        token = file.read_text("ascii").strip()
        mode = file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no token"
        raise ConfigError(
            f"the token cannot be read ({reason})",
            "Make one with 'osteoedge console token', as the service's user", str(file),
        ) from None  # fmt: skip
    if mode & 0o077:
        raise ConfigError(
            "other users may read the token", "chmod 600 it, or make a new one", str(file)
        )
    if len(token) < 32:
        raise ConfigError(
            "the token is too short to be safe", "Make one with 'osteoedge console token'",
            str(file),
        )  # fmt: skip
    return token


def hash_password(password: str) -> str:
    """Return what unit.toml keeps of a password."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"scrypt:{_text(salt)}:{_text(_scrypt(password, salt))}"


def same_password(password: str, hashed: str) -> bool:
    """Tell whether a password is the one that was hashed; takes as long where it is not."""
    _, salt, wanted = hashed.split(":")
    found = _scrypt(password, base64.b64decode(salt))
    return hmac.compare_digest(found, base64.b64decode(wanted))


def seal_session(name: str, until: float, secret: str) -> str:
    """Return a session's cookie.

    Parameters
    ----------
    until
        UTC seconds since 1970.
    secret
        What was signed in with: the token, or the hash of the password.
    """
    return f"{name}|{until:.0f}|{_seal(name, f'{until:.0f}', secret)}"


def open_session(cookie: str, secret_of: Callable[[str], str | None], now: float) -> str | None:
    """Return whose session a cookie is; None where it is none, or has ended."""
    name, _, rest = cookie.partition("|")
    until, _, seal = rest.partition("|")
    secret = secret_of(name)
    if secret is None or not until.isdecimal():
        return None
    genuine = hmac.compare_digest(seal.encode(), _seal(name, until, secret).encode())
    # A session that ends later than any could: the clock was put back.
    return name if genuine and now < float(until) <= now + SESSION_S else None


class BackOff:
    """Lets a caller try a few times, and then ever more slowly. Not for several threads.

    Parameters
    ----------
    clock
        Seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Of each caller: how often in a row, and until when nothing is tried.
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Return for how many seconds a caller is to wait before the next try, 0 for not at all."""
        return max(0.0, self._failed.get(caller, (0, 0.0))[1] - self._clock())

    def failed(self, caller: str) -> None:
        """Count a try that failed."""
        times = self._failed.pop(caller, (0, 0.0))[0] + 1
        wait_s = 0.0
        if times >= _FREE_TRIES:
            wait_s = min(_FIRST_WAIT_S * 2.0 ** (times - _FREE_TRIES), _LONGEST_WAIT_S)
        self._failed[caller] = min(times, 64), self._clock() + wait_s
        while len(self._failed) > _MOST_CALLERS:
            self._failed.popitem(last=False)

    def succeeded(self, caller: str) -> None:
        """Forget that a caller failed."""
        self._failed.pop(caller, None)


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, dklen=_HASH_BYTES, **_COST)


def _seal(name: str, until: str, secret: str) -> str:
    text = "\n".join(("osteoedge session", name, until)).encode()
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
