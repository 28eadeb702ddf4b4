"""`/healthz`, `/readyz` and `/metrics` on loopback, in a thread of the supervisor.

Figures come from the spool, each time they are asked for; none of them tells of a patient.
"""

from __future__ import annotations

import ipaddress
import shutil
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

import edge_runtime
from edge_runtime.drift.status import drift_status
from edge_runtime.errors import ConfigError, OsteoedgeError
from edge_runtime.spool import Spool
from edge_runtime.unit import figures
from edge_runtime.unit.config import HealthSettings, SpoolSettings
from edge_runtime.unit.machine import battery, temperature_c
from edge_runtime.unit.running import open_spool

# The supervisor's loop goes round several times a second.
_STUCK_S = 10.0
_REQUEST_S = 5.0


@dataclass(frozen=True)
class SupervisorFacts:
    """What the supervisor knows and the spool does not.

    Attributes
    ----------
    loop_age_s
        Seconds since its loop last went round.
    restarts
        Its processes by name, and how often each was started again.
    down
        Those of them that are down, and why, in words; the words may be empty.
    """

    loop_age_s: float
    restarts: Mapping[str, int]
    down: Mapping[str, str]


class HealthServer:
    """Answers until it is closed."""

    def __init__(self, server: socketserver.BaseServer, port: int) -> None:
        self._server = server
        self.port = port
        # Told to stop, it looks that often whether it was.
        self._thread = threading.Thread(
            target=server.serve_forever, args=(0.1,), name="health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering, and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve_health(
    settings: HealthSettings,
    spool: SpoolSettings,
    facts: Callable[[], SupervisorFacts],
    system: Path = Path("/"),
) -> HealthServer:
    """Start to answer.

    Parameters
    ----------
    facts
        Called for each request, from another thread.
    system
        Where `sys` lies.

    Raises
    ------
    ConfigError
        The port cannot be used.
    """
    registry = CollectorRegistry()
    registry.register(UnitCollector(spool, facts, system))

    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_S

        def do_GET(self) -> None:
            kind = "text/plain; charset=utf-8"
            if self.path == "/healthz":
                age = facts().loop_age_s
                stuck = [f"the supervisor has not moved for {age:.0f} s"] if age > _STUCK_S else []
                status, body = _verdict(stuck)
            elif self.path == "/readyz":
                status, body = _verdict(not_ready(spool, facts()))
            elif self.path == "/metrics":
                encode, kind = choose_encoder(self.headers.get("Accept", ""))
                status, body = HTTPStatus.OK, encode(registry)
            else:
                status, body = HTTPStatus.NOT_FOUND, b"/healthz, /readyz or /metrics\n"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: it is asked every few seconds."""

    class Server(socketserver.ThreadingTCPServer):
        # Not HTTPServer, which asks the name service for its own name before it starts.
        daemon_threads = True
        allow_reuse_address = True
        address_family = (
            socket.AF_INET6 if ipaddress.ip_address(settings.bind).version == 6 else socket.AF_INET
        )

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing: whoever asked has gone."""

    try:
        server = Server((settings.bind, settings.port), Handler)
    except OSError as error:
        raise ConfigError(
            f"[health] {settings.bind} port {settings.port} cannot be used ({error.strerror})",
            "Choose another port in unit.toml, or stop what holds it",
        ) from None
    return HealthServer(server, server.server_address[1])


def not_ready(spool: SpoolSettings, facts: SupervisorFacts) -> list[str]:
    """Return what keeps the unit from all of its work now; empty where nothing does."""
    reasons = [
        f"the process {name} is down" + (f" ({why})" if why else "")
        for name, why in facts.down.items()
    ]
    try:
        with open_spool(spool.directory) as opened:
            opened.row("SELECT 1 FROM film LIMIT 1")
        if shutil.disk_usage(spool.directory).free < spool.reserve_mib << 20:
            reasons.append("the disk is nearly full: no film is taken")
    except OsteoedgeError as error:
        reasons.append(f"the spool: {error.what}")
    return reasons


