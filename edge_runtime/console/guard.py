"""What is around every request: access, limits of size and time, headers, and the log.

The log has a request's route, never its path: that holds UIDs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_runtime.console.access import Access
from edge_runtime.console.problems import RefusedError, problem_of
from edge_runtime.spool.audit import hashed

log = logging.getLogger(__name__)

FILM_TYPE, JSON_TYPE = "application/dicom", "application/json"
# Of a body in JSON, bytes.
_JSON_BYTES = 64 << 10
# Of a body: between two pieces, and all of it, seconds.
_PIECE_S, _BODY_S = 15.0, 300.0
_READS = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Films and names stay out of the browser's cache on the disk.
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI application around the one that answers.

    Parameters
    ----------
    film_bytes
        Of the largest film that is accepted.
    """

    def __init__(self, app: ASGIApp, access: Access, film_bytes: int) -> None:
        self._app = app
        self._access = access
        self._film_bytes = film_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        began, status = time.monotonic(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        app: ASGIApp = self._app
        try:
            caller = await self._access.admit(scope)
            scope["state"]["caller"] = caller
            receive = _Body(receive, self._limit(scope)).receive
        except RefusedError as error:
            app = problem_of(error)
        await app(scope, receive, answer)
        if status >= 400 or scope["method"] not in _READS:
            log.info("answered", extra=_told(scope, status, time.monotonic() - began))

    def _limit(self, scope: Scope) -> int:
        """Return how long the body may be, in bytes.

        Raises
        ------
        RefusedError
            It says that it is longer.
        """
        headers = Headers(scope=scope)
        limit = self._film_bytes if body_type(headers) == FILM_TYPE else _JSON_BYTES
        said = headers.get("content-length", "0")
        if not said.isdecimal() or int(said) > limit:
            raise too_large(limit)
        return limit


def body_type(headers: Headers) -> str:
    """Return what a request says of its body, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


class _Body:
    """A request's body, no longer than it may be, in no more time than it may take."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0
        self._more = True
        self._ends = time.monotonic() + _BODY_S

    async def receive(self) -> Message:
        """Return the next piece; once all are there, the end of the connection."""
        if not self._more:
            return await self._receive()
        wait_s = min(_PIECE_S, max(self._ends - time.monotonic(), 0.0))
        try:
            message = await asyncio.wait_for(self._receive(), wait_s)
        except TimeoutError:
            # FastAPI lets its own exceptions through, and makes a 400 of all others.
            raise HTTPException(408, "the body did not come in time") from None
        self._size += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        if self._size > self._limit:
            raise HTTPException(413, too_large(self._limit).what)
        return message


def too_large(limit: int) -> RefusedError:
    """Return what is answered to a body of more than ``limit`` bytes."""
    told = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"
    return RefusedError(413, f"a body of more than {told}", "Send single films")


def _told(scope: Scope, status: int, seconds: float) -> dict[str, Any]:
    route = getattr(scope.get("route"), "path", None)
    told = {
        "request": f"{scope['method']} {route or 'unknown'}",
        "status": status,
        "seconds": round(seconds, 3),
    }
    caller = scope["state"].get("caller")
    if caller is not None:
        told["peer"] = caller.name
    for name, field in (("sop_uid", "film"), ("study_uid", "study")):
        if uid := scope.get("path_params", {}).get(name):
            told[field] = hashed(uid)
    return told
