"""Copyleft licences in an installed environment: which, of what, and where that is written.

A package's metadata speaks for its own code. What its wheel brings along (FFmpeg in OpenCV's, GCC's
runtime in NumPy's) stands in licence files, in bills of materials, in the libraries themselves, or
nowhere, and is looked for in all of them.
"""

from __future__ import annotations

import fnmatch
import json
import mmap
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_COPYLEFT = re.compile(
    r"\b[AL]?GPL|\bMPL|\bEPL|\bEUPL|\bCDDL|General Public Licen[cs]e|Mozilla Public Licen[cs]e",
    re.IGNORECASE,
)
# The title of a licence's full text, alone on its line, and its version, there or on the next.
_TITLE = re.compile(
    r"^[ \t]*(GNU (?:LESSER |LIBRARY |AFFERO )?GENERAL PUBLIC LICENSE"
    r"|Mozilla Public Licen[cs]e)[ ,()\w]{0,12}?\s*(?:Version|v\.)\s*(\d(?:\.\d)?)\b",
    re.MULTILINE | re.IGNORECASE,
)
_SHORT = {
    "GNU LESSER GENERAL PUBLIC LICENSE": "LGPL",
    "GNU LIBRARY GENERAL PUBLIC LICENSE": "LGPL",
    "GNU AFFERO GENERAL PUBLIC LICENSE": "AGPL",
    "GNU GENERAL PUBLIC LICENSE": "GPL",
}
# An entry of NumPy's and SciPy's list of what their wheels bring.
_ENTRY = re.compile(r"^Files: (?P<files>.+)\n(?:\w+: .*\n)*?License: (?P<licence>.+)$", re.M)
_FILE_NAME = re.compile(
    r"(?:lib)?(?P<name>.+?)(?:-[0-9a-f]{8})*(?:\.[\d.]+)?\.(?:so|dylib|dll|pyd)\b"
)


Covers = Literal["distribution", "library", "compiled in", "nothing found"]


@dataclass(frozen=True)
class _Project:
    """A project whose libraries are under a copyleft licence, whatever wheel they are in."""

    name: str
    files: str
    licence: str


# Licences as each project states them of its libraries. Wheels say this of few of them.
_PROJECTS = (
    _Project("FFmpeg", r"av(codec|device|filter|format|util)|swresample|swscale",
             "LGPL-2.1-or-later"),
    _Project("GCC's runtime", r"gfortran|gomp|stdc\+\+|gcc_s|atomic",
             "GPL-3.0-or-later WITH GCC-exception-3.1"),
    _Project("GCC's quadmath", r"quadmath", "LGPL-2.1-or-later"),
    _Project("libheif", r"heif|de265", "LGPL-3.0-or-later"),
    _Project("x264, x265, Xvid", r"x26[45]|xvidcore", "GPL-2.0-or-later"),
    _Project("libimagequant", r"imagequant", "GPL-3.0-or-later"),
    _Project("FriBidi", r"fribidi", "LGPL-2.1-or-later"),
    _Project("Qt", r"qt[56]\w+", "LGPL-3.0-only"),
    _Project("GMP and Nettle", r"gmp|mpfr|nettle|hogweed", "LGPL-3.0-or-later"),
    _Project("libusb", r"usb-1\.0", "LGPL-2.1-or-later"),
    _Project("SRT", r"srt", "MPL-2.0"),
)  # fmt: skip
# What shows in a binary: FFmpeg states its licence, which depends on how it was built; Eigen, of
# which there are only headers, leaves its names.
_OWN_WORDS = re.compile(rb"lib\w+ license: ([AL]?GPL) version ([\d.]+)( or later)?")
_EIGEN = (b"EigenForTFLite", b"N5Eigen", b"Eigen::internal")


@dataclass(frozen=True)
class Copyleft:
    """A copyleft licence, and what of a distribution is under it.

    Attributes
    ----------
    licence
        SPDX, where that is known; otherwise as it is written there.
    covers
        ``distribution``: its own code. ``library``: a file. ``compiled in``: part of a file.
        ``nothing found``: a wheel that has the text, and no file that was seen to be under it.
    what
        The project, where it is known, or what the text calls it.
    file
        The name of the library, empty where it is none.
    where
        Where that is written.
    """

    licence: str
    covers: Covers
    what: str
    file: str
    where: str


@dataclass(frozen=True)
class LicenceText:
    """A licence file or bill of materials of a distribution.

    Attributes
    ----------
    path
        In the environment.
    text
        All of it.
    """

    path: str
    text: str