class UnitCollector(Collector):
    """What `/metrics` tells, read when it is asked for."""

    def __init__(
        self, spool: SpoolSettings, facts: Callable[[], SupervisorFacts], system: Path = Path("/")
    ) -> None:
        self._spool = spool
        self._facts = facts
        self._system = system

    def describe(self) -> list[Metric]:
        """Return nothing: what there is depends on the unit."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        facts = self._facts()
        yield _gauge("build_info", "Always 1.", ("version",), {(edge_runtime.__version__,): 1})
        up = _by_one({name: name not in facts.down for name in facts.restarts})
        yield _gauge("process_up", "Whether a process is up.", ("process",), up)
        restarts = _by_one(facts.restarts)
        yield _counter("process_restarts", "Starts after the first.", ("process",), restarts)
        ready = not not_ready(self._spool, facts)
        yield _gauge("ready", "Whether all of the unit can work.", (), {(): ready})
        if (heat := temperature_c(self._system)) is not None:
            yield _gauge("temperature_celsius", "Highest that is measured.", (), {(): heat})
        if (cell := battery(self._system)) is not None:
            yield _gauge("battery_ratio", "Charge of the battery.", (), {(): cell.percent / 100})
        try:
            with open_spool(self._spool.directory) as spool:
                families = list(_of_spool(spool))
        except OsteoedgeError:
            families = []
        yield _gauge("spool_up", "Whether the spool can be read.", (), {(): bool(families)})
        yield from families


def _of_spool(spool: Spool) -> Iterator[Metric]:
    films = figures.films_by_state(spool)
    yield _gauge("films", "Films by state.", ("state",), _by_one(films))
    waiting = figures.oldest_waiting_s(spool) or 0.0
    yield _gauge("oldest_waiting_seconds", "Wait of the oldest film, 0: none.", (), {(): waiting})
    decisions = figures.screenings_by_decision(spool)
    yield _counter("screenings", "Results by decision.", ("decision",), _by_one(decisions))
    deliveries = figures.deliveries_by_state(spool)
    yield _gauge("deliveries", "Deliveries by state.", ("destination", "state"), deliveries)
    sent = figures.sent_bytes(spool)
    yield _counter("sent_bytes", "What destinations took.", ("destination",), _by_one(sent))
    set_aside = sum(figures.quarantined(spool).values())
    yield _gauge("quarantined_files", "Files and films set aside.", (), {(): set_aside})
    drift = drift_status(spool)
    told = {found.figure: found for found in drift.figures}
    yield _gauge("drift_watched", "Whether there is a reference.", (), {(): drift.available})
    yield _counter("drift_blocks", "Blocks of studies compared.", (), {(): drift.blocks})
    yield _gauge(
        "drift_alarm", "Whether films drift.", ("figure",),
        _by_one({name: found.alarm for name, found in told.items()}),
    )  # fmt: skip
    yield _gauge(
        "drift_p_value", "Of the newest block.", ("figure",),
        _by_one({name: found.p for name, found in told.items()}),
    )  # fmt: skip
    disk = shutil.disk_usage(spool.folder)
    yield _gauge("disk_free_bytes", "Free space on the spool's file system.", (), {(): disk.free})
    yield _gauge("disk_size_bytes", "Size of the spool's file system.", (), {(): disk.total})


def _by_one(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(key,): value for key, value in values.items()}


def _gauge(
    name: str, words: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> Metric:
    family = GaugeMetricFamily(f"osteoedge_{name}", words, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(
    name: str, words: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> Metric:
    family = CounterMetricFamily(f"osteoedge_{name}", words, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _verdict(reasons: list[str]) -> tuple[HTTPStatus, bytes]:
    if reasons:
        return HTTPStatus.SERVICE_UNAVAILABLE, ("\n".join(reasons) + "\n").encode()
    return HTTPStatus.OK, b"ok\n"
