"""Who is at the other end of a Unix socket: the kernel says."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import Sequence

from edge_runtime.errors import ConfigError


def peer_of(connection: socket.socket) -> int | None:
    """Return the id of the user at the other end of a Unix socket; None: it is another socket."""
    if connection.family != socket.AF_UNIX:
        return None
    # struct ucred of unix(7): process, user, group, at the time that it connected.
    size = struct.calcsize("3i")
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, user, _ = struct.unpack("3i", found)
    return int(user)


def user_ids(users: Sequence[str]) -> frozenset[int]:
    """Return who may call: our own user, root, and these, by name or id.

    Raises
    ------
    ConfigError
        There is no such user.
    """
    found = {0, os.geteuid()}
    for user in users:
        try:
            found.add(int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid)
        except KeyError:
            raise ConfigError(
                f"[console] users names {user}, and there is no such user", "Correct the name"
            ) from None
    return frozenset(found)
