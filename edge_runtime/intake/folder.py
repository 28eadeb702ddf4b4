"""Watched folders: films that somebody copies to the unit, or brings on a USB stick.

They are looked at every so often: file systems of sticks and networks tell of nothing. A file is
whole once its size and time stood still for a while; one that goes on growing after all comes
again as another content of the same film, and supersedes what was taken.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.dicom_file import MAX_FILE_BYTES
from edge_runtime.errors import SpoolError
from edge_runtime.intake.receiving import ChangedError, IncomingFile, copy_whole
from edge_runtime.intake.understanding import enter, understand
from edge_runtime.spool import Spool
from edge_runtime.spool.admission import sweep
from edge_runtime.spool.audit import hashed
from edge_runtime.spool.database import INCOMING
from edge_runtime.spool.seen import note_seen, was_seen
from edge_runtime.unit.config import FolderIntake, UnitConfig
from edge_runtime.unit.life import Life

log = logging.getLogger(__name__)

SLOT = "folders"
"""This process's own folder among those of files that are coming in."""


def run(unit: UnitConfig, life: Life) -> None:
    """Take films from the watched folders until asked to stop.

    Raises
    ------
    SpoolError
        It cannot start.
    """
    incoming = unit.spool.directory / INCOMING / SLOT
    with Spool(unit.spool.directory) as spool:
        incoming.mkdir(mode=0o700, exist_ok=True)
        swept = sweep(spool, incoming)
        if swept:
            log.info("unfinished files deleted", extra={"files": swept})
        reserve = unit.spool.reserve_mib << 20
        folders = [
            WatchedFolder(settings, spool, incoming, reserve) for settings in unit.intake.folders
        ]
        log.info("watching")
        while not life.stopping:
            for folder in folders:
                folder.look(life)
            life.wait(min(folder.wait_s for folder in folders))


class WatchedFolder:
    """One watched folder.

    Parameters
    ----------
    incoming
        Where files are copied to, on the spool's file system.
    reserve
        Bytes of it that stay free for everything else.
    """

    def __init__(self, settings: FolderIntake, spool: Spool, incoming: Path, reserve: int) -> None:
        self._settings = settings
        self._spool = spool
        self._incoming = incoming
        self._reserve = reserve
        self._next_look = 0.0
        self._there = True
        self._refused = False
        # Of files that are there: size, time, and since when they stand still; None: dealt with.
        self._known: dict[Path, tuple[int, int, float | None]] = {}

    @property
    def wait_s(self) -> float:
        """Seconds until it is to be looked at again."""
        return max(0.0, self._next_look - time.monotonic())

    def look(self, life: Life) -> None:
        """Take what is whole, if it is time to look."""
        if self.wait_s > 0:
            return
        there = {}
        for file, status in self._files():
            if life.stopping:
                return
            life.beat()
            there[file] = self._consider(file, status.st_size, status.st_mtime_ns)
        self._known = there
        self._next_look = time.monotonic() + self._settings.every_s

    def _consider(self, file: Path, size: int, mtime_ns: int) -> tuple[int, int, float | None]:
        """Take a file if it is whole; return what is known of it then."""
        now = time.monotonic()
        last = self._known.get(file)
        if last is None or last[:2] != (size, mtime_ns):
            done = was_seen(self._spool, file, size, mtime_ns)
            return size, mtime_ns, None if done else now
        since = last[2]
        if since is None or now - since < self._settings.settle_s:
            return last
        try:
            self._take(file, size, mtime_ns)
        except ChangedError:
            return size, mtime_ns, now
        except SpoolError as error:
            if not self._refused:
                log.error("not received", extra={"reason": error.what})
            self._refused = True
            return last
        except OSError as error:
            # A stick that was pulled, or somebody who still keeps the file to themselves.
            log.warning(
                "not read",
                extra={"file": hashed(str(file)), "reason": os.strerror(error.errno or 0)},
            )
            return size, mtime_ns, now
        except Exception as error:
            # A fault of ours. The other files do not wait for it.
            log.error("failed", extra={"file": hashed(str(file)), "reason": type(error).__name__})
            return size, mtime_ns, None
        self._refused = False
        return size, mtime_ns, None

    def _take(self, file: Path, size: int, mtime_ns: int) -> None:
        if size > MAX_FILE_BYTES:
            outcome = "too large"
        else:
            copy = IncomingFile(self._incoming, size, self._reserve)
            try:
                descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                with os.fdopen(descriptor, "rb", buffering=0):
                    copy_whole(descriptor, copy, size, mtime_ns, file.name)
                arrival = understand(copy.path, f"folder:{self._settings.path}")
                outcome = enter(self._spool, arrival)
            finally:
                copy.discard()
        log.info(
            "received",
            extra={
                "file": hashed(str(file)), "source": f"folder:{self._settings.path}",
                "outcome": outcome, "size": size,
            },
        )  # fmt: skip
        # What is no film may be of use to its owner: it stays.
        if self._settings.after == "remove" and outcome not in ("quarantined", "too large"):
            try:
                file.unlink()
                return
            except OSError as error:
                log.warning(
                    "not removed",
                    extra={"file": hashed(str(file)), "reason": os.strerror(error.errno or 0)},
                )
        note_seen(self._spool, file, size, mtime_ns, outcome)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield regular files, but hidden ones and those that say they are parts."""
        there = False
        folders = [self._settings.path]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError:
                continue
            there = True
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower().endswith(".part"):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    folders.append(Path(entry.path))
                elif stat.S_ISREG(status.st_mode):
                    yield Path(entry.path), status
        if there != self._there:
            self._there = there
            where = {"folder": str(self._settings.path)}
            if there:
                log.info("folder is there", extra=where)
            else:
                log.info("folder is not there", extra=where)
