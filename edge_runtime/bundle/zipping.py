"""Zip files whose bytes depend on nothing but their content, read without trusting them."""

from __future__ import annotations

import io
import math
import stat
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import BundleError

# Far above any model of this field; a zip can claim terabytes.
MAX_MEMBER_BYTES = 64 * 1024 * 1024
MAX_TOTAL_BYTES = 4 * MAX_MEMBER_BYTES
_MAX_MEMBERS = 32
# The zip format's earliest date: no clock reaches the bytes of a bundle.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def add_member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a member whose bytes are the same whenever and wherever it is written."""
    info = zipfile.ZipInfo(name, _ZIP_EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    archive.writestr(info, data)


def zip_members(members: Mapping[str, bytes]) -> bytes:
    """Return a zip of ``members`` in their order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            add_member(archive, name, data)
    return buffer.getvalue()


def unzip_members(data: bytes, source: str) -> dict[str, bytes]:
    """Return the members of a zip, in memory; nothing is written anywhere.

    Parameters
    ----------
    source
        Name of the file, for errors.

    Raises
    ------
    BundleError
        Truncated or damaged; a member that lies outside the zip, is a link, is there twice, or
        claims more than :data:`MAX_MEMBER_BYTES`; all together more than :data:`MAX_TOTAL_BYTES`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            _refuse_tricks(infos, source)
            # zipfile reads no more than the size that was just checked.
            return {info.filename: archive.read(info) for info in infos}
    except BundleError:
        raise
    except Exception:
        # zipfile raises whatever it and zlib trip over (BadZipFile, struct, zlib, Value ...).
        raise BundleError(
            "truncated, damaged, or no bundle at all",
            "Copy the .osteo file again from where it was exported",
            source,
        ) from None


def pack_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return the bytes of a .npz without a clock in them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            add_member(archive, f"{name}.npy", member.getvalue())
    return buffer.getvalue()


def unpack_arrays(
    data: bytes, names: Iterable[str], what: str, source: str
) -> dict[str, npt.NDArray[Any]]:
    """Return arrays of a .npz by name.

    Raises
    ------
    BundleError
        It is none, or lacks one; says ``what`` cannot be read of the file ``source``.
    """
    try:
        members = unzip_members(data, source)
        return {name: _array(members[f"{name}.npy"]) for name in names}
    except Exception:
        # numpy evaluates a header as Python, and raises whatever that trips over.
        raise BundleError(f"the {what} cannot be read", "Export it again", source) from None


def _array(member: bytes) -> npt.NDArray[Any]:
    """Return the array of a .npy whose header claims no more than there is."""
    stream = io.BytesIO(member)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("another version of .npy")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if math.prod(shape) * dtype.itemsize != len(member) - stream.tell():
        raise ValueError("header and data contradict each other")
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _refuse_tricks(infos: list[zipfile.ZipInfo], source: str) -> None:
    def refuse(what: str) -> BundleError:
        return BundleError(what, "Do not use this file", source)

    if len(infos) > _MAX_MEMBERS:
        raise refuse(f"{len(infos)} members, which no bundle has")
    if sum(info.file_size for info in infos) > MAX_TOTAL_BYTES:
        raise refuse("implausibly large")
    names = [info.filename for info in infos]
    for info in infos:
        # ZipInfo has turned backslashes of Windows into slashes, and cut at a zero byte.
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in info.filename:
            raise refuse(f"member {info.filename!r} lies outside the bundle")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise refuse(f"member {info.filename!r} is no plain file")
        if info.file_size > MAX_MEMBER_BYTES:
            raise refuse(f"member {info.filename!r} is implausibly large")
        if names.count(info.filename) > 1:
            raise refuse(f"member {info.filename!r} is there twice")
