"""Who may call the console, and whether they can: its token, its socket, its folders."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edge_runtime.console.accounts import read_token
from edge_runtime.console.peers import user_ids
from edge_runtime.errors import ConfigError
from edge_runtime.unit.check.finding import Finding, failure_of
from edge_runtime.unit.config import UnitConfig


def check_console(unit: UnitConfig) -> Iterator[Finding]:
    """Look whether the console can start, and who could call it."""
    settings = unit.console
    if settings is None:
        return
    try:
        user_ids(settings.users)
        if settings.token_file is not None:
            read_token(settings.token_file)
            yield Finding(level="ok", about="console", what=f"{settings.token_file} holds a token")
    except ConfigError as error:
        yield failure_of("console", error)
    if settings.socket is not None:
        folder = settings.socket.parent
        if os.access(folder, os.W_OK | os.X_OK):
            yield Finding(level="ok", about="console", what=f"{folder} can hold the socket")
        else:
            yield Finding(
                level="failure",
                about="console",
                what=f"no socket can be made in {folder}",
                remedy="Make it, for the user that the service runs as",
            )
    for folder in settings.submit_from:
        if not os.access(folder, os.R_OK | os.X_OK):
            yield Finding(
                level="warning",
                about="console",
                what=f"{folder} cannot be read, and no film taken from there",
                remedy="Make it, or give the service's user access",
            )
