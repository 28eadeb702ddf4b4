"""What a unit tells of itself: `status`, the verbs around it, health and metrics."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_runtime.bundle import load_bundle
from edge_runtime.engine import DelegateUse
from edge_runtime.errors import ConfigError
from edge_runtime.rejection import Reason
from edge_runtime.spool import Spool
from edge_runtime.spool.admission import Received, quarantine
from edge_runtime.spool.audit import hashed, head
from edge_runtime.spool.withdrawal import withdraw
from edge_runtime.unit.config import HealthSettings, UnitConfig
from edge_runtime.unit.health import HealthServer, SupervisorFacts, serve_health
from edge_runtime.unit.mode import go_live, go_shadow
from edge_runtime.unit.running import LOCK
from edge_runtime.unit.status import (
    DEGRADED_SETTING,
    DELEGATE_SETTING,
    Status,
    read_status,
    report,
)
from tests.conftest import ROOT, must, osteoedge
from tests.edge_runtime.bundles import servable_bundle
from tests.edge_runtime.units import receive, screen, send, settings
from tests.processes import free_port

FILM = "1.2.826.0.1.3680043.8.498."


@pytest.fixture(scope="module")
def evaluated(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return servable_bundle(tiny_bundle, tmp_path_factory.mktemp("bundles"), "evaluated")


@pytest.fixture
def unit(evaluated: tuple[Path, Path], tmp_path: Path) -> UnitConfig:
    """A unit that has received four films, screened three, and sent one of two results."""
    unit = settings(tmp_path, *evaluated)
    with Spool(unit.spool.directory, clock=lambda: 1.6e9) as spool:
        for number, study in enumerate(("1.2.3", "1.2.3", "1.2.4", "1.2.5")):
            receive(spool, f"{FILM}{number}", study)
        for decision in ("urgent_review", "not_flagged", "unable"):
            screen(spool, decision)
        send(spool)
        send(spool, "connection refused")
        odd = spool.folder / "incoming" / "odd"
        odd.write_bytes(b"no DICOM")
        quarantine(spool, Received(odd, "q" * 64, 8, "folder:usb"), "no DICOM file")
    return unit


def a_machine(root: Path) -> Path:
    """Write what Linux tells of sensors and batteries."""
    files = {
        "thermal/thermal_zone0/temp": "41500",
        "thermal/thermal_zone1/temp": "63200",
        "thermal/thermal_zone2/temp": "off",
        "power_supply/AC/type": "Mains",
        "power_supply/BAT0/type": "Battery",
        "power_supply/BAT0/capacity": "80",
        "power_supply/BAT0/status": "Discharging",
        "power_supply/BAT1/type": "Battery",
        "power_supply/BAT1/capacity": "35",
        "power_supply/BAT1/status": "Charging",
        "power_supply/mouse/type": "Battery",
        "power_supply/mouse/scope": "Device",
        "power_supply/mouse/capacity": "3",
    }
    for name, text in files.items():
        path = root / "sys/class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def test_the_status_of_a_unit(unit: UnitConfig, tmp_path: Path) -> None:
    found = read_status(unit, a_machine(tmp_path / "root"))
    assert {state: films for state, films in found.films.items() if films} == {
        "received": 1, "reported": 2, "unable": 1,
    }  # fmt: skip
    assert found.oldest_waiting_s is not None and found.oldest_waiting_s > 1e8
    assert (found.studies.total, found.studies.unreported) == (2, 2)
    pacs = found.destinations["pacs"]
    assert (pacs.waiting, pacs.sent, pacs.last_error) == (2, 1, "connection refused")
    assert pacs.sent_bytes_today == 0, "it was sent years ago"
    assert found.quarantine == {"no DICOM file": 1}
    assert (found.temperature_c, found.battery and found.battery.percent) == (63.2, 35)
    assert found.battery is not None and found.battery.status == "Charging"
    assert (found.running, found.pid, found.delegate, found.degraded) == (False, None, None, ())
    with Spool(unit.spool.directory) as spool:
        assert found.audit_head == head(spool)
    assert found.disk.reserve == 10 << 20
    assert Status.model_validate_json(found.model_dump_json(by_alias=True)) == found
    assert sum(table.row_count for table in report(found)) > 10


def test_a_machine_that_tells_nothing(unit: UnitConfig, tmp_path: Path) -> None:
    found = read_status(unit, tmp_path)
    assert (found.temperature_c, found.battery) == (None, None)


def test_what_was_sent_today(unit: UnitConfig) -> None:
    with Spool(unit.spool.directory) as spool:
        send(spool)
    assert read_status(unit).destinations["pacs"].sent_bytes_today == 6


def test_an_error_of_what_waits_no_more(unit: UnitConfig) -> None:
    with Spool(unit.spool.directory) as spool:
        for study in ("1.2.3", "1.2.4"):
            withdraw(spool, study, Reason.QUALITY, "Dr M. Weber")
    pacs = read_status(unit).destinations["pacs"]
    assert (pacs.cancelled, pacs.last_error) == (2, None)


def test_results_of_shadow_mode_are_not_shown(unit: UnitConfig) -> None:
    found = read_status(unit)
    assert found.mode.mode == "shadow" and found.mode.person is None
    assert [result.decision for result in found.last_results] == [None] * 3
    assert all(result.shadow for result in found.last_results)
    assert found.last_results[0].film == hashed(f"{FILM}2"), "newest first"
    with Spool(unit.spool.directory) as spool:
        go_live(spool, load_bundle(unit.bundle.path), "Dr M. Weber", "pilot")
    found = read_status(unit)
    assert (found.mode.mode, found.mode.person) == ("live", "Dr M. Weber")
    assert all(result.shadow for result in found.last_results), "made before"
    with Spool(unit.spool.directory) as spool:
        screen(spool, "routine_review")
    found = read_status(unit)
    assert [result.decision for result in found.last_results][:2] == ["routine_review", None]
    with Spool(unit.spool.directory) as spool:
        go_shadow(spool, load_bundle(unit.bundle.path), "Dr M. Weber", "review")
    assert [result.decision for result in read_status(unit).last_results] == [None] * 4


def test_what_the_worker_and_the_supervisor_leave(unit: UnitConfig) -> None:
    use = DelegateUse(name="cpu", version="2.1", threads=2, rejected={"gpu": "none"})
    with Spool(unit.spool.directory) as spool, spool.transaction() as execute:
        for key, value in (
            (DELEGATE_SETTING, use.model_dump_json()),
            (DEGRADED_SETTING, json.dumps(["the GPU failed"])),
        ):
            execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", key, value)
    with (unit.spool.directory / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        found = read_status(unit)
    assert (found.running, found.pid) == (True, os.getpid())
    assert (found.delegate, found.degraded) == (use, ("the GPU failed",))
    assert not read_status(unit).running


def test_a_bundle_that_may_not_serve(unit: UnitConfig, tiny_bundle: Path) -> None:
    bundle = unit.bundle.model_copy(update={"path": tiny_bundle})
    found = read_status(unit.model_copy(update={"bundle": bundle}))
    assert (found.mode.mode, found.mode.bundle) == ("shadow", None)
    assert found.mode.refused == "the bundle is not signed"


def test_a_writer_at_work_does_not_hold_up_who_looks(unit: UnitConfig) -> None:
    with Spool(unit.spool.directory) as spool, spool.transaction() as execute:
        execute("DELETE FROM quarantine")
        assert read_status(unit).quarantine == {"no DICOM file": 1}, "not done yet"
    assert read_status(unit).quarantine == {}


def test_there_is_no_spool_yet(evaluated: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no spool is here yet"):
        read_status(settings(tmp_path, *evaluated))
    assert not (tmp_path / "spool").exists()


# --- the verbs ---


@pytest.fixture
def config(unit: UnitConfig, tmp_path: Path) -> Path:
    """The same unit's unit.toml."""
    path = tmp_path / "unit.toml"
    path.write_text(
        f'[bundle]\npath = "{unit.bundle.path}"\ntrusted_keys = "{unit.bundle.trusted_keys}"\n'
        '[spool]\ndirectory = "spool"\n[[intake.folders]]\npath = "watched"\n'
        '[[destinations]]\nkind = "dicom"\nname = "pacs"\nhost = "localhost"\nport = 104\n'
        'ae_title = "PACS"\n'
    )
    return path


