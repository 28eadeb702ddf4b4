"""`serve --check`: what a unit lacks is found before it serves."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from edge_runtime.console.accounts import make_token
from edge_runtime.errors import ConfigError, GateError
from edge_runtime.spool import Spool
from edge_runtime.spool.audit import record
from edge_runtime.unit.check import Finding, check_unit, exit_code, pass_gates, report
from edge_runtime.unit.cli import check_command
from edge_runtime.unit.config import UnitConfig, load_unit
from edge_runtime.unit.volume import encryption_of, mount_of
from tests.conftest import ROOT
from tests.edge_runtime.bundles import servable_bundle
from tests.edge_runtime.units import settings
from tests.processes import free_port


@pytest.fixture(scope="module")
def research(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return servable_bundle(tiny_bundle, tmp_path_factory.mktemp("bundles"), "research")


def about(findings: list[Finding], what: str) -> list[tuple[str, str]]:
    return [(found.level, found.what) for found in findings if found.about == what]


def levels(findings: list[Finding], what: str) -> list[str]:
    return [level for level, _ in about(findings, what)]


def without_bundle(folder: Path, **sections: object) -> UnitConfig:
    """Settings for what has nothing to do with the model: quick to check."""
    return settings(folder, folder / "none.osteo", folder, **sections)


def test_a_unit_that_can_serve(research: tuple[Path, Path], tmp_path: Path) -> None:
    unit = settings(tmp_path, *research, health={"port": free_port()})
    found = check_unit(unit)
    assert not [finding for finding in found if finding.level == "failure"]
    assert exit_code(found) == 0
    assert "in shadow mode only" in about(found, "bundle")[0][1]
    assert levels(found, "bundle") == ["note"]
    assert about(found, "delegate")[0][0] == "ok"
    assert "waived: a test" in about(found, "encryption")[0][1]
    assert not (tmp_path / "spool").exists(), "a check changes nothing"
    bundle, told = pass_gates(unit)
    assert bundle.manifest.purpose == "research"
    assert [finding.about for finding in told] == ["bundle", "encryption"]
    assert report(found).row_count == len(found)


@pytest.mark.parametrize("purpose", ["unsigned", "foreign", "demo"])
def test_a_bundle_that_may_not_serve(
    research: tuple[Path, Path], tiny_bundle: Path, tmp_path: Path, purpose: str
) -> None:
    path, keys = research
    if purpose == "unsigned":
        path = tiny_bundle
    elif purpose == "foreign":
        keys = servable_bundle(tiny_bundle, tmp_path / "stranger", "research")[1]
    else:
        path, keys = servable_bundle(tiny_bundle, tmp_path / "demo", "demo")
    unit = settings(tmp_path, path, keys)
    found = check_unit(unit)
    assert levels(found, "bundle") == ["failure"]
    assert not about(found, "delegate")
    assert exit_code(found) == 3
    with pytest.raises(GateError):
        pass_gates(unit)


def test_a_bundle_or_keys_that_are_not_there(research: tuple[Path, Path], tmp_path: Path) -> None:
    for path, keys in ((tmp_path / "none.osteo", research[1]), (research[0], tmp_path)):
        unit = settings(tmp_path, path, keys)
        assert exit_code(check_unit(unit)) == 2
        with pytest.raises(ConfigError):
            pass_gates(unit)


def test_a_delegate_that_is_not_there(research: tuple[Path, Path], tmp_path: Path) -> None:
    missing = {"delegate": "external", "fallback": "forbid", "external_delegate": "/none.so"}
    found = check_unit(settings(tmp_path, *research, screening=missing))
    assert levels(found, "delegate") == ["failure"]
    assert exit_code(found) == 2
    found = check_unit(settings(tmp_path, *research, screening={**missing, "fallback": "allow"}))
    assert levels(found, "delegate")[:2] == ["ok", "warning"], "another takes over, and it is said"


def a_system(root: Path, spool_on: str, kind: str = "ext4", source: str = "/dev/sda2") -> Path:
    """Write what Linux tells of a disk sda, LUKS volumes, and logical volumes over them."""
    mounts = [
        "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
        f"30 25 {spool_on} / /var/lib/osteo\\040edge rw - {kind} {source} rw",
    ]
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text("\n".join(mounts) + "\n")
    devices = {
        # name: number, what the device mapper calls it, what it lies on
        "sda1": ("8:1", "", []),
        "sda2": ("8:2", "", []),
        "dm-0": ("254:0", "CRYPT-LUKS2-0123-luks", ["sda2"]),
        "dm-1": ("254:1", "LVM-abc", ["dm-0"]),
        "dm-2": ("254:2", "LVM-def", ["sda2"]),
        "dm-3": ("254:3", "LVM-mixed", ["dm-0", "sda1"]),
        "md0": ("9:0", "", ["dm-0", "dm-1"]),
    }
    for name, (number, uuid, below) in devices.items():
        device = root / "sys/devices" / name
        (device / "slaves").mkdir(parents=True)
        if uuid:
            (device / "dm").mkdir()
            (device / "dm/uuid").write_text(uuid + "\n")
        for part in below:
            (device / "slaves" / part).symlink_to(root / "sys/devices" / part)
        (root / "sys/dev/block").mkdir(parents=True, exist_ok=True)
        (root / "sys/dev/block" / number).symlink_to(device)
    (root / "dev/mapper").mkdir(parents=True)
    for number, parts in enumerate((("dm-0", "dm-1"), ("dm-1", "sda1", "dm-3"))):
        devices_of = root / f"sys/fs/btrfs/uuid-{number}/devices"
        devices_of.mkdir(parents=True)
        for name in parts:
            (devices_of / name).symlink_to(root / "sys/devices" / name)
    for name, target in (("luks", "dm-0"), ("luks-1", "dm-3")):
        (root / "dev" / target).touch()
        (root / "dev/mapper" / name).symlink_to(f"../{target}")
    return root


SPOOL = Path("/var/lib/osteo edge/spool")


@pytest.mark.parametrize(
    ("number", "kind", "source", "expected"),
    [
        ("8:2", "ext4", "/dev/sda2", "not encrypted"),
        ("254:0", "ext4", "/dev/mapper/luks", "encrypted"),
        ("254:1", "xfs", "/dev/mapper/lv", "encrypted"),
        ("254:2", "xfs", "/dev/mapper/lv", "not encrypted"),
        ("254:3", "ext4", "/dev/mapper/lv", "not encrypted"),
        ("9:0", "ext4", "/dev/md0", "encrypted"),
        ("0:33", "btrfs", "/dev/mapper/luks", "encrypted"),
        ("0:33", "btrfs", "/dev/mapper/luks-1", "not encrypted"),
        ("0:33", "btrfs", "/dev/sda2", "not known"),
        ("0:40", "zfs", "tank/spool", "not known"),
        ("0:41", "nfs4", "server:/films", "not known"),
    ],
)
def test_whether_a_volume_is_encrypted(
    tmp_path: Path, number: str, kind: str, source: str, expected: str
) -> None:
    system = a_system(tmp_path, number, kind, source)
    assert mount_of(SPOOL, system).kind == kind
    assert encryption_of(SPOOL, system) == expected
    assert encryption_of(Path("/var/lib/other"), system) == "not encrypted", "what / lies on"


def test_a_mount_that_covers_another(tmp_path: Path) -> None:
    system = a_system(tmp_path, "254:0")
    with (system / "proc/self/mountinfo").open("a") as mounts:
        mounts.write("31 30 8:2 / /var/lib/osteo\\040edge rw - xfs /dev/sda2 rw\n")
    assert (mount_of(SPOOL, system).kind, encryption_of(SPOOL, system)) == ("xfs", "not encrypted")


@pytest.mark.parametrize(
    ("number", "waiver", "level", "code"),
    [
        ("254:0", None, "ok", 0),
        ("8:2", None, "failure", 3),
        ("0:40", None, "failure", 3),
        ("8:2", " ", "failure", 3),
        ("8:2", "self-encrypting drive", "warning", 0),
    ],
)
def test_films_on_a_volume_without_encryption(
    research: tuple[Path, Path], tmp_path: Path, number: str, waiver: str | None, level: str,
    code: int,
) -> None:  # fmt: skip
    system = a_system(tmp_path / "root", number)
    unit = settings(tmp_path, *research, spool={"directory": SPOOL, "unencrypted_because": waiver})
    found = [one for one in check_unit(unit, system) if one.about == "encryption"]
    assert [one.level for one in found] == [level]
    assert exit_code(found) == code
    if code == 3:
        with pytest.raises(GateError, match="for patients' films"):
            pass_gates(unit, system)
    else:
        pass_gates(unit, system)
    if waiver and waiver.strip():
        assert waiver in found[0].what


@pytest.mark.parametrize("kind", ["tmpfs", "overlay", "nfs4", "vfat"])
def test_a_file_system_that_forgets(tmp_path: Path, kind: str) -> None:
    system = a_system(tmp_path / "root", "0:50", kind, kind)
    unit = without_bundle(tmp_path, spool={"directory": SPOOL})
    assert any(kind in what for _, what in about(check_unit(unit, system), "spool"))


def test_a_spool_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.fsync", refuse)
    found = check_unit(without_bundle(tmp_path))
    assert ("failure", f"nothing can be kept in {tmp_path} (Read-only file system)") in about(
        found, "spool"
    )


def test_a_spool_that_others_look_into(tmp_path: Path) -> None:
    unit = without_bundle(tmp_path)
    Spool(unit.spool.directory).close()
    assert levels(check_unit(unit), "spool")[0] == "ok"
    assert not any("other users" in what for _, what in about(check_unit(unit), "spool"))
    unit.spool.directory.chmod(0o755)
    assert any("other users" in what for _, what in about(check_unit(unit), "spool"))


def test_space(tmp_path: Path) -> None:
    disk = shutil.disk_usage(tmp_path)
    for reserve, level in (
        (10, "ok"),
        ((disk.free >> 20) + 1000, "warning"),
        ((disk.total >> 20) + 1000, "failure"),
    ):
        unit = without_bundle(tmp_path, spool={"directory": tmp_path, "reserve_mib": reserve})
        assert levels(check_unit(unit), "space") == [level]


def test_ports(tmp_path: Path) -> None:
    port = free_port()
    intake, health = {"dicom": {"port": port}}, {"port": free_port()}
    unit = without_bundle(tmp_path, intake=intake, health=health)
    assert levels(check_unit(unit), "port") == ["ok", "ok"]
    both = without_bundle(tmp_path, intake=intake, health={"port": port})
    assert levels(check_unit(both), "port") == ["ok", "failure"], "ours on one port"
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert levels(check_unit(unit), "port") == ["failure", "ok"]
    elsewhere = {"dicom": {"bind": "192.0.2.1", "port": port, "peers": [{"ae_title": "CT"}]}}
    assert levels(check_unit(without_bundle(tmp_path, intake=elsewhere)), "port") == ["failure"]


def test_a_port_that_the_running_service_has(tmp_path: Path) -> None:
    unit = without_bundle(tmp_path, health={"port": free_port()})
    unit.spool.directory.mkdir()
    script = (
        "import fcntl, os, socket, sys\n"
        f"lock = open({str(unit.spool.directory / 'serve.lock')!r}, 'w')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print(os.getpid(), file=lock, flush=True)\n"
        f"server = socket.create_server(('127.0.0.1', {unit.health.port if unit.health else 0}))\n"
        "print('serves', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as service:
        assert service.stdout is not None and service.stdout.readline() == b"serves\n"
        assert levels(check_unit(unit), "port") == ["note"]
        service.communicate()
    assert levels(check_unit(unit), "port") == ["ok"]


def test_watched_folders(tmp_path: Path) -> None:
    def watching(path: Path) -> list[str]:
        unit = without_bundle(tmp_path, intake={"folders": [{"path": path}]})
        return levels(check_unit(unit), "folder")

    (tmp_path / "usb").mkdir()
    assert watching(tmp_path / "usb") == ["ok"]
    assert watching(tmp_path / "unplugged") == ["warning"]
    assert watching(tmp_path) == ["failure"], "the spool lies within"
    assert watching(tmp_path / "spool" / "films") == ["failure"]


def test_what_the_console_needs(tmp_path: Path) -> None:
    token, sockets = tmp_path / "token", tmp_path / "run"
    console: dict[str, object] = {
        "token_file": token, "socket": sockets / "console.sock", "port": free_port(),
        "submit_from": [tmp_path / "films"],
    }  # fmt: skip

    def told(**changes: object) -> list[tuple[str, str]]:
        return about(check_unit(without_bundle(tmp_path, console=console | changes)), "console")

    assert [level for level, _ in told()] == ["failure", "failure", "warning"]
    assert "the token cannot be read" in told()[0][1]
    make_token(token)
    sockets.mkdir()
    (tmp_path / "films").mkdir()
    assert [level for level, _ in told()] == ["ok", "ok"]
    token.chmod(0o644)
    assert ("failure", f"{token}: other users may read the token") in told()
    assert "there is no such user" in told(users=["no-such-user"])[0][1]
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = other.getsockname()[1]
        taken = without_bundle(tmp_path, console=console | {"port": port})
        assert "failure" in levels(check_unit(taken), "port")
    tls = {"certificate": tmp_path / "absent.pem", "key": tmp_path / "absent.key"}
    findings = check_unit(without_bundle(tmp_path, console=console | {"tls": tls}))
    assert levels(findings, "tls of the console") == ["failure", "failure"]


def write_certificate(folder: Path, name: str, days: float) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    private = folder / f"{name}.key"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private.chmod(0o600)
    return folder / f"{name}.pem", private


@pytest.mark.parametrize(("days", "level"), [(400.0, "ok"), (29.0, "warning"), (-1.0, "failure")])
def test_certificates_end(tmp_path: Path, days: float, level: str) -> None:
    certificate, key = write_certificate(tmp_path, "unit", days)
    authority, _ = write_certificate(tmp_path, "authority", 4000)
    files = {"certificate": certificate, "key": key, "authority": authority}
    unit = without_bundle(tmp_path, intake={"dicom": {"port": free_port(), "tls": files}})
    assert levels(check_unit(unit), "[intake.dicom.tls]") == [level, "ok"]


def test_one_certificate_of_several_ends(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "unit", 400)
    old, _ = write_certificate(tmp_path, "old", -1)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(certificate.read_bytes() + old.read_bytes())
    files = {"certificate": certificate, "key": key, "authority": chain}
    unit = without_bundle(tmp_path, intake={"dicom": {"port": free_port(), "tls": files}})
    assert levels(check_unit(unit), "[intake.dicom.tls]") == ["ok", "failure"]


def test_tls_files_that_do_not_do(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "unit", 400)
    _, other = write_certificate(tmp_path, "other", 400)

    def told(**files: Path) -> list[tuple[str, str]]:
        tls = {"certificate": certificate, "key": key, "authority": certificate, **files}
        pacs = {"kind": "dicom", "name": "pacs", "host": "localhost", "port": 104,
                "ae_title": "PACS", "tls": tls}  # fmt: skip
        found = check_unit(without_bundle(tmp_path, destinations=[pacs]))
        return [one for one in about(found, "tls of pacs") if one[0] != "ok"]

    assert told() == []
    assert told(key=other) == [("failure", f"{other} is not the key of {certificate}")]
    assert told(key=certificate)[-1] == ("failure", f"{certificate} is no key without passphrase")
    assert "(No such file or directory)" in told(authority=tmp_path / "none.pem")[0][1]
    assert "holds no certificate" in told(certificate=key)[0][1]
    key.chmod(0o644)
    assert told() == [("warning", f"other users may read {key}")]


def test_what_a_web_destination_needs(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "unit", 400)
    both, token = tmp_path / "both.pem", tmp_path / "token"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    both.chmod(0o600)
    web = {"kind": "stow", "name": "web", "url": "http://localhost/dicom-web",
           "certificate": both, "authority": certificate, "token_file": token}  # fmt: skip
    unit = without_bundle(tmp_path, destinations=[web])
    found = check_unit(unit)
    assert levels(found, "tls of web") == ["ok"]
    assert levels(found, "authority of web") == ["ok"]
    assert levels(found, "token of web") == ["failure"]
    assert levels(found, "destination") == ["ok"]
    token.write_text("secret")
    token.chmod(0o600)
    assert levels(check_unit(unit), "token of web") == []


def test_a_destination_that_nobody_knows(tmp_path: Path) -> None:
    pacs = {"kind": "dicom", "name": "pacs", "host": "pacs.invalid", "port": 104,
            "ae_title": "PACS"}  # fmt: skip
    found = check_unit(without_bundle(tmp_path, destinations=[pacs]))
    assert levels(found, "destination") == ["warning"], "the network may be away"


def test_the_clock_went_back(tmp_path: Path) -> None:
    unit = without_bundle(tmp_path)
    assert levels(check_unit(unit), "clock") == ["ok"]
    with Spool(unit.spool.directory) as spool, spool.transaction() as execute:
        record(execute, time.time() + 3600, "screened")
    assert levels(check_unit(unit), "clock") == ["warning"]


def test_a_bundle_from_the_future(research: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "later.osteo"
    shutil.copy(research[0], path)
    os.utime(path, (time.time() + 1e6, time.time() + 1e6))
    assert levels(check_unit(settings(tmp_path, path, research[1])), "clock") == ["warning"]


def test_keys_that_everybody_may_change(research: tuple[Path, Path], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    shutil.copytree(research[1], keys)
    assert levels(check_unit(settings(tmp_path, tmp_path / "none", keys)), "keys") == []
    keys.chmod(0o777)
    assert levels(check_unit(settings(tmp_path, tmp_path / "none", keys)), "keys") == ["warning"]


def test_what_is_printed(
    research: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    unit = settings(tmp_path, *research)
    assert check_command(unit, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["about"] for one in told} >= {"bundle", "delegate", "encryption", "spool"}
    assert {one["level"] for one in told} <= {"ok", "note", "warning", "failure"}
    assert check_command(settings(tmp_path, tmp_path / "none.osteo", research[1])) == 2
    out = capsys.readouterr().out
    assert "the bundle cannot be read" in out
    assert "Correct [bundle] path" in out


def test_the_example_is_understood() -> None:
    unit = load_unit(ROOT / "docs/unit.toml")
    assert unit.name == "xray-3"
    assert {one.name for one in unit.destinations} == {"pacs", "cloud"}
    assert unit.bundle.path == ROOT / "docs/knee.osteo"
