"""Who stands behind a bundle: a signature covers every byte of it, and trust can end."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from edge_runtime.bundle import (
    MANIFEST,
    SIGNATURE,
    add_signature,
    generate_key,
    load_bundle,
    sign_bundle,
    sign_manifest,
)
from edge_runtime.errors import BundleError, ConfigError
from tests.conftest import must, osteoedge


@pytest.fixture
def signed(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle signed by `hospital`, whose public key lies in the folder `keys`."""
    path = tmp_path / "signed.osteo"
    shutil.copyfile(tiny_bundle, path)
    generate_key(tmp_path / "hospital")
    (tmp_path / "keys").mkdir()
    shutil.copy(tmp_path / "hospital.pub", tmp_path / "keys")
    sign_bundle(path, tmp_path / "hospital")
    return path


def test_a_signed_bundle_is_trusted_where_its_key_is(signed: Path, tmp_path: Path) -> None:
    loaded = load_bundle(signed, trusted_keys=tmp_path / "keys")
    assert loaded.signature is not None
    assert load_bundle(signed).signature == loaded.signature, "checked without any keys, too"


def test_signing_changes_nothing_else(signed: Path, tiny_bundle: Path) -> None:
    before, after = (dict(load_bundle(path).members) for path in (tiny_bundle, signed))
    after.pop(SIGNATURE)
    assert after == before


def test_a_bundle_that_nobody_signed(tiny_bundle: Path, signed: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="the bundle is not signed"):
        load_bundle(tiny_bundle, trusted_keys=tmp_path / "keys")


def test_a_key_that_is_not_trusted(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    generate_key(tmp_path / "others" / "other")
    with pytest.raises(BundleError, match=r"signed with the key [0-9a-f]{16}, which is not trust"):
        load_bundle(signed, trusted_keys=tmp_path / "others")


@pytest.mark.parametrize("what", ["key", "bundle", "manifest"])
def test_trust_ends(signed: Path, tmp_path: Path, what: str) -> None:
    told = json.loads(must(osteoedge("bundle", "show", signed, "--json")).stdout)
    entry = {"key": "signed_by", "bundle": "sha256", "manifest": "manifest_sha256"}[what]
    (tmp_path / "keys" / "revoked.txt").write_text(f"# of May\n{told[entry]}  # lost\n")
    with pytest.raises(BundleError, match="was revoked"):
        load_bundle(signed, trusted_keys=tmp_path / "keys")


def test_a_signature_is_of_one_manifest(signed: Path, tmp_path: Path) -> None:
    """Whoever changes a bundle, checksums and all, cannot change its signature to fit."""
    other = tmp_path / "other.osteo"
    key = tmp_path / "hospital"
    signature = sign_manifest(load_bundle(signed).members[MANIFEST] + b" ", key)
    shutil.copyfile(signed, other)
    add_signature(other, signature)
    with pytest.raises(BundleError, match="the signature is not that of this manifest"):
        load_bundle(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key_id": "0" * 16}, "names another key than its own"),
        ({"schema": "osteoedge.signature/2"}, "the signature is not understood"),
        ({"public_key": "AAAA"}, "the signature is not understood"),
        ({"signature": "no base64!"}, "the signature is not understood"),
        ({"more": 1}, "the signature is not understood"),
    ],
)
def test_changed_signatures(
    signed: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with zipfile.ZipFile(signed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[SIGNATURE] = json.dumps({**json.loads(members[SIGNATURE]), **change}).encode()
    out = tmp_path / "changed.osteo"
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(BundleError, match=message):
        load_bundle(out)


def test_the_verbs(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.osteo"
    shutil.copyfile(tiny_bundle, path)
    made = must(osteoedge("bundle", "keygen", tmp_path / "me")).stdout
    assert (tmp_path / "me").stat().st_mode & 0o777 == 0o600
    must(osteoedge("bundle", "sign", path, "--key", tmp_path / "me"))
    verified = must(osteoedge("bundle", "verify", path, "--trusted-keys", tmp_path)).stdout
    assert "golden vectors. Signed by the trusted key" in " ".join(verified.split())
    identity = json.loads(must(osteoedge("bundle", "show", path, "--json")).stdout)["signed_by"]
    assert identity in made
    shown = must(osteoedge("bundle", "show", path)).stdout
    assert "CC0-1.0" in shown
    assert "Limitations" in must(osteoedge("bundle", "show", path, "--card")).stdout

    again = osteoedge("bundle", "keygen", tmp_path / "me")
    assert again.returncode == 2
    assert "a key is there already" in again.stderr
    unsigned = osteoedge("bundle", "verify", tiny_bundle, "--trusted-keys", tmp_path)
    assert unsigned.returncode == 1
    assert "the bundle is not signed" in unsigned.stderr
    wrong = osteoedge("bundle", "sign", path, "--key", tmp_path / "me.pub")
    assert wrong.returncode == 2
    assert "no private key of Ed25519" in wrong.stderr


def test_a_unit_screens_with_trusted_bundles_only(
    signed: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    import cv2
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 255, (200, 160)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "film.png"), noise)
    run = ("screen", tmp_path / "film.png", "--out", tmp_path, "--trusted-keys", tmp_path / "keys")
    must(osteoedge(*run, "--bundle", signed))
    refused = osteoedge(*run, "--bundle", tiny_bundle)
    assert refused.returncode == 1
    assert "is not signed" in refused.stderr


def test_folders_without_keys(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no public key \(\*\.pub\) in this folder"):
        load_bundle(tiny_bundle, trusted_keys=tmp_path)
    (tmp_path / "broken.pub").write_text("no key")
    with pytest.raises(ConfigError, match=r"broken\.pub: no public key of Ed25519"):
        load_bundle(tiny_bundle, trusted_keys=tmp_path)


def test_openssl_takes_the_keys(tmp_path: Path) -> None:
    """Standard files: an agency can keep its keys with its own tools."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    generate_key(tmp_path / "key")
    shown = subprocess.run(
        [openssl, "pkey", "-in", str(tmp_path / "key"), "-pubout"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.strip() == (tmp_path / "key.pub").read_text().strip()
