"""What a folder lies on: its file system, and whether that is encrypted.

Told are dm-crypt (LUKS), also below LVM, RAID and btrfs, and fscrypt directories of ext4 and f2fs.
A drive that encrypts itself tells nobody; nor does ZFS. These count as not known.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# File systems of one machine that keep a synced rename through a power cut.
DURABLE = frozenset({"bcachefs", "btrfs", "ext3", "ext4", "f2fs", "xfs", "zfs"})
# FS_IOC_GETFLAGS and FS_ENCRYPT_FL of linux/fs.h.
_GETFLAGS = 2 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 1
_ENCRYPTED = 0x800

Encryption = Literal["encrypted", "not encrypted", "not known"]


@dataclass(frozen=True)
class Mount:
    """A mounted file system, of proc_pid_mountinfo(5)."""

    point: Path
    kind: str
    source: str
    device: str


def mount_of(folder: Path, system: Path = Path("/")) -> Mount:
    """Return what a folder lies on.

    Parameters
    ----------
    folder
        Absolute; it need not be there yet.
    system
        Where `proc`, `sys` and `dev` lie.
    """
    real = folder.resolve()
    found = [mount for mount in _mounts(system) if real.is_relative_to(mount.point)]
    # Of several at one point the last covers the others.
    return max(reversed(found), key=lambda mount: len(mount.point.parts))


def encryption_of(folder: Path, system: Path = Path("/")) -> Encryption:
    """Return whether what is written below a folder is encrypted on the disk."""
    if _is_fscrypt(folder):
        return "encrypted"
    devices = list(_block_devices(mount_of(folder, system), system))
    if not devices:
        return "not known"
    return "encrypted" if all(_is_dm_crypt(device) for device in devices) else "not encrypted"


def nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(part for part in (folder, *folder.parents) if part.is_dir())


def _mounts(system: Path) -> Iterator[Mount]:
    for line in os.fsdecode((system / "proc/self/mountinfo").read_bytes()).splitlines():
        fields, _, rest = line.partition(" - ")
        # Blanks and the like are written as three octal digits.
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split()[4])
        kind, source, *_ = rest.split()
        yield Mount(Path(point), kind, source, fields.split()[2])


def _block_devices(mount: Mount, system: Path) -> Iterator[Path]:
    """Yield the folders in sysfs of what a file system lies on; none where it does not tell."""
    device = system / "sys/dev/block" / mount.device
    if device.exists():
        yield device
    elif mount.kind == "btrfs":
        # It has a device number of its own, and may lie on several devices.
        name = (system / mount.source.lstrip("/")).resolve().name
        for devices in (system / "sys/fs/btrfs").glob("*/devices"):
            if (devices / name).exists():
                yield from devices.iterdir()


def _is_dm_crypt(device: Path) -> bool:
    """Return whether a block device, or everything that it lies on, is dm-crypt."""
    uuid = device / "dm/uuid"
    if uuid.exists() and uuid.read_text().startswith("CRYPT-"):
        return True
    below = list((device / "slaves").iterdir()) if (device / "slaves").is_dir() else []
    return bool(below) and all(_is_dm_crypt(part) for part in below)


def _is_fscrypt(folder: Path) -> bool:
    try:
        descriptor = os.open(nearest(folder), os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return False
    try:
        flags = fcntl.ioctl(descriptor, _GETFLAGS, bytes(struct.calcsize("l")))
    except OSError:
        return False  # Not a file system that has such flags.
    finally:
        os.close(descriptor)
    return bool(struct.unpack("l", flags)[0] & _ENCRYPTED)
