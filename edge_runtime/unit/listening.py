"""The sockets that the unit's services listen on; `--check` tries the same."""

from __future__ import annotations

import socket

from edge_runtime.errors import ConfigError

# Callers wait here while a receiver, or the console, restarts.
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


def listen_for(section: str, address: str, port: int) -> socket.socket:
    """Return the socket of a service, as :func:`listen` does.

    Parameters
    ----------
    section
        Of unit.toml, that has address and port.

    Raises
    ------
    ConfigError
        It cannot be had.
    """
    try:
        return listen(address, port)
    except OSError as error:
        raise ConfigError(
            f"port {port} of {address} cannot be had ({error.strerror})",
            f"Stop who has it, or give another in [{section}]",
        ) from None