def test_the_verb_status(config: Path) -> None:
    document = json.loads(must(osteoedge("status", "--config", config, "--json")).stdout)
    assert document["schema"] == "osteoedge.status/1"
    assert document["films"]["received"] == 1
    told = must(osteoedge("status", "--config", config)).stdout
    assert "Bone-tumour check only, not a normal report" in " ".join(told.split())
    assert FILM not in told


def test_the_verbs_of_mode_and_audit(config: Path) -> None:
    refused = osteoedge("mode", "live", "--config", config, "--by", " ", "--reason", "pilot")
    assert (refused.returncode, refused.stdout) == (2, "")
    who = ("--config", config, "--by", "Dr M. Weber", "--reason", "pilot")
    assert must(osteoedge("mode", "live", *who)).stdout.startswith("live: ")
    shown = must(osteoedge("mode", "show", "--config", config)).stdout
    assert shown.startswith("live: ") and "by Dr M. Weber: pilot" in shown
    must(osteoedge("mode", "shadow", *who))
    verified = must(osteoedge("audit", "verify", "--config", config)).stdout
    last = must(osteoedge("audit", "show", "--config", config, "--last", 2, "--json")).stdout
    entries = [json.loads(line) for line in last.splitlines()]
    assert [(entry["event"], entry["mode"]) for entry in entries] == [
        ("mode", "live"), ("mode", "shadow"),
    ]  # fmt: skip
    assert verified.strip().endswith(entries[-1]["sha256"])


