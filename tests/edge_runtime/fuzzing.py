"""Damaged films and bundles by the thousand, each made from its number alone.

Run as a module it is the child that reads them, since a decoder in C may take the process with it:
``python -m tests.edge_runtime.fuzzing KIND FIRST LAST OUT [BUNDLE]``. It writes a line before and
after each mutant, so that a dead child names the one that killed it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from pydicom.dataset import Dataset

from edge_runtime.bundle import MANIFEST, SUMS, load_bundle
from edge_runtime.bundle.zipping import zip_members
from edge_runtime.codestream import PNG_MAGIC
from edge_runtime.errors import BundleError, RadiographError
from edge_runtime.radiograph import read_radiograph
from tests.edge_runtime.codings import LOSSLESS, LOSSY, as_file, eight_bits, twelve_bits

SECONDS = 10
MEMORY = 512 * 2**20
"""Bytes that a child may grow by over its first, sound film."""
_BATCH = 500

Rng = np.random.Generator
_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT".split()
_ELEMENT = re.compile(rb"(?s)....(?:" + b"|".join(_VRS) + rb")")
_INTERESTING = (
    b"\0\0",
    b"\xff\xff",
    b"\xff\x7f",
    b"\0\x80",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
)


# What is damaged.


def _films() -> dict[str, bytes]:
    """The film of every coding, with a header that has something to break, and pictures."""
    films = {}
    for name, make in {**LOSSLESS, **LOSSY}.items():
        dataset = make()
        adorn(dataset)
        films[name] = as_file(dataset)
    for suffix, pixels, flags in (
        (".png", eight_bits(), []),
        (".png", twelve_bits(), []),
        (".png", np.repeat(eight_bits()[..., None], 4, axis=2), []),
        (".jpg", eight_bits(), []),
        (".jpg", np.repeat(eight_bits()[..., None], 3, axis=2), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    ):
        films[f"{suffix} {len(films)}"] = cv2.imencode(suffix, pixels, flags)[1].tobytes()
    return films


def adorn(dataset: Dataset) -> None:
    """Give a film a header that has something to break."""

    def table() -> Dataset:
        item = Dataset()
        item.LUTDescriptor = [256, 0, 12]
        item.add_new("LUTData", "OW", np.arange(0, 4096, 16, dtype="<u2").tobytes())
        return item

    dataset.VOILUTSequence, dataset.ModalityLUTSequence = [table()], []
    dataset.WindowCenter, dataset.WindowWidth = [2000, 1000], [4000, 300]
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.add_new("PixelPaddingValue", "US", 0)
    dataset.PixelSpacing = dataset.ImagerPixelSpacing = [0.2, 0.2]
    dataset.PatientAge, dataset.PatientSex, dataset.BodyPartExamined = "014Y", "F", "KNEE"
    dataset.PatientBirthDate, dataset.StudyDate = "20100601", "20240601"
    dataset.NumberOfFrames = 1


def _bundles(bundle: Path) -> dict[str, bytes]:
    """Members by name, and `whole` for the zip of them.

    A bundle is loaded without looking into its models, which are nearly all of its bytes.
    """
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name in members:
        if name.endswith(".tflite"):
            members[name] = members[name][:4096]
    _make_good(members)
    return {"whole": zip_members(members), **members}


def _make_good(members: dict[str, bytes], *, manifest: bool = True) -> None:
    """Put the hashes of damaged members where those of sound ones were."""

    def sha256(name: str) -> str:
        return hashlib.sha256(members[name]).hexdigest()

    if manifest:
        document = json.loads(members[MANIFEST])
        document["members"] = {name: sha256(name) for name in document["members"]}
        members[MANIFEST] = json.dumps(document).encode()
    summed = sorted(set(members) - {SUMS, "signature.json"})
    members[SUMS] = "".join(f"{sha256(name)}  {name}\n" for name in summed).encode()


# How.


def _somewhere(data: bytearray, rng: Rng) -> int:
    """A position: anywhere, in the header, or where pixels or a member of a zip begin."""
    region = rng.integers(4)
    start = min(132, len(data) // 2)
    if region == 0:
        found = max(
            data.find(b"\xe0\x7f\x10\0"), data.find(b"\xe0\x7f\0\x10"), data.rfind(b"PK\1\2")
        )
        start = max(found, 0)
    span = {0: 300, 1: 1500}.get(int(region), len(data))
    return start + int(rng.integers(max(min(len(data) - start, span), 1)))


def _flip(data: bytearray, rng: Rng) -> None:
    for _ in range(int(rng.integers(1, 9))):
        data[_somewhere(data, rng)] ^= 1 << int(rng.integers(8))


def _scramble(data: bytearray, rng: Rng) -> None:
    at = _somewhere(data, rng)
    count = int(rng.integers(1, 17))
    data[at : at + count] = rng.bytes(count)


def _truncate(data: bytearray, rng: Rng) -> None:
    del data[_somewhere(data, rng) :]


def _interesting(data: bytearray, rng: Rng) -> None:
    value = _INTERESTING[rng.integers(len(_INTERESTING))]
    at = _somewhere(data, rng)
    data[at : at + len(value)] = value


def _double_or_drop(data: bytearray, rng: Rng) -> None:
    at, count = _somewhere(data, rng), int(rng.integers(1, 300))
    data[at : at + count] = data[at : at + count] * int(rng.choice([0, 2, 20]))


def _splice(data: bytearray, rng: Rng, donor: bytes) -> None:
    count = int(rng.integers(1, min(len(donor), 4000)))
    start = int(rng.integers(len(donor) - count + 1))
    at = _somewhere(data, rng)
    data[at : at + int(rng.choice([0, count]))] = donor[start : start + count]


def _elements(data: bytearray) -> list[int]:
    return [match.start() for match in _ELEMENT.finditer(data, 132, 6000)]


def _length(data: bytearray, rng: Rng) -> None:
    if found := _elements(data):
        at = found[rng.integers(len(found))] + 6
        value = int(rng.choice([0, 1, 3, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF]))
        wide = struct.pack("<HL", 0, value)
        data[at : at + 6] = wide if rng.integers(2) else wide[2:4] + data[at + 2 : at + 6]


def _swap_tags(data: bytearray, rng: Rng) -> None:
    if found := _elements(data):
        one, other = (found[rng.integers(len(found))] for _ in range(2))
        data[one : one + 4], data[other : other + 4] = (
            data[other : other + 4],
            data[one : one + 4],
        )


def _change_vr(data: bytearray, rng: Rng) -> None:
    if found := _elements(data):
        at = found[rng.integers(len(found))]
        data[at + 4 : at + 6] = _VRS[rng.integers(len(_VRS))]


_MUTATORS: tuple[Callable[[bytearray, Rng], None], ...] = (
    _flip, _flip, _flip, _scramble, _truncate, _interesting, _double_or_drop, _length, _swap_tags,
    _change_vr,
)  # fmt: skip


def mutate(data: bytes, donor: bytes, rng: Rng) -> bytes:
    """Damage it once or twice."""
    damaged = bytearray(data)
    for _ in range(int(rng.integers(1, 3))):
        if not damaged:
            break
        which = int(rng.integers(len(_MUTATORS) + 1))
        if which == len(_MUTATORS):
            _splice(damaged, rng, donor)
        else:
            _MUTATORS[which](damaged, rng)
    return bytes(damaged)


def film_mutant(films: dict[str, bytes], number: int) -> tuple[str, bytes]:
    """The film of a number: what it was made of, and its bytes."""
    rng = np.random.default_rng([20, number])
    names = list(films)
    name, donor = names[number % len(names)], names[rng.integers(len(names))]
    damaged = mutate(films[name], films[donor], rng)
    # Without right checksums nothing of a PNG would ever get to its decoder.
    return name, _with_checksums(damaged) if number % 2 else damaged


def _with_checksums(data: bytes) -> bytes:
    """Correct those of a PNG as far as its chunks can be told apart."""
    if not data.startswith(PNG_MAGIC):
        return data
    mended, position = bytearray(data), len(PNG_MAGIC)
    while position + 12 <= len(mended):
        end = position + 8 + int.from_bytes(mended[position : position + 4], "big")
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = struct.pack(">L", zlib.crc32(mended[position + 4 : end]))
        position = end + 4
    return bytes(mended)


def bundle_mutant(parts: dict[str, bytes], number: int) -> tuple[str, bytes]:
    """A damaged zip, or one whose member was damaged and whose checksums then made good.

    Without the latter, no damage would ever get past the checksums.
    """
    rng = np.random.default_rng([21, number])
    members = {name: data for name, data in parts.items() if name != "whole"}
    names = ("whole", MANIFEST, "golden.npz", "familiar.npz", MANIFEST, "signature.json", SUMS)
    name = names[number % len(names)]
    donor = members[MANIFEST]
    if name == "whole":
        return name, mutate(parts[name], donor, rng)
    members[name] = mutate(members.get(name, b'{"schema": "osteoedge.signature/1"}'), donor, rng)
    if name == MANIFEST and number % 2:
        members[name] = _other_values(parts[MANIFEST], rng)
    if name != SUMS:
        _make_good(members, manifest=name != MANIFEST)
    return name, zip_members(members)


def _other_values(manifest: bytes, rng: Rng) -> bytes:
    """Valid JSON with some of its values replaced: only the schema can tell."""
    document = json.loads(manifest)
    places: list[tuple[dict[str, object], str]] = []

    def walk(node: object) -> None:
        for key, value in node.items() if isinstance(node, dict) else ():
            places.append((node, key))  # type: ignore[arg-type]
            walk(value)
        for value in node if isinstance(node, list) else ():
            walk(value)

    walk(document)
    odd = (None, -1, 0, 1e308, float("nan"), "", "x" * 1000, [], {}, True, [[[]]], 2**70)
    for _ in range(int(rng.integers(1, 4))):
        node, key = places[rng.integers(len(places))]
        node[key] = odd[rng.integers(len(odd))]
    return json.dumps(document).encode()


# The child.


def _read_film(data: bytes) -> str:
    try:
        radiograph = read_radiograph(data)
    except RadiographError as error:
        line = str(error)
        assert line.startswith("bytes: "), line
        assert "\n" not in line, line
        assert "Secret" not in line, line
        assert "MemoryError" not in line, line
        return type(error).__name__
    assert radiograph.display.ndim == 2
    return "read"


def _read_bundle(path: Path) -> str:
    try:
        load_bundle(path)
    except BundleError as error:
        assert str(error).startswith(path.name), str(error)
        assert "\n" not in str(error), str(error)
        return "BundleError"
    return "read"


def _child(kind: str, first: int, last: int, out: Path, bundle: Path | None) -> None:
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(1000)
    films = _films()
    parts = _bundles(bundle) if bundle else {}
    for data in films.values():
        read_radiograph(data)
    if bundle:
        sound = out.with_suffix(".osteo")
        sound.write_bytes(parts["whole"])
        load_bundle(sound)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MEMORY, used + 2 * MEMORY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with out.open("a") as journal:
        for number in range(first, last):
            name, data = bundle_mutant(parts, number) if bundle else film_mutant(films, number)
            print(f"begin {number} {name}", file=journal, flush=True)
            damaged = out.with_suffix(".osteo")
            if bundle:
                damaged.write_bytes(data)
            # Not a handler but death: code in C does not come back to run one. Seconds of work, so
            # that a busy machine is not taken for a hang; one that only waits is cut off later.
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.alarm(10 * SECONDS)
            started = time.process_time()
            try:
                outcome = _read_bundle(damaged) if bundle else _read_film(data)
            except Exception as error:
                outcome = f"escaped {type(error).__name__}: {' '.join(str(error).split())}"
            seconds = time.process_time() - started
            signal.alarm(0)
            signal.setitimer(signal.ITIMER_PROF, 0)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            print(f"end {number} {seconds:.4f} {grown} {outcome}", file=journal, flush=True)


# The parent.


@dataclass
class Report:
    """What became of the mutants."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, 0)
    memory: int = 0


