"""The device: a radiograph in, a screening out. Never imports TensorFlow.

>>> from edge_runtime import Screener, load_bundle, read_radiograph   # doctest: +SKIP
>>> screener = Screener(load_bundle("knee.osteo"))                    # doctest: +SKIP
>>> screener.screen(read_radiograph("film.dcm")).decision             # doctest: +SKIP
'routine_review'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edge_runtime.bundle import ModelBundle, load_bundle
    from edge_runtime.radiograph import Radiograph, read_radiograph
    from edge_runtime.screener import Screener
    from edge_runtime.screening import Screening

__all__ = [
    "ModelBundle",
    "Radiograph",
    "Screener",
    "Screening",
    "__version__",
    "load_bundle",
    "read_radiograph",
]

_HOMES = {
    "ModelBundle": "edge_runtime.bundle",
    "Radiograph": "edge_runtime.radiograph",
    "Screener": "edge_runtime.screener",
    "Screening": "edge_runtime.screening",
    "load_bundle": "edge_runtime.bundle",
    "read_radiograph": "edge_runtime.radiograph",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562): `osteoedge --help` needs neither NumPy nor OpenCV."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