def is_copyleft(statement: str) -> bool:
    """Say whether a licence expression leaves no choice but a copyleft licence for some part.

    ``A OR B`` is a choice. Parentheses are not looked at, which errs towards yes.
    """
    return any(
        all(_COPYLEFT.search(choice) for choice in re.split(r"\bOR\b", part))
        for part in re.split(r"\bAND\b", statement)
    )


def licence_of_library(path: Path, texts: Sequence[LicenceText]) -> Copyleft | None:
    """Return the copyleft licence that a library is under, by what is known best.

    That is its own words, then the entry of its wheel's list, then the project that it is of, by
    its file name; and then Eigen, if that is compiled in.
    """
    name = path.name
    project = next(
        (p for p in _PROJECTS if re.fullmatch(p.files, _stem(name), re.IGNORECASE)), None
    )
    of = project.name if project else "not known by its name"
    own, eigen = _seen_inside(path)
    if own:
        return Copyleft(own, "library", of, name, "the library itself")
    if entries := list(_entries(name, texts)):
        copyleft = (Copyleft(said, "library", of, name, where) for where, said in entries
                    if is_copyleft(said))  # fmt: skip
        return next(copyleft, None)
    if project:
        return Copyleft(project.licence, "library", of, name, "nowhere in the wheel")
    if eigen:
        return Copyleft("MPL-2.0", "compiled in", "Eigen", name, "nowhere in the wheel")
    return None


def named_in(library: str, texts: Sequence[LicenceText]) -> tuple[str, ...]:
    """Return the licence files that name a library, those that are called by its name first."""
    stem = _stem(library)
    names = {stem, f"lib{stem}", stem.rstrip("0123456789_-.")}
    names |= {p.name for p in _PROJECTS if re.fullmatch(p.files, stem, re.IGNORECASE)}
    called = [t.path for t in texts if names & set(re.split(r"[-_.]", Path(t.path).name.lower()))]
    entered = [where for where, _ in _entries(library, texts)]
    saying = [t.path for t in texts if any(_names_it(t.text, name) for name in names)]
    return tuple(dict.fromkeys([*called, *entered, *saying]))


def copyleft_texts(texts: Sequence[LicenceText]) -> Iterator[Copyleft]:
    """Find full copyleft texts, and bills of materials that name copyleft components."""
    for text in texts:
        if text.path.endswith(".json"):
            yield from _of_bill(text)
            continue
        found = {
            f"{_SHORT.get(' '.join(title.upper().split()), 'MPL')}-{version}"
            for title, version in _TITLE.findall(text.text)
        }
        for licence in sorted(found):
            yield Copyleft(licence, "nothing found", "a licence text", "", text.path)


def _of_bill(text: LicenceText) -> Iterator[Copyleft]:
    for component in json.loads(text.text).get("components", []):
        for entry in component.get("licenses", []):
            licence = entry.get("license", {})
            stated = entry.get("expression") or licence.get("id") or licence.get("name") or ""
            if is_copyleft(stated):
                yield Copyleft(stated, "nothing found", component["name"], "", text.path)


def _entries(library: str, texts: Sequence[LicenceText]) -> Iterator[tuple[str, str]]:
    """Yield the lists that have an entry for a library, and the licence that each states."""
    for text in texts:
        for entry in _ENTRY.finditer(text.text):
            # `numpy.libs/libgfortran*.so` is meant for libgfortran-040039e1.so.5.0.0 as well.
            globs = (f"{glob.rpartition('/')[2]}*" for glob in re.split(r"[,\s]+", entry["files"]))
            if any(fnmatch.fnmatch(library, glob) for glob in globs):
                yield text.path, entry["licence"].strip()


def _seen_inside(path: Path) -> tuple[str | None, bool]:
    """Return the copyleft licence that a binary says it is under, and whether Eigen is in it."""
    if not path.stat().st_size:
        return None, False
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # A plain search: a regular expression takes a second for a hundred megabytes.
        at = data.find(b"GPL version ")
        around = data[max(0, at - 40) : at + 40] if at >= 0 else b""
        eigen = any(data.find(name) >= 0 for name in _EIGEN)
    own = _OWN_WORDS.search(around)
    if own is None:
        return None, eigen
    version = own[2].decode() if b"." in own[2] else f"{own[2].decode()}.0"
    return f"{own[1].decode()}-{version}-{'or-later' if own[3] else 'only'}", eigen


def _names_it(text: str, name: str) -> bool:
    # Names of two letters are in every text.
    prefix = "(?:lib)?" if len(name) > 2 else "lib"
    return bool(re.search(rf"\b{prefix}{re.escape(name)}\b", text, re.IGNORECASE))


def _stem(library: str) -> str:
    """Return `png16` of `libpng16-529cb57a.so.16.58.0`."""
    match = _FILE_NAME.match(library)
    return (match["name"] if match else library).lower()
