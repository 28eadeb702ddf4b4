"""What is said of an installed device: on a tree of packages that was made up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.environment.install import copy_packaged, install_device
from benchmarks.environment.installed import Environment, Finding, inventory
from benchmarks.environment.licences import is_copyleft
from benchmarks.environment.report import tables
from edge_runtime.errors import ConfigError
from tests.conftest import ROOT

LGPL = "GNU LESSER GENERAL PUBLIC LICENSE\n      Version 2.1, February 1999\n"
LIST = (
    "Name: Another atomic\nFiles: vision.libs/libatomic*\nLicense: MIT\n\n"
    "Name: OpenBLAS\nFiles: vision.libs/libscipy_openblas*.so\nLicense: BSD-3-Clause\n\n"
    "Name: GCC runtime library\nFiles: vision.libs/libgfortran*.so\nDescription: of Fortran\n"
    "License: GPL-3.0-or-later WITH GCC-exception-3.1\n"
)


class Packages:
    """A folder of packages that no installer has seen."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.site.mkdir(parents=True)

    def add(self, name: str, licence: str = "License-Expression: MIT", *, requires: str = "",
            files: dict[str, bytes | str] | None = None) -> None:  # fmt: skip
        """Write a distribution with its list of files."""
        info = f"{name}-1.0.dist-info"
        lines = [f"Requires-Dist: {entry}" for entry in requires.split("|") if entry]
        metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{licence}\n"
        contents = {
            f"{info}/METADATA": metadata + "\n".join(lines) + "\n",
            f"{info}/WHEEL": "Tag: cp311-cp311-manylinux_2_28_aarch64\n",
            **{path.replace("INFO", info): content for path, content in (files or {}).items()},
        }
        for path, content in contents.items():
            (self.site / path).parent.mkdir(parents=True, exist_ok=True)
            (self.site / path).write_bytes(
                content if isinstance(content, bytes) else content.encode()
            )
        record = "".join(f"{path},,\n" for path in contents)
        (self.site / info / "RECORD").write_text(record)


@pytest.fixture
def packages(tmp_path: Path) -> Packages:
    made = Packages(tmp_path / "venv" / "lib" / "python3.11" / "site-packages")
    made.add("osteoedge", requires="vision>=2|Net.Work; python_version > '3'|absent; extra == 'x'")
    return made


def found_in(packages: Packages, name: str) -> list[Finding]:
    found = inventory(packages.site.parent.parent.parent)
    return [finding for finding in found.copyleft if finding.distribution == name]


def test_sizes_and_what_each_requirement_brings(packages: Packages) -> None:
    packages.add("vision", requires="numbers", files={"vision/a.so": b"x" * 5000})
    packages.add("net-work", requires="numbers|wire", files={"net/__pycache__/a.pyc": b"y" * 700})
    packages.add("numbers", files={"numbers.py": "pass"})
    packages.add("wire", files={"wire.bin": b"w" * 300})
    packages.add("pip", files={"pip.py": b"p" * 9000})
    found = inventory(packages.site.parent.parent.parent)
    parts = {part.name: part for part in found.installed}
    assert [part.name for part in found.installed][:2] == ["pip", "vision"]
    assert parts["net-work"].bytecode_bytes == 700 == found.bytecode_bytes
    assert parts["numbers"].needed_for == ("net-work", "vision")
    assert parts["wire"].needed_for == ("net-work",) and parts["pip"].needed_for == ()
    alone = {need.name: need.alone_bytes for need in found.requirements}
    assert alone == {
        "vision": parts["vision"].bytes_,
        "net-work": parts["net-work"].bytes_ + parts["wire"].bytes_,
    }
    records = sum(len((p / "RECORD").read_bytes()) for p in packages.site.glob("*.dist-info"))
    assert found.total_bytes == sum(part.bytes_ for part in found.installed) + records
    assert found.platforms == ("aarch64",)


def test_a_library_is_known_by_its_own_words_the_list_of_its_wheel_or_its_name(
    packages: Packages,
) -> None:
    words = b"\0FFmpeg\0libavcodec license: GPL version 3 or later\0"
    packages.add("vision", files={
        "vision.libs/libavcodec-c4204469.so.62.28.101": words,
        "vision.libs/libavutil-befbbc48.so.60": b"\x7fELF silent",
        "vision.libs/libgfortran-040039e1-0352e75f.so.5.0.0": b"\x7fELF",
        "vision.libs/libscipy_openblas64_-32a4b2a6.so": b"\x7fELF",
        "vision.libs/libatomic-32a4b2a6.so.1": b"\x7fELF",
        "vision.libs/libquadmath-96973f99.so.0": b"\x7fELF",
        "vision/_run.abi3.so": b"\x7fELF _ZN5Eigen8internal",
        "vision/empty.so": b"",
        "INFO/licenses/LICENSE.txt": LIST,
    })  # fmt: skip
    seen = {f.file.partition("-")[0]: f for f in found_in(packages, "vision")}
    assert {name: (f.licence, f.covers, f.what) for name, f in seen.items()} == {
        "libavcodec": ("GPL-3.0-or-later", "library", "FFmpeg"),
        "libavutil": ("LGPL-2.1-or-later", "library", "FFmpeg"),
        "libgfortran": ("GPL-3.0-or-later WITH GCC-exception-3.1", "library", "GCC's runtime"),
        "libquadmath": ("LGPL-2.1-or-later", "library", "GCC's quadmath"),
        "_run.abi3.so": ("MPL-2.0", "compiled in", "Eigen"),
    }
    assert seen["libavcodec"].where == "the library itself"
    assert seen["libgfortran"].where.endswith("LICENSE.txt")
    assert seen["libquadmath"].where == "nowhere in the wheel"