def test_a_research_bundle_stays_in_shadow_mode(
    config: Path, unit: UnitConfig, tiny_bundle: Path, tmp_path: Path
) -> None:
    path, keys = servable_bundle(tiny_bundle, tmp_path / "research", "research")
    text = config.read_text().replace(str(unit.bundle.path), str(path))
    config.write_text(text.replace(str(unit.bundle.trusted_keys), str(keys)))
    result = osteoedge("mode", "live", "--config", config, "--by", "me", "--reason", "why not")
    assert (result.returncode, result.stdout) == (3, "")
    assert "a research bundle does not leave shadow mode" in result.stderr


def test_the_verb_withdraw(config: Path, unit: UnitConfig) -> None:
    ask = ("--config", config, "--reason", "patient-safety", "--by", "Dr M. Weber")
    result = must(osteoedge("withdraw", f"{FILM}0", *ask))
    assert result.stdout.startswith("1 withdrawn (Rejected for Patient Safety Reasons)")
    assert read_status(unit).films["withdrawn"] == 1
    unknown = osteoedge("withdraw", f"{FILM}99", *ask)
    assert unknown.returncode == 1
    assert "holds no film or study" in unknown.stderr and FILM not in unknown.stderr
    nobody = osteoedge("withdraw", "1.2.4", *ask[:-1], " ")
    assert nobody.returncode == 2
    newest = must(osteoedge("audit", "show", "--config", config, "--last", 1)).stdout
    assert "person Dr M. Weber" in newest and FILM not in newest


# --- health ---


FACTS = SupervisorFacts(loop_age_s=0.1, restarts={"worker": 2, "receiver-1": 0}, down={})


