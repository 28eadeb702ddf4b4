"""Where films come from and lie: the spool, its disk, and watched folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.spool.database import sync_folder
from edge_runtime.unit.check.finding import Finding
from edge_runtime.unit.config import UnitConfig
from edge_runtime.unit.volume import DURABLE, mount_of, nearest


def check_spool(unit: UnitConfig, system: Path) -> Iterator[Finding]:
    """Look whether films can be kept, and by whom they could be read."""
    folder = unit.spool.directory
    there = nearest(folder)
    try:
        _try_renaming(there)
    except OSError as error:
        yield Finding(
            level="failure",
            about="spool",
            what=f"nothing can be kept in {there} ({error.strerror})",
            remedy="Give the folder to the user that the service runs as",
        )
    else:
        made = "" if there == folder else ", will be made"
        yield Finding(level="ok", about="spool", what=f"{folder} can be written to{made}")
    if there == folder and folder.stat().st_mode & 0o077:
        yield Finding(
            level="warning",
            about="spool",
            what=f"other users may look into {folder}",
            remedy="chmod 700 it: patients' films lie there",
        )
    mount = mount_of(folder, system)
    if mount.kind not in DURABLE:
        yield Finding(
            level="warning",
            about="spool",
            what=f"{folder} lies on {mount.kind}, which may forget what it said was written",
            remedy=f"Use a local disk with one of: {', '.join(sorted(DURABLE))}",
        )
    yield _check_space(unit, there)


def _try_renaming(folder: Path) -> None:
    """Do in a folder what the spool does for each film."""
    with tempfile.TemporaryDirectory(prefix=".check-", dir=folder) as trial:
        with (Path(trial) / "a").open("wb") as stream:
            stream.write(b"film")
            stream.flush()
            os.fsync(stream.fileno())
        (Path(trial) / "a").rename(Path(trial) / "b")
        sync_folder(Path(trial))


def _check_space(unit: UnitConfig, folder: Path) -> Finding:
    disk, reserve = shutil.disk_usage(folder), unit.spool.reserve_mib << 20
    told = f"{disk.free >> 20} MiB free, [spool] reserve_mib is {unit.spool.reserve_mib}"
    if disk.total <= reserve:
        return Finding(
            level="failure",
            about="space",
            what=f"the disk is smaller than its reserve: {disk.total >> 20} MiB",
            remedy="Lower [spool] reserve_mib, or use a larger disk",
        )
    if disk.free <= reserve:
        return Finding(
            level="warning",
            about="space",
            what=f"{told}: no film will be taken",
            remedy="Make space on the disk",
        )
    return Finding(level="ok", about="space", what=told)


def check_folders(unit: UnitConfig) -> Iterator[Finding]:
    """Look whether films can be taken from the watched folders."""
    spool = unit.spool.directory.resolve()
    for watched in unit.intake.folders:
        folder = watched.path.resolve()
        needed = os.R_OK | os.X_OK | (os.W_OK if watched.after == "remove" else 0)
        if folder.is_relative_to(spool) or spool.is_relative_to(folder):
            yield Finding(
                level="failure",
                about="folder",
                what=f"{watched.path} and the spool lie one within the other",
                remedy="Watch another folder",
            )
        elif not folder.is_dir():
            yield Finding(
                level="warning",
                about="folder",
                what=f"{watched.path} is not there now",
                remedy="Make it, or plug it in",
            )
        elif not os.access(folder, needed):
            yield Finding(
                level="failure",
                about="folder",
                what=f"{watched.path} may not be read, or files in it not removed",
                remedy="Give the service's user access, or set after = 'keep'",
            )
        else:
            yield Finding(level="ok", about="folder", what=f"{watched.path} can be read")
