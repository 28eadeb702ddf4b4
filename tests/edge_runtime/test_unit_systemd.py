"""What systemd is told, and what it is told to do."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from edge_runtime.unit.systemd import notify, watchdog_s
from tests.conftest import ROOT, need

SERVICE = ROOT / "packaging/osteoedge.service"


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_gets_one_datagram_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"osteoedge-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name if abstract else name)
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        assert notify("READY=1", "STATUS=3 films wait")
        assert notify("WATCHDOG=1")
        assert systemd.recv(1000) == b"READY=1\nSTATUS=3 films wait"
        assert systemd.recv(1000) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", [None, "", "relative", "/no/such/socket"])
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("30000000", None, 15.0),
        ("30000000", "ours", 15.0),
        ("30000000", "another's", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_looks(
    monkeypatch: pytest.MonkeyPatch,
    microseconds: str | None,
    pid: str | None,
    seconds: float | None,
) -> None:
    pids = {"ours": os.getpid(), "another's": os.getpid() + 1, None: None}
    for name, value in (("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", pids[pid])):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, str(value))
    assert watchdog_s() == seconds


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """The unit file, with a command that is there."""
    need(shutil.which("systemd-analyze"), "systemd-analyze (Debian package systemd)")
    path = tmp_path / SERVICE.name
    path.write_text(SERVICE.read_text().replace("/opt/osteoedge/bin/osteoedge", "/bin/true"))
    return path


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_understands_every_line(service: Path) -> None:
    result = analyze("verify", service)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_service_is_shut_in(service: Path) -> None:
    need("--offline" in analyze("--help").stdout, "systemd-analyze of systemd 250 or later")
    result = analyze("security", "--offline=true", "--threshold=20", service)
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
    assert level, result.stdout + result.stderr
    assert float(level[1]) <= 2.0, "0: no exposure, 10: all of it"
    assert result.returncode == 0
