"""A bundle is refused, with one clear line, for whatever is not as it was exported."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.bundle import MEMBERS, GoldenVectors, load_bundle, write_bundle
from edge_runtime.delegates.base import Outputs, Probe
from edge_runtime.delegates.cpu import CpuDelegate
from edge_runtime.errors import BundleError, DelegateError
from edge_runtime.screener import Screener

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
    ("member added", lambda m: m.update({"../evil": b""}), r"missing or added: \.\./evil"),
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

        def to_json(self) -> bytes:
            return json.dumps(self.document).encode()

    out = tmp_path / "other.osteo"
    spec = {**document["input_spec"], "width": 160}
    for changes, message in (
        ({"schema": "osteoedge.bundle/2"}, "not understood.*schema"),
        ({"input_spec": {**document["input_spec"], "mirror": True}}, "input_spec.mirror"),
        ({"input_spec": spec}, "input spec does not match its hash"),
    ):
        write_bundle(out, Written(**changes), bundle.model, bundle.golden)  # type: ignore[arg-type]
        with pytest.raises(BundleError, match=message):
            load_bundle(out)


def test_the_same_content_gives_the_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    write_bundle(tmp_path / "again.osteo", bundle.manifest, bundle.model, bundle.golden)
    assert (tmp_path / "again.osteo").read_bytes() == tiny_bundle.read_bytes()
    with zipfile.ZipFile(tiny_bundle) as archive:
        assert set(archive.namelist()) == MEMBERS


def test_a_delegate_that_computes_something_else_is_refused(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(tiny_bundle)

    class Wrong:
        """A delegate whose cam is off by forty steps."""

        name = "wrong"

        def __init__(self, off: int) -> None:
            self.off = off

        def probe(self) -> Probe:
            return Probe(available=True, version="0")

        def load(self, *arguments: object) -> Wrong:
            self.real = CpuDelegate().load(*arguments)  # type: ignore[arg-type]
            return self

        def run(self, tensor: np.ndarray) -> Outputs:
            outputs = self.real.run(tensor)
            shifted = np.clip(outputs["cam"].astype(int) + self.off, -128, 127)
            return {**outputs, "cam": shifted.astype(np.int8)}

    monkeypatch.setattr("edge_runtime.delegates.DELEGATES", (Wrong(0),))
    assert Screener(bundle).bundle is bundle
    monkeypatch.setattr("edge_runtime.delegates.DELEGATES", (Wrong(40),))
    with pytest.raises(DelegateError, match=r"does not reproduce golden vector 0: head cam"):
        Screener(bundle)


def test_no_delegate(tiny_bundle: Path) -> None:
    with pytest.raises(DelegateError, match="no delegate is called 'edgetpu'"):
        Screener(load_bundle(tiny_bundle), delegate="edgetpu")


def test_golden_vectors_survive_the_file() -> None:
    pixels = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
    golden = GoldenVectors(pixels, {"cam": np.zeros((2, 1, 1, 3), np.int8)})
    assert golden.to_npz() == golden.to_npz()
