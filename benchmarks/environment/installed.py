"""What an environment holds: distributions, libraries inside wheels, sizes and licences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.environment.licences import (
    Copyleft,
    Covers,
    LicenceText,
    copyleft_texts,
    is_copyleft,
    licence_of_library,
    named_in,
)
from edge_runtime.errors import ConfigError
from edge_runtime.packages import stated_licence

ROOT = "osteoedge"
# Brought by `python -m venv`; no part of a device needs them once it is installed.
INSTALLERS = ("pip", "setuptools", "wheel")

_LICENCE_FILE = re.compile(r"(licen[cs]e|copying|notice|patents)", re.IGNORECASE)
_NOT_TEXT = {".py", ".pyc", ".pyi", ".so"}
# libavcodec-c4204469.so.62.28.101; not _codec.abi3.so, which is a module of the package's own.
_LIBRARY = re.compile(r"lib.+\.(so|dylib)(\.[\d.]+)?$|.+\.dll$", re.IGNORECASE)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Installed(_Part):
    """One distribution."""

    name: str
    version: str
    licence: str = Field(description="as its metadata states it; of its own code")
    bytes_: int = Field(alias="bytes", description="of its files, without what a disk rounds up to")
    bytecode_bytes: int = Field(description="of these, .pyc that installing wrote")
    needed_for: tuple[str, ...] = Field(
        description="requirements of osteoedge that it comes with; none: the installer's own"
    )


class Library(_Part):
    """A shared library inside a wheel."""

    distribution: str
    name: str
    bytes_: int = Field(alias="bytes")
    named_in: tuple[str, ...] = Field(description="licence files of the wheel that name it")


class Finding(_Part):
    """A copyleft licence; see :class:`benchmarks.environment.licences.Copyleft`."""

    distribution: str
    licence: str
    covers: Covers
    what: str
    file: str
    where: str


class Requirement(_Part):
    """What osteoedge requires itself."""

    name: str
    alone_bytes: int = Field(description="what would go without it, with what only it brings")


class Environment(_Part):
    """Everything that is installed."""

    platforms: tuple[str, ...] = Field(description="of the wheels with machine code")
    total_bytes: int = Field(description="of all files below it, links not followed")
    bytecode_bytes: int
    installed: tuple[Installed, ...] = Field(description="largest first")
    libraries: tuple[Library, ...] = Field(description="largest first")
    copyleft: tuple[Finding, ...]
    requirements: tuple[Requirement, ...] = Field(description="largest first")


def inventory(folder: Path) -> Environment:
    """Look at a virtual environment, or at a folder of packages.

    Parameters
    ----------
    folder
        The environment's folder, or one that holds ``*.dist-info``.

    Returns
    -------
    Environment
        Nothing of it is imported, so it may be of another machine.

    Raises
    ------
    ConfigError
        osteoedge is not installed there.
    """
    site = find_packages(folder)
    found = {canonical(d.metadata["Name"]): d for d in distributions(path=[str(site)])}
    if ROOT not in found:
        raise ConfigError(
            "osteoedge is not installed in it",
            "Name a virtual environment of a device",
            str(folder),
        )
    edges = {name: _requires(package) & set(found) for name, package in found.items()}
    brought = {name: _reached(edges, {name}) for name in edges[ROOT]}
    everything = _reached(edges, {ROOT})
    sizes = {name: _size(package) for name, package in found.items()}

    installed = [
        Installed(
            name=package.metadata["Name"],
            version=package.version,
            licence=stated_licence(package),
            bytes=sizes[name][0],
            bytecode_bytes=sizes[name][1],
            needed_for=tuple(sorted(r for r, with_it in brought.items() if name in with_it)),
        )
        for name, package in found.items()
    ]
    libraries: list[Library] = []
    copyleft: list[Finding] = []
    for name, package in found.items():
        if name in INSTALLERS:
            continue
        texts = list(_licence_texts(package, site))
        inside = list(_libraries(package))
        for path in inside:
            libraries.append(
                Library(
                    distribution=name,
                    name=path.name,
                    bytes=path.stat().st_size,
                    named_in=named_in(path.name, texts),
                )
            )
        copyleft += _findings(name, package, inside, texts)
    requirements = []
    for name in edges[ROOT]:
        without = _reached({**edges, ROOT: edges[ROOT] - {name}}, {ROOT})
        alone = sum(sizes[gone][0] for gone in everything - without)
        requirements.append(Requirement(name=name, alone_bytes=alone))
    return Environment(
        platforms=tuple(sorted({tag for package in found.values() for tag in _platforms(package)})),
        total_bytes=sum(f.lstat().st_size for f in folder.rglob("*") if not f.is_dir()),
        bytecode_bytes=sum(f.lstat().st_size for f in folder.rglob("*.pyc")),
        installed=tuple(sorted(installed, key=lambda part: -part.bytes_)),
        libraries=tuple(sorted(libraries, key=lambda part: -part.bytes_)),
        copyleft=tuple(sorted(copyleft, key=lambda f: tuple(f.model_dump().values()))),
        requirements=tuple(sorted(requirements, key=lambda part: -part.alone_bytes)),
    )


def find_packages(folder: Path) -> Path:
    """Return an environment's folder of packages.

    Raises
    ------
    ConfigError
        It has none.
    """
    for site in (folder, *folder.glob("lib/python3*/site-packages"), folder / "Lib/site-packages"):
        if any(site.glob("*.dist-info")):
            return site
    raise ConfigError(
        "this is no environment with packages in it", "Name a virtual environment", str(folder)
    )


def canonical(name: str) -> str:
    """Return a distribution's name as the packaging standards compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _requires(package: Distribution) -> set[str]:
    """Return what a distribution requires without any extra.

    Other conditions (Python, system) are the installer's: what it did not install is not there.
    """
    required = (line for line in package.requires or [] if not re.search(r"\bextra\s*==", line))
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in required)
    return {canonical(match[0]) for match in names if match}


