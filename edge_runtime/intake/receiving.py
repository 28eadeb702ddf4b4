"""A file on its way into the spool, and the space that is reserved for it.

The file is made as large as the largest film that is accepted, all of it a hole, and written from
its start. So each receiver sees in the folders of all others how much is still to be written, on
any file system, and a dead receiver's reservation ends when its folder is swept. (posix_fallocate
would write every block on file systems that cannot preallocate, and on tmpfs.) Others write to the
same disk without asking: what is kept free beyond that is the configured reserve, and a disk that
is full all the same ends one file, not the receiver.
"""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

from edge_runtime.errors import OsteoedgeError, SpoolError, SpoolFullError

_CHUNK = 1 << 20
_numbers = itertools.count()
# What stat counts a file's blocks in.
_BLOCK = 512


class ChangedError(OsteoedgeError):
    """A file changed while it was read: it is not whole yet."""


class IncomingFile:
    """One file on its way in; not thread-safe.

    Parameters
    ----------
    folder
        This process's own among those of files that are coming in.
    limit
        Bytes that it may have; they are reserved.
    reserve
        Bytes that stay free for everything else.

    Raises
    ------
    SpoolFullError
        There is not enough space.
    SpoolError
        The folder cannot be written to.
    """

    def __init__(self, folder: Path, limit: int, reserve: int) -> None:
        self.path = folder / str(next(_numbers))
        self.size = 0
        self._limit = limit
        try:
            self._file = self.path.open("xb", buffering=0)
        except OSError as error:
            raise _explained(error, folder) from None
        try:
            os.ftruncate(self._file.fileno(), limit)
            # This one's hole is among them: two at once may both be refused, never both let in.
            if free_space(folder.parent) < reserve:
                raise SpoolFullError("the disk is nearly full", "Make space on it", str(folder))
        except OSError as error:
            self.discard()
            raise _explained(error, folder) from None
        except SpoolError:
            self.discard()
            raise

    def write(self, data: bytes) -> None:
        """Add to it.

        Raises
        ------
        SpoolFullError
            It grew beyond its limit, or the disk is full.
        """
        self.size += len(data)
        if self.size > self._limit:
            raise SpoolFullError(
                f"a file of more than {self._limit >> 20} MiB", "Send it another way"
            )
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise _explained(error, self.path.parent) from None

    def finish(self) -> None:
        """Give it its size and sync it to the disk.

        Raises
        ------
        SpoolFullError, SpoolError
            The disk does not hold it.
        """
        try:
            os.ftruncate(self._file.fileno(), self.size)
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _explained(error, self.path.parent) from None

    def discard(self) -> None:
        """Delete it, unless it was moved on; may be called twice."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def copy_whole(source: int, copy: IncomingFile, size: int, mtime_ns: int, name: str) -> None:
    """Copy a file and sync the copy.

    Parameters
    ----------
    source
        Its descriptor.
    size, mtime_ns
        Of the file when it was found whole.
    name
        Of the file, for errors.

    Raises
    ------
    ChangedError
        It is not what it was when it was found whole.
    SpoolFullError, SpoolError
        As of :class:`IncomingFile`.
    """
    left = size
    while left and (data := os.read(source, min(_CHUNK, left))):
        copy.write(data)
        left -= len(data)
    status = os.fstat(source)
    if left or (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
        raise ChangedError("changed while it was read", "Wait until it is whole", name)
    copy.finish()


def free_space(incoming: Path) -> int:
    """Return the bytes that are free and not promised to a file that is coming in.

    Parameters
    ----------
    incoming
        The folder of all receivers' folders.
    """
    disk = os.statvfs(incoming)
    promised = 0
    for file in incoming.glob("*/*"):
        try:
            stat = file.stat()
        except FileNotFoundError:
            continue
        promised += max(0, stat.st_size - stat.st_blocks * _BLOCK)
    return disk.f_bavail * disk.f_frsize - promised


def _explained(error: OSError, folder: Path) -> SpoolError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return SpoolFullError("the disk is full", "Make space on it", str(folder))
    return SpoolError(
        f"cannot be written to ({error.strerror})",
        "Check the disk and the permissions",
        str(folder),
    )
