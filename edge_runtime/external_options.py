"""Options of the verbs that take the delegate `external`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edge_runtime.errors import ConfigError

ExternalDelegate = Annotated[
    Path | None,
    typer.Option(help="Library (.so) of a TFLite external delegate, for the delegate external."),
]
ExternalOptions = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of that library.")
]


def key_values(options: Sequence[str]) -> dict[str, str]:
    """Return options KEY=VALUE by key.

    Raises
    ------
    ConfigError
        One of them is none.
    """
    pairs = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not key or not equals:
            raise ConfigError(f"--external-option {option!r} is no KEY=VALUE", "Write key=value")
        pairs[key] = value
    return pairs
