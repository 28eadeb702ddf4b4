"""What executes the model: one file per delegate, ranked by the table below."""

from __future__ import annotations

from edge_runtime.delegates.base import Delegate, LoadedModel, Outputs, Probe
from edge_runtime.delegates.cpu import CpuDelegate
from edge_runtime.errors import DelegateError

__all__ = ["DELEGATES", "Delegate", "LoadedModel", "Outputs", "Probe", "choose"]

# Best first: what "auto" tries, in this order.
DELEGATES: tuple[Delegate, ...] = (CpuDelegate(),)


def choose(name: str) -> tuple[Delegate, Probe, dict[str, str]]:
    """Pick a delegate.

    Parameters
    ----------
    name
        ``auto``, or the name of one delegate.

    Returns
    -------
    delegate, probe, rejected
        The one to use, what its probe said, and why each one ranked above it was not taken.

    Raises
    ------
    DelegateError
        None is available, or the name is not known.
    """
    known = [delegate.name for delegate in DELEGATES]
    if name != "auto" and name not in known:
        raise DelegateError(
            f"no delegate is called {name!r} in this version",
            f"Use --delegate auto, or one of: {', '.join(known)}",
        )
    rejected: dict[str, str] = {}
    for delegate in DELEGATES:
        if name not in {"auto", delegate.name}:
            continue
        probe = delegate.probe()
        if probe.available:
            return delegate, probe, rejected
        rejected[delegate.name] = probe.reason
    reasons = "; ".join(f"{delegate}: {why}" for delegate, why in rejected.items())
    raise DelegateError(
        f"no delegate can run here ({reasons})",
        "Install what is missing, or choose another delegate",
    )
