"""A bundle is refused, with one clear line, for whatever is not as it was exported."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from edge_runtime.bundle import (
    GOLDEN,
    MANIFEST,
    MEMBERS,
    OPTIONAL_MEMBERS,
    GoldenVectors,
    Manifest,
    load_bundle,
    write_bundle,
)
from edge_runtime.errors import BundleError, DelegateError
from edge_runtime.screener import Screener
from tests.conftest import ROOT

Members = dict[str, bytes]


def rewrite(bundle: Path, out: Path, change: Callable[[Members], None]) -> Path:
    """Copy a bundle with its members changed, and its checksums left as they were."""
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out


def replace_in_manifest(old: bytes, new: bytes) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        assert old in members["manifest.json"]
        members["manifest.json"] = members["manifest.json"].replace(old, new)

    return change


CHANGES: list[tuple[str, Callable[[Members], None], str]] = [
    (
        "tampered manifest",
        replace_in_manifest(b'"purpose": "demo"', b'"purpose": "evaluated"'),
        r"manifest\.json was changed after export",
    ),
    (
        "another model",
        lambda m: m.update({"model.int8.tflite": m["model.int8.tflite"][:-4] + b"\0\0\0\1"}),
        r"model\.int8\.tflite was changed after export",
    ),
    ("member missing", lambda m: m.pop("golden.npz"), r"missing or added: golden\.npz"),
    ("member added", lambda m: m.update({"evil": b""}), r"missing or added: evil"),
    ("a path upward", lambda m: m.update({"../evil": b""}), r"'\.\./evil' lies outside the bundle"),
    ("an absolute path", lambda m: m.update({"/etc/x": b""}), r"'/etc/x' lies outside the bundle"),
    ("a drive", lambda m: m.update({"C:\\x": b""}), r"lies outside the bundle"),
    ("no manifest", lambda m: m.pop("manifest.json"), r"no osteoedge bundle"),
    ("no sums", lambda m: m.update({"SHA256SUMS": b""}), r"was changed after export"),
]


@pytest.mark.parametrize(
    ("change", "message"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES]
)
def test_changed_bundles(
    tiny_bundle: Path, tmp_path: Path, change: Callable[[Members], None], message: str
) -> None:
    changed = rewrite(tiny_bundle, tmp_path / "changed.osteo", change)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(changed)
    assert str(caught.value).startswith("changed.osteo: ")


def add(info: zipfile.ZipInfo, data: bytes) -> Callable[[zipfile.ZipFile], None]:
    return lambda archive: archive.writestr(info, data, zipfile.ZIP_DEFLATED)


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("card.md")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("trick", "message"),
    [
        (add(link(), b"/etc/passwd"), "'card.md' is no plain file"),
        (add(zipfile.ZipInfo("bomb"), bytes(65 * 2**20)), "'bomb' is implausibly large"),
        (
            lambda archive: [archive.writestr(str(number), b"") for number in range(40)],
            "members, which no bundle has",
        ),
    ],
)
def test_tricks_of_the_zip_format(
    tiny_bundle: Path, tmp_path: Path, trick: Callable[[zipfile.ZipFile], None], message: str
) -> None:
    tricky = tmp_path / "tricky.osteo"
    with zipfile.ZipFile(tiny_bundle) as whole, zipfile.ZipFile(tricky, "w") as archive:
        trick(archive)
        for name in whole.namelist():
            if name not in archive.namelist():
                archive.writestr(name, whole.read(name))
    with pytest.raises(BundleError, match=message):
        load_bundle(tricky)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice(tiny_bundle: Path, tmp_path: Path) -> None:
    twice = tmp_path / "twice.osteo"
    twice.write_bytes(tiny_bundle.read_bytes())
    with zipfile.ZipFile(twice, "a") as archive:
        archive.writestr("manifest.json", b"{}")
    with pytest.raises(BundleError, match=r"'manifest\.json' is there twice"):
        load_bundle(twice)


def test_a_size_that_is_a_lie(tiny_bundle: Path, tmp_path: Path) -> None:
    """A header that claims a few bytes for what unpacks to many does not get them unpacked."""
    liar = tmp_path / "liar.osteo"
    bomb = zipfile.ZipInfo("card.md")
    with zipfile.ZipFile(tiny_bundle) as whole, zipfile.ZipFile(liar, "w") as archive:
        archive.writestr(bomb, bytes(80 * 2**20), zipfile.ZIP_DEFLATED)
        for name in set(whole.namelist()) - {"card.md"}:
            archive.writestr(name, whole.read(name))
    size = (80 * 2**20).to_bytes(4, "little")
    liar.write_bytes(liar.read_bytes().replace(size, (100).to_bytes(4, "little")))
    with pytest.raises(BundleError, match="truncated, damaged, or no bundle"):
        load_bundle(liar)


def test_files_that_are_no_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.osteo"
    data = tiny_bundle.read_bytes()
    for kept in (0, 100, len(data) // 2, len(data) - 10):
        cut.write_bytes(data[:kept])
        with pytest.raises(BundleError, match="truncated, damaged, or no bundle"):
            load_bundle(cut)
    with pytest.raises(BundleError, match=r"cannot be read \(No such file"):
        load_bundle(tmp_path / "absent.osteo")


def test_a_manifest_of_another_schema_or_with_an_unknown_key(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    """Correct checksums do not help a manifest that this version does not understand."""
    bundle = load_bundle(tiny_bundle)
    document = json.loads(bundle.manifest.to_json())

    class Written:
        """Stands in for a manifest of another version."""

        def __init__(self, **changes: object) -> None:
            self.document = {**document, **changes}

        def model_copy(self, update: dict[str, object]) -> Written:
            return Written(**{**self.document, **update})

        def to_json(self) -> bytes:
            return json.dumps(self.document).encode()

    out = tmp_path / "other.osteo"
    spec = {**document["input_spec"], "width": 160}
    for changes, message in (
        ({"schema": "osteoedge.bundle/2"}, "not understood.*schema"),
        ({"input_spec": {**document["input_spec"], "mirror": True}}, "input_spec.mirror"),
        ({"input_spec": spec}, "input spec does not match its hash"),
    ):
        write_bundle(out, Written(**changes), bundle.content)  # type: ignore[arg-type]
        with pytest.raises(BundleError, match=message):
            load_bundle(out)


def test_the_same_content_gives_the_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    write_bundle(tmp_path / "again.osteo", bundle.manifest, bundle.content)
    assert (tmp_path / "again.osteo").read_bytes() == tiny_bundle.read_bytes()
    with zipfile.ZipFile(tiny_bundle) as archive:
        assert set(archive.namelist()) - OPTIONAL_MEMBERS == MEMBERS
        assert archive.testzip() is None


def test_the_committed_schema_is_that_of_the_manifest() -> None:
    """Other tools read manifests by this file. A change of it is a change of the format."""
    path = ROOT / "edge_runtime" / "bundle" / "osteoedge.bundle-1.schema.json"
    assert json.loads(path.read_text()) == Manifest.model_json_schema(by_alias=True)


@pytest.mark.parametrize(
    ("purpose", "fitness", "message"),
    [
        ("evaluated", {}, "purpose and fitness contradict"),
        ("demo", {"status": "evaluated"}, "purpose and fitness contradict"),
        (
            "evaluated",
            {
                "status": "evaluated",
                "bounds": [{"name": "films", "bound": 9, "found": 1, "met": False}],
            },
            "a bound was not met",
        ),
    ],
)
def test_nobody_says_evaluated_without_evidence(
    tiny_bundle: Path, purpose: str, fitness: dict[str, object], message: str
) -> None:
    document = json.loads(load_bundle(tiny_bundle).members[MANIFEST])
    with pytest.raises(ValidationError, match=message):
        Manifest.model_validate({**document, "purpose": purpose, "fitness": fitness})


def test_golden_vectors_that_do_not_reproduce_are_refused(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    sound = load_bundle(tiny_bundle)
    assert Screener(sound).bundle is sound
    shifted = np.clip(sound.golden.outputs["cam"].astype(int) + 40, -128, 127).astype(np.int8)
    golden = replace(sound.golden, outputs={**sound.golden.outputs, "cam": shifted})
    path = tmp_path / "shifted.osteo"
    write_bundle(path, sound.manifest, {**sound.content, GOLDEN: golden.to_npz()})
    with pytest.raises(DelegateError, match=r"does not reproduce golden vector 0: head cam"):
        Screener(load_bundle(path), "cpu", fallback="forbid")


def test_no_delegate_of_that_name(tiny_bundle: Path) -> None:
    with pytest.raises(DelegateError, match="no delegate is called 'tpu'"):
        Screener(load_bundle(tiny_bundle), delegate="tpu")


def test_golden_vectors_survive_the_file() -> None:
    pixels = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
    golden = GoldenVectors(pixels, {"cam": np.zeros((2, 1, 1, 3), np.int8)})
    assert golden.to_npz() == golden.to_npz()
