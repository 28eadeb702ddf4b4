"""The device: a radiograph in, a screening out. Never imports TensorFlow.

>>> from edge_runtime import Screener, load_bundle, read_radiograph   # doctest: +SKIP
>>> screener = Screener(load_bundle("knee.osteo"))                    # doctest: +SKIP
>>> screener.screen(read_radiograph("film.dcm")).decision             # doctest: +SKIP
'routine_review'
"""

__version__ = "0.1.0"

from edge_runtime.bundle import ModelBundle, load_bundle
from edge_runtime.radiograph import Radiograph, read_radiograph
from edge_runtime.screener import Screener, Screening

__all__ = [
    "ModelBundle",
    "Radiograph",
    "Screener",
    "Screening",
    "__version__",
    "load_bundle",
    "read_radiograph",
]
