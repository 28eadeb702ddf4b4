"""Write a file so that a reader, or a power cut, never sees half of it."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path``, sync it to the disk, then rename it into place."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        # On a full disk half a file would take the space that everything else waits for.
        temporary.unlink(missing_ok=True)
        raise