def _reached(edges: Mapping[str, set[str]], start: set[str]) -> set[str]:
    reached: set[str] = set()
    waiting = set(start)
    while waiting:
        reached |= waiting
        waiting = {name for reached_now in waiting for name in edges[reached_now]} - reached
    return reached


def _files(package: Distribution) -> Iterator[Path]:
    for file in package.files or []:
        path = Path(str(package.locate_file(file)))
        if path.is_file():
            yield path


def _size(package: Distribution) -> tuple[int, int]:
    """Return the bytes of all files, and those of .pyc files."""
    sizes = [(path.suffix == ".pyc", path.stat().st_size) for path in _files(package)]
    return sum(size for _, size in sizes), sum(size for bytecode, size in sizes if bytecode)


def _libraries(package: Distribution) -> Iterator[Path]:
    for path in _files(package):
        if _LIBRARY.match(path.name):
            yield path


def _licence_texts(package: Distribution, site: Path) -> Iterator[LicenceText]:
    """Yield a distribution's licence files and bills of materials; equal ones once."""
    seen: set[str] = set()
    for path in _files(package):
        sbom = path.suffix == ".json" and path.parent.name == "sboms"
        licence = path.suffix not in _NOT_TEXT and (
            _LICENCE_FILE.match(path.name) or "licenses" in path.parts
        )
        if not (sbom or licence):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        # Most bills name parts and no licences.
        if text not in seen and (licence or '"licenses"' in text):
            seen.add(text)
            yield LicenceText(str(path.relative_to(site)), text)


def _findings(
    name: str, package: Distribution, libraries: list[Path], texts: list[LicenceText]
) -> Iterator[Finding]:
    found: list[Copyleft] = []
    stated = stated_licence(package)
    if is_copyleft(stated):
        found.append(Copyleft(stated, "distribution", "its own code", "", "METADATA"))
    modules = (path for path in _files(package) if path.suffix == ".so" and path not in libraries)
    for path in (*libraries, *modules):
        if held := licence_of_library(path, texts):
            found.append(held)
    # A text is of use where nothing else told of its kind of licence.
    kinds = {_kind(held.licence) for held in found}
    found += [held for held in copyleft_texts(texts) if _kind(held.licence) not in kinds]
    for held in found:
        yield Finding(distribution=name, **vars(held))


def _kind(licence: str) -> str:
    """Return `LGPL-2` of `LGPL-2.1-or-later` and of `LGPL version 2.1 or later`."""
    match = re.search(r"([AL]?GPL|MPL)\D*(\d)", licence)
    return f"{match[1]}-{match[2]}" if match else licence


def _platforms(package: Distribution) -> Iterator[str]:
    for tag in re.findall(r"^Tag: \S+-\S+-(\S+)$", package.read_text("WHEEL") or "", re.M):
        if tag != "any":
            # manylinux_2_28_x86_64 and manylinux2014_x86_64 are one machine.
            yield re.sub(r"^.*?(x86_64|aarch64|armv7l|arm64|amd64|i686)$", r"\1", tag)
