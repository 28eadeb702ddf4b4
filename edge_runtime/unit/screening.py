"""The screener that a unit asks for: the worker's, and the one that `--check` tries."""

from __future__ import annotations

from edge_runtime.bundle import ModelBundle
from edge_runtime.screener import Screener
from edge_runtime.unit.config import ScreeningSettings


def make_screener(bundle: ModelBundle, settings: ScreeningSettings) -> Screener:
    """Return a screener on the delegate that the settings ask for; to be closed.

    Raises
    ------
    DelegateError
        No delegate that may be used reproduces the bundle's golden vectors.
    """
    return Screener(
        bundle,
        settings.delegate,
        settings.threads,
        fallback=settings.fallback,
        intended_use=settings.intended_use,
        external_delegate=settings.external_delegate,
        external_options=settings.external_options,
    )
