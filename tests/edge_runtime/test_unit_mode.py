"""Shadow mode: what may serve, and who lets results out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge_runtime.bundle import ModelBundle, Purpose, generate_key, load_bundle, sign_bundle
from edge_runtime.errors import ConfigError, GateError
from edge_runtime.spool import Spool
from edge_runtime.spool.audit import entries, verify
from edge_runtime.unit.config import BundleSettings
from edge_runtime.unit.mode import current_mode, go_live, go_shadow, is_live, load_servable
from tests.edge_runtime.bundles import servable_bundle


@pytest.fixture(scope="module")
def bundles(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a signed bundle of every purpose, and the maker's key."""
    folder = tmp_path_factory.mktemp("bundles")
    purposes: tuple[Purpose, ...] = ("demo", "research", "evaluated")
    for purpose in purposes:
        servable_bundle(tiny_bundle, folder, purpose)
    return folder


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def loaded(folder: Path, purpose: str) -> ModelBundle:
    path = folder / f"{purpose}.osteo"
    return load_servable(BundleSettings(path=path, trusted_keys=folder / "trusted"))


def test_what_may_serve(bundles: Path) -> None:
    assert loaded(bundles, "research").manifest.purpose == "research"
    assert loaded(bundles, "evaluated").manifest.purpose == "evaluated"
    with pytest.raises(GateError, match="never serves"):
        loaded(bundles, "demo")


def test_nobody_signed_it_or_a_stranger(bundles: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    trusted = bundles / "trusted"
    with pytest.raises(GateError, match="not signed"):
        load_servable(BundleSettings(path=tiny_bundle, trusted_keys=trusted))
    foreign = tmp_path / "foreign.osteo"
    shutil.copy(bundles / "evaluated.osteo", foreign)
    generate_key(tmp_path / "stranger")
    sign_bundle(foreign, tmp_path / "stranger")
    with pytest.raises(GateError, match="not trusted here"):
        load_servable(BundleSettings(path=foreign, trusted_keys=trusted))


def test_a_damaged_bundle_and_one_that_is_not_there(bundles: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.osteo"
    data = (bundles / "evaluated.osteo").read_bytes()
    half.write_bytes(data[: len(data) // 2])
    with pytest.raises(GateError):
        load_servable(BundleSettings(path=half, trusted_keys=bundles / "trusted"))
    missing = tmp_path / "missing.osteo"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_servable(BundleSettings(path=missing, trusted_keys=bundles / "trusted"))


def test_a_unit_starts_in_shadow_mode_and_a_person_lets_it_out(bundles: Path, spool: Spool) -> None:
    bundle = loaded(bundles, "evaluated")
    assert not is_live(spool, bundle)
    go_live(spool, bundle, " Dr M. Weber ", "pilot approved")
    assert is_live(spool, bundle)
    now = current_mode(spool, bundle)
    assert (now.person, now.reason) == ("Dr M. Weber", "pilot approved")
    go_shadow(spool, bundle, "Dr M. Weber", "new detector")
    assert not is_live(spool, bundle)
    assert [(entry.event, entry.facts["mode"], entry.facts["person"]) for entry in entries(spool)] \
        == [("mode", "live", "Dr M. Weber"), ("mode", "shadow", "Dr M. Weber")]  # fmt: skip
    verify(spool)


def test_another_bundle_starts_in_shadow_mode(bundles: Path, spool: Spool, tmp_path: Path) -> None:
    bundle = loaded(bundles, "evaluated")
    go_live(spool, bundle, "Dr M. Weber", "pilot approved")
    other = tmp_path / "other.osteo"
    shutil.copy(bundles / "evaluated.osteo", other)
    generate_key(tmp_path / "other")
    sign_bundle(other, tmp_path / "other")
    assert not is_live(spool, load_bundle(other)), "the same model, signed by another"
    assert is_live(spool, bundle)


@pytest.mark.parametrize(
    ("person", "reason"), [("", "why"), ("who", ""), (" ", "why"), ("w", "\t")]
)
def test_a_change_needs_a_person_and_a_reason(
    bundles: Path, spool: Spool, person: str, reason: str
) -> None:
    bundle = loaded(bundles, "evaluated")
    with pytest.raises(ConfigError, match="a named person and a reason"):
        go_live(spool, bundle, person, reason)
    go_live(spool, bundle, "who", "why")
    with pytest.raises(ConfigError, match="a named person and a reason"):
        go_shadow(spool, bundle, person, reason)
    assert is_live(spool, bundle)
    assert len(list(entries(spool))) == 1


@pytest.mark.parametrize("purpose", ["demo", "research"])
def test_only_what_was_evaluated_leaves_shadow_mode(
    bundles: Path, spool: Spool, purpose: str
) -> None:
    bundle = load_bundle(bundles / f"{purpose}.osteo")
    with pytest.raises(GateError, match="does not leave shadow mode"):
        go_live(spool, bundle, "Dr M. Weber", "please")
    assert not is_live(spool, bundle)
    # Nor where somebody wrote it into the database.
    with spool.transaction() as execute:
        execute("INSERT INTO mode (live, bundle_sha256, person, reason, at) VALUES (1,?,'x','y',0)",
                bundle.sha256)  # fmt: skip
    assert not is_live(spool, bundle)


def test_the_change_and_its_audit_entry_are_one_step(
    bundles: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **facts: object) -> None:
        raise RuntimeError("no space for the entry")

    monkeypatch.setattr("edge_runtime.unit.mode.record", fail)
    bundle = loaded(bundles, "evaluated")
    with pytest.raises(RuntimeError):
        go_live(spool, bundle, "Dr M. Weber", "pilot approved")
    assert not is_live(spool, bundle)
    assert spool.row("SELECT * FROM mode") is None