class Unit:
    """A served unit whose facts a test changes."""

    def __init__(self, server: HealthServer) -> None:
        self.server = server
        self.facts = FACTS

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def served(unit: UnitConfig, tmp_path: Path) -> Iterator[Unit]:
    machine = a_machine(tmp_path / "root")
    server = serve_health(
        HealthSettings(port=free_port()), unit.spool, lambda: running.facts, machine
    )
    running = Unit(server)
    yield running
    server.close()


def test_a_healthy_unit(served: Unit) -> None:
    assert served.get("/healthz") == (200, "ok\n")
    assert served.get("/readyz") == (200, "ok\n")
    assert served.get("/")[0] == 404


def test_a_loop_that_hangs(served: Unit) -> None:
    served.facts = replace(FACTS, loop_age_s=60.0)
    assert served.get("/healthz") == (503, "the supervisor has not moved for 60 s\n")


def test_not_ready(served: Unit, unit: UnitConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    served.facts = replace(FACTS, down={"worker": "refused: see the log", "receiver-1": ""})
    assert served.get("/readyz") == (
        503,
        "the process worker is down (refused: see the log)\nthe process receiver-1 is down\n",
    )
    processes = [line for line in served.get("/metrics")[1].splitlines() if "process_up{" in line]
    assert processes == [
        'osteoedge_process_up{process="worker"} 0.0',
        'osteoedge_process_up{process="receiver-1"} 0.0',
    ]
    served.facts = FACTS
    usage = type("Usage", (), {"free": 1 << 20, "total": 1 << 30})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert served.get("/readyz") == (503, "the disk is nearly full: no film is taken\n")


def test_a_spool_that_is_gone(served: Unit, unit: UnitConfig) -> None:
    (unit.spool.directory / "spool.db").rename(unit.spool.directory / "moved.db")
    status, body = served.get("/readyz")
    assert (status, body.startswith("the spool: ")) == (503, True)
    assert "osteoedge_spool_up 0.0" in served.get("/metrics")[1]


def test_metrics(served: Unit) -> None:
    status, text = served.get("/metrics")
    assert status == 200
    values = {
        (sample.name.removeprefix("osteoedge_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    expected = {
        ("films", "received"): 1, ("films", "screening"): 0, ("screenings_total", "unable"): 1,
        ("screenings_total", "routine_review"): 0, ("deliveries", "pacs", "sent"): 1,
        ("deliveries", "pacs", "waiting"): 2, ("sent_bytes_total", "pacs"): 6,
        ("quarantined_files",): 1, ("process_up", "worker"): 1,
        ("process_restarts_total", "worker"): 2, ("ready",): 1, ("spool_up",): 1,
        ("temperature_celsius",): 63.2, ("battery_ratio",): 0.35,
    }  # fmt: skip
    assert {key: values.get(key) for key in expected} == expected
    assert values[("oldest_waiting_seconds",)] > 1e8
    assert values[("disk_free_bytes",)] > 0
    assert FILM not in text and "1.2.3" not in text
    assert "# EOF" in served.get(
        "/metrics", Accept="application/openmetrics-text; version=1.0.0"
    )[1], "OpenMetrics, where it is asked for"  # fmt: skip


def test_every_metric_is_described(served: Unit) -> None:
    described = (ROOT / "docs/serving.md").read_text()
    for family in text_string_to_metric_families(served.get("/metrics")[1]):
        assert family.documentation
        for name in {sample.name for sample in family.samples}:
            assert f"`{name.removeprefix('osteoedge_')}`" in described, name


def test_a_port_that_is_taken(served: Unit, unit: UnitConfig) -> None:
    taken = HealthSettings(port=served.server.port)
    with pytest.raises(ConfigError, match="cannot be used"):
        serve_health(taken, unit.spool, lambda: FACTS)


def test_the_port_is_free_again(served: Unit) -> None:
    port = served.server.port
    served.get("/metrics")
    served.server.close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
        again.listen()