def run(kind: str, count: int, folder: Path, bundle: Path | None = None) -> Report:
    """Read mutants number 0 to ``count`` of `film` or `bundle` in child processes."""
    report = Report()
    first = 0
    while first < count:
        last = min(first + _BATCH, count)
        journal = folder / f"{kind}-{first}.txt"
        command = [sys.executable, "-m", __name__, kind, str(first), str(last), str(journal)]
        child = subprocess.run(
            [*command, *([str(bundle)] if bundle else [])],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        lines = journal.read_text().splitlines() if journal.exists() else []
        if not lines:
            raise RuntimeError(child.stderr)
        for line in lines:
            what, number, rest = line.split(" ", 2)
            if what == "end":
                seconds, grown, outcome = rest.split(" ", 2)
                report.outcomes[outcome.split(":")[0]] += 1
                report.slowest = max(report.slowest, (float(seconds), int(number)))
                report.memory = max(report.memory, int(grown))
                if outcome.startswith("escaped"):
                    report.failures.append(f"{kind} {number}: {outcome}")
        first = last
        if child.returncode != 0:
            _, number, name = lines[-1].split(" ", 2)
            report.failures.append(f"{kind} {number} ({name}): died, {child.returncode}")
            first = int(number) + 1
    return report


if __name__ == "__main__":
    _child(
        sys.argv[1],
        int(sys.argv[2]),
        int(sys.argv[3]),
        Path(sys.argv[4]),
        Path(sys.argv[5]) if len(sys.argv) > 5 else None,
    )
