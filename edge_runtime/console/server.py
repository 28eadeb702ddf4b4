"""The process of the console: a Unix socket, a TCP port, or both, and one application behind them.

Clients that send nothing, or read nothing, or are too many, are cut off; others do not notice.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_runtime.console.access import Access
from edge_runtime.console.app import Desk, build_app
from edge_runtime.console.events import Events
from edge_runtime.console.guard import Guard
from edge_runtime.console.peers import peer_of
from edge_runtime.console.submit import SLOT, Submitter
from edge_runtime.errors import ConfigError
from edge_runtime.spool import Spool
from edge_runtime.spool.admission import sweep
from edge_runtime.spool.database import INCOMING
from edge_runtime.unit.config import ConsoleSettings, ServerTls, UnitConfig
from edge_runtime.unit.life import Life
from edge_runtime.unit.listening import listen_for
from edge_runtime.unit.mode import load_servable

log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 128
# A request's head may take, and so long may a client not read what it is sent, seconds.
_HEAD_S, _UNREAD_S = 10.0, 30.0
_KEEP_ALIVE_S = 20
# Answers that are on their way when it is asked to stop have that long, seconds.
_GRACE_S = 2
_BEAT_S = 0.2
_BACKLOG = 64


def run(unit: UnitConfig, life: Life) -> None:
    """Answer until asked to stop.

    Raises
    ------
    ConfigError
        The settings do not allow it, or somebody else has the port or the socket.
    GateError
        The bundle may not serve.
    SpoolError
        The spool cannot be used.
    """
    settings = unit.console
    assert settings is not None
    # Of every request that is none it would tell: a scan of ports would fill the log.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    bundle = load_servable(unit.bundle)
    folder = unit.spool.directory
    with Spool(folder) as spool:
        incoming = folder / INCOMING / SLOT
        incoming.mkdir(mode=0o700, exist_ok=True)
        if swept := sweep(spool, incoming):
            log.info("unfinished files deleted", extra={"files": swept})
    film_bytes = settings.film_mib << 20
    access = Access(settings)
    submitter = Submitter(folder, unit.spool.reserve_mib << 20, film_bytes, settings.submit_from)
    desk = Desk(unit, bundle, access, submitter, Events(folder, bundle))
    app = build_app()
    app.state.desk = desk
    guarded = Guard(app, access, film_bytes)
    servers = []
    if settings.socket is not None:
        servers.append((_server(guarded, None), listen_on_socket(settings)))
    if settings.has_port:
        servers.append(
            (_server(guarded, settings.tls), listen_for("console", settings.bind, settings.port))
        )
    asyncio.run(_serve(servers, desk.events, life))
    if settings.socket is not None:
        settings.socket.unlink(missing_ok=True)


def listen_on_socket(settings: ConsoleSettings) -> socket.socket:
    """Return the Unix socket; one that a dead console left is replaced.

    Raises
    ------
    ConfigError
        It cannot be made, or somebody listens there.
    """
    path = settings.socket
    assert path is not None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
            path.unlink()
        listener.bind(str(path))
        # Who may call is asked of the kernel, for each connection.
        path.chmod(0o666 if settings.users else 0o600)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"the socket cannot be made ({error.strerror})",
            "Make its folder for the service's user, or give another in [console]",
            str(path),
        ) from None
    return listener


class _Connection(H11Protocol):
    """One connection: who is at its other end, and how long it may keep still."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask who calls."""
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        peer = peer_of(transport.get_extra_info("socket"))
        self.app_state = {**self.app_state, "peer": peer}
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        super().connection_lost(exc)
        self._head_is_there()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Take what came, and look whether it is a whole head by now."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_is_there()
        elif self._timer is None and not self.transport.is_closing():
            self._wait_for_head()

    def pause_writing(self) -> None:
        """Start a clock: the client does not read."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(_UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop it: the client reads."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _wait_for_head(self) -> None:
        self._timer = self.loop.call_later(_HEAD_S, self.transport.abort)

    def _head_is_there(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Server(uvicorn.Server):
    """Leaves signals to the process's life."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


def _server(app: ASGIApp, tls: ServerTls | None) -> _Server:
    config = uvicorn.Config(
        app,
        http=_Connection,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nobody stands before us whose word on who calls would count.
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
    config.load()
    if tls is not None:
        config.ssl = tls_context(tls)
    return _Server(config)


def tls_context(settings: ServerTls) -> ssl.SSLContext:
    """Return what connections are accepted with: TLS 1.2 or later.

    Raises
    ------
    ConfigError
        A file cannot be read, or is not what it is said to be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a passphrase OpenSSL would ask for one, and wait.
        context.load_cert_chain(settings.certificate, settings.key, password="")
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror
        raise ConfigError(
            f"certificate and key cannot be used ({reason})",
            f"Give as PEM a certificate and its key without passphrase ({settings.key})",
            str(settings.certificate),
        ) from None
    return context


async def _serve(servers: list[tuple[_Server, socket.socket]], events: Events, life: Life) -> None:
    watching = asyncio.create_task(events.watch())
    serving = [
        asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers
    ]
    log.info("answering")
    while not life.stopping and not any(task.done() for task in (watching, *serving)):
        life.beat()
        await asyncio.sleep(_BEAT_S)
    watching.cancel()
    events.close()
    for server, _ in servers:
        server.should_exit = True
    # Films that are being received are answered, if they are not too slow.
    await asyncio.gather(*serving)
    with suppress(asyncio.CancelledError):
        await watching


def _answers(path: Path) -> bool:
    """Tell whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(str(path))
        except OSError:
            return False
        return True
