"""Who calls, and whether they may.

On the Unix socket the kernel says which user calls. By TCP a caller shows the token or, beyond
loopback, name and password, or a session's cookie, which nobody but the page has. A browser on this
machine also runs other people's pages, and these can send requests to loopback: so the Host must be
ours (else a name that now leads here, DNS rebinding), and so must the Origin.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.types import Scope

from edge_runtime.console.accounts import (
    SESSION_S,
    BackOff,
    hash_password,
    open_session,
    read_token,
    same_password,
    seal_session,
)
from edge_runtime.console.documents import AccountSignIn, TokenSignIn
from edge_runtime.console.peers import user_ids
from edge_runtime.console.problems import RefusedError
from edge_runtime.errors import ConfigError
from edge_runtime.unit.config import ConsoleSettings

log = logging.getLogger(__name__)

COOKIE = "osteoedge_session"
# No account can have this name.
_BY_TOKEN = "@token"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# The page, and what it needs to ask for a token; none of it tells of a patient.
_PUBLIC = frozenset({("GET", "/"), ("POST", "/v1/session"), ("GET", "/v1/words")})
_PUBLIC_FOLDER = "/page/"
# What browsers say of a request that our own page, or a person, began.
_OUR_SITE = ("same-origin", "none")
_MOST_REMEMBERED = 100


@dataclass(frozen=True)
class Caller:
    """Who calls.

    Attributes
    ----------
    name
        For audit and log: a user id, an account, or 'token'.
    local
        Whether it is by the Unix socket.
    """

    name: str
    local: bool


@dataclass(frozen=True)
class Session:
    """What signing in gave.

    Attributes
    ----------
    until
        UTC seconds since 1970.
    """

    name: str
    until: float
    cookie: str


class Access:
    """Decides on each request, before anything of it is read but its head.

    Raises
    ------
    ConfigError
        A user of the socket is not known, or the token may not be used.
    """

    def __init__(self, settings: ConsoleSettings) -> None:
        self._settings = settings
        self._users = user_ids(settings.users)
        self._hosts = _our_hosts(settings)
        self._passwords = {account.name: account.password for account in settings.accounts}
        if settings.token_file is not None:
            read_token(settings.token_file)
        self._guesses = BackOff()
        # Passwords are compared one at a time: each takes 16 MiB.
        self._comparing = asyncio.Lock()
        # scrypt is slow by design, and Basic credentials come with every request.
        self._remembered: OrderedDict[bytes, str] = OrderedDict()
        self._memory_key = secrets.token_bytes(32)
        # Compared with where the name is unknown, so that it takes as long.
        self._nobody = hash_password(secrets.token_urlsafe(16))

    async def admit(self, scope: Scope) -> Caller | None:
        """Return who calls; None for what is open to everybody.

        Parameters
        ----------
        scope
            Of ASGI; its state has the `peer`, a user id, where the request came by the socket.

        Raises
        ------
        RefusedError
            They may not, or the request is not one of ours.
        """
        peer: int | None = scope["state"]["peer"]
        if peer is not None:
            if peer not in self._users:
                raise RefusedError(
                    403, "this user may not call", "Add the user to [console] users in unit.toml"
                )
            return Caller(f"uid {peer}", local=True)
        headers = Headers(scope=scope)
        method, path = scope["method"], scope["path"]
        self._check_host(headers)
        open_to_all = (method, path) in _PUBLIC or (
            method == "GET" and path.startswith(_PUBLIC_FOLDER)
        )
        _check_site(headers, scope["scheme"], a_page=open_to_all and method == "GET")
        if open_to_all:
            return None
        address = scope["client"][0]
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(credentials.strip()):
            self._guesses.succeeded(address)
            return Caller("token", local=False)
        if scheme.lower() == "basic":
            return Caller(await self._by_password(credentials.strip(), address), local=False)
        if not scheme and (name := self._by_cookie(headers)) is not None:
            if method not in _SAFE_METHODS and "origin" not in headers:
                raise RefusedError(
                    403,
                    "a session changes something only from the unit's own page",
                    "Send an Authorization header instead of the cookie",
                )
            return Caller(name.lstrip("@"), local=False)
        if scheme:
            raise self._not_known(address)
        raise RefusedError(
            401, "nobody is signed in", self._how_to_sign_in(), {"WWW-Authenticate": "Bearer"}
        )

    async def sign_in(self, shown: TokenSignIn | AccountSignIn, address: str) -> Session:
        """Return a session for who shows the token, or a password.

        Parameters
        ----------
        address
            Where they call from.

        Raises
        ------
        RefusedError
            It is not the right one, or they tried too often.
        """
        if isinstance(shown, TokenSignIn):
            if not self._is_token(shown.token):
                raise self._not_known(address)
            name, kept = "token", _BY_TOKEN
        else:
            name = kept = await self._compare(shown.name, shown.password, address)
        self._guesses.succeeded(address)
        secret = self._secret_of(kept)
        assert secret is not None
        until = float(int(time.time() + SESSION_S))
        return Session(name, until, seal_session(kept, until, secret))

    def _check_host(self, headers: Headers) -> None:
        if headers.get("host", "").lower() not in self._hosts:
            raise RefusedError(
                421,
                "the request was meant for another host",
                "Call the unit by its address and port, or add the name to [console] hosts",
            )

    def _is_token(self, shown: str) -> bool:
        token = self._secret_of(_BY_TOKEN)
        return token is not None and hmac.compare_digest(shown.encode(), token.encode())

    def _secret_of(self, name: str) -> str | None:
        """Return what a session of a name is sealed with; None: nobody has that name."""
        if name != _BY_TOKEN:
            return self._passwords.get(name)
        if self._settings.token_file is None:
            return None
        try:
            # Read each time: a new one counts at once.
            return read_token(self._settings.token_file)
        except ConfigError as error:
            log.error("no token", exc_info=error)
            return None

    def _by_cookie(self, headers: Headers) -> str | None:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        if morsel is None:
            return None
        return open_session(morsel.value, self._secret_of, time.time())

    async def _by_password(self, credentials: str, address: str) -> str:
        known = hmac.digest(self._memory_key, credentials.encode(), hashlib.sha256)
        if (name := self._remembered.get(known)) is not None:
            return name
        try:
            shown = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise self._not_known(address) from None
        name, _, password = shown.partition(":")
        await self._compare(name, password, address)
        self._remembered[known] = name
        while len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return name

    async def _compare(self, name: str, password: str, address: str) -> str:
        async with self._comparing:
            self._check_patience(address)
            hashed = self._passwords.get(name, self._nobody)
            same = await asyncio.to_thread(same_password, password, hashed)
            if not same or name not in self._passwords:
                raise self._not_known(address)
            self._guesses.succeeded(address)
            return name

    def _check_patience(self, address: str) -> None:
        wait_s = self._guesses.wait_s(address)
        if wait_s > 0:
            raise RefusedError(
                429,
                "too many wrong tries",
                f"Wait {wait_s:.0f} s, then try again",
                {"Retry-After": str(int(wait_s) + 1)},
            )

    def _not_known(self, address: str) -> RefusedError:
        """Count a wrong try; return what it is answered with."""
        try:
            self._check_patience(address)
        except RefusedError as error:
            return error
        self._guesses.failed(address)
        return RefusedError(
            401, "not a token, or name and password, that is known here",
            self._how_to_sign_in(), {"WWW-Authenticate": "Bearer"},
        )  # fmt: skip

    def _how_to_sign_in(self) -> str:
        if self._settings.token_file is not None:
            return "Open the address that 'osteoedge console token' prints"
        return "Sign in with name and password"


def _our_hosts(settings: ConsoleSettings) -> frozenset[str]:
    """Return what a Host header may say."""
    address = ipaddress.ip_address(settings.bind)
    names = {f"[{address}]" if address.version == 6 else str(address), *settings.hosts}
    if address.is_loopback:
        names |= {"localhost", "127.0.0.1", "[::1]"}
    default = 443 if settings.tls else 80
    hosts = {f"{name.lower()}:{settings.port}" for name in names}
    return frozenset(hosts | (names if settings.port == default else set()))


def _check_site(headers: Headers, scheme: str, *, a_page: bool) -> None:
    """Refuse what another site's page sends; anybody may link to ours."""
    ours = f"{scheme}://{headers['host'].lower()}"
    foreign = "origin" in headers and headers["origin"].lower() != ours
    if not a_page and headers.get("sec-fetch-site", "none") not in _OUR_SITE:
        foreign = True
    if foreign:
        raise RefusedError(
            403, "another site's page sent this request", "Use the unit's own page, or no browser"
        )
