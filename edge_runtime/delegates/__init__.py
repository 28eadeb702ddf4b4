"""What executes the model: one file per delegate, ranked by the table below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_runtime.delegates.base import Coverage, Delegate, LoadedModel, Outputs, Probe
from edge_runtime.delegates.cpu import CpuDelegate
from edge_runtime.delegates.edgetpu import EdgeTpuDelegate
from edge_runtime.delegates.external import ExternalDelegate
from edge_runtime.delegates.gpu import GpuDelegate
from edge_runtime.delegates.openvino import OpenVinoDelegate
from edge_runtime.errors import DelegateError

__all__ = [
    "NAMES",
    "RANKING",
    "Coverage",
    "Delegate",
    "LoadedModel",
    "Outputs",
    "Probe",
    "find_delegate",
    "ranked",
]

# Best first, and why. "auto" tries them in this order; so does a fallback, after the one asked for.
RANKING: tuple[tuple[str, str], ...] = (
    ("external", "whoever names a library wants it used"),
    ("edgetpu", "made for int8: milliseconds, and the processor stays free"),
    ("cpu", "int8 on XNNPACK: milliseconds, in this process, on every board"),
    ("openvino", "real numbers on the same processor: no faster for int8, and experimental"),
    ("gpu", "real numbers, a copy each way: for one small film slower than the CPU"),
)
NAMES = tuple(name for name, _ in RANKING)


def find_delegate(
    name: str, library: Path | None = None, options: Mapping[str, str] | None = None
) -> Delegate:
    """Return a delegate by name.

    Parameters
    ----------
    library, options
        Of the delegate `external`.

    Raises
    ------
    DelegateError
        None has this name.
    """
    delegates: tuple[Delegate, ...] = (
        ExternalDelegate(library, options or {}),
        EdgeTpuDelegate(),
        CpuDelegate(),
        OpenVinoDelegate(),
        GpuDelegate(),
    )
    for delegate in delegates:
        if delegate.name == name:
            return delegate
    raise DelegateError(
        f"no delegate is called {name!r} in this version",
        f"Use --delegate auto, or one of: {', '.join(NAMES)}",
    )


def ranked(
    name: str, library: Path | None = None, options: Mapping[str, str] | None = None
) -> list[Delegate]:
    """Return the delegates to try for ``name``, best first: the one asked for leads.

    Raises
    ------
    DelegateError
        ``name`` is neither `auto` nor the name of one.
    """
    first = [] if name == "auto" else [find_delegate(name, library, options).name]
    # Nobody who named no library wants to read in every result that there is none.
    rest = [other for other in NAMES if other != "external" or library is not None]
    order = [*first, *(other for other in rest if other not in first)]
    return [find_delegate(each, library, options) for each in order]