def test_libraries_are_listed_with_the_files_that_name_them(packages: Packages) -> None:
    packages.add("vision", files={
        "vision.libs/libpng16-529cb57a.so.16.58.0": b"x" * 30,
        "vision.libs/libaom-a0d22147.so.3": b"x" * 20,
        "vision.libs/libsecret-a0d22147.so.1": b"x" * 10,
        "vision/_zlib.abi3.so": b"x" * 40,
        "vision/licenses/LICENSE-aom": "Redistribution is permitted",
        "vision/licenses/LICENSE-3RD-PARTY": "libpng is redistributed. Nothing of a secretary.",
    })  # fmt: skip
    libraries = inventory(packages.site).libraries
    assert [(part.name.partition("-")[0], part.bytes_, part.named_in) for part in libraries] == [
        ("libpng16", 30, ("vision/licenses/LICENSE-3RD-PARTY",)),
        ("libaom", 20, ("vision/licenses/LICENSE-aom",)),
        ("libsecret", 10, ()),
    ]


def test_texts_and_bills_count_where_nothing_else_told_of_their_licence(packages: Packages) -> None:
    bill = {"components": [
        {"name": "FriBiDi", "licenses": [{"license": {"id": "LGPL-2.1-or-later"}}]},
        {"name": "r-efi", "licenses": [{"expression": "MIT OR Apache-2.0 OR LGPL-2.1-or-later"}]},
    ]}  # fmt: skip
    packages.add("vision", files={"INFO/licenses/LICENSE": f"MIT\n\n{LGPL}"})
    packages.add("drawing", files={"INFO/sboms/drawing.cdx.json": json.dumps(bill)})
    packages.add("media", files={
        "INFO/licenses/LICENSE": LGPL, "media.libs/libswscale-fe215b0b.so.9": b"\x7fELF",
    })  # fmt: skip
    text = found_in(packages, "vision")
    assert [(f.licence, f.covers, f.file) for f in text] == [("LGPL-2.1", "nothing found", "")]
    assert [f.what for f in found_in(packages, "drawing")] == ["FriBiDi"]
    assert [f.covers for f in found_in(packages, "media")] == ["library"]


def test_what_merely_mentions_the_gpl_is_not_under_it(packages: Packages) -> None:
    packages.add("vision", "License-Expression: PSF-2.0", files={
        "INFO/licenses/LICENSE": "All Python licenses, unlike the GPL, let you distribute. It may\n"
        "be distributed under the GNU General Public License (GPL) as well.\n",
    })  # fmt: skip
    packages.add("certs", "License: MPL-2.0")
    packages.add("bars", "Classifier: License :: OSI Approved :: GNU General Public License v3")
    assert found_in(packages, "vision") == []
    assert [f.covers for f in found_in(packages, "certs")] == ["distribution"]
    assert [f.covers for f in found_in(packages, "bars")] == ["distribution"]


@pytest.mark.parametrize(
    ("statement", "copyleft"),
    [
        ("MPL-2.0 AND MIT", True),
        ("Apache-2.0 OR GPL-2.0-only", False),
        ("MIT AND (GPL-2.0-only OR LGPL-3.0-only)", True),
        ("BSD-3-Clause AND 0BSD AND Zlib", False),
        ("GPLv3", True),
        ("simple, for examples", False),
    ],
)
def test_a_choice_is_no_obligation(statement: str, copyleft: bool) -> None:
    assert is_copyleft(statement) is copyleft


def test_the_command_prints_tables_and_json(packages: Packages, tmp_path: Path) -> None:
    packages.add("vision", files={"vision.libs/libavutil-befbbc48.so.60": b"z" * 1_200_000})
    environment = tmp_path / "venv"
    out = tmp_path / "environment.json"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchmarks.environment", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    printed = run("--venv", environment, "--json", "--out", out)
    assert printed.returncode == 0, printed.stderr
    assert Environment.model_validate_json(printed.stdout) == inventory(environment)
    assert out.read_text() == printed.stdout
    assert [t.row_count for t in tables(inventory(environment))] == [2, 1, 2, 1]
    refused = run("--venv", tmp_path)
    assert refused.returncode == 1 and refused.stdout == ""
    assert refused.stderr.startswith(f"Error: {tmp_path}: ") and "Traceback" not in refused.stderr


def test_what_is_no_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no environment with packages"):
        inventory(tmp_path)
    Packages(tmp_path / "site").add("other")
    with pytest.raises(ConfigError, match="osteoedge is not installed"):
        inventory(tmp_path / "site")
    with pytest.raises(ConfigError, match="no such file"):
        install_device(tmp_path / "venv", tmp_path / "missing.whl")
    with pytest.raises(ConfigError, match="no checkout"):
        install_device(tmp_path / "venv", None, checkout=tmp_path)


def test_what_is_packaged_is_copied_and_no_more(tmp_path: Path) -> None:
    copied = {path.name for path in Path(copy_packaged(ROOT, tmp_path / "source")).iterdir()}
    assert copied == {
        "benchmarks", "edge_runtime", "export", "train", "LICENSE", "README.md", "pyproject.toml",
    }  # fmt: skip
