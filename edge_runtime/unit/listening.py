"""The socket that the unit's DICOM service listens on; `--check` tries the same."""

from __future__ import annotations

import socket

# Films wait here while a receiver restarts.
_BACKLOG = 64


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens; to be closed.

    Parameters
    ----------
    address
        IPv4 or IPv6.

    Raises
    ------
    OSError
        It is used by somebody else, or not this machine's, or not for this user.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of a service before us that are closing are no hindrance.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
