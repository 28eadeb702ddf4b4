"""Other runtimes, and ours, one file each. A child process imports the one that it is to run.

Nothing here may be imported that the runtime itself does not need: tflite-runtime lives in an
environment of its own, with another NumPy and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Loaded:
    """A model that is ready.

    Attributes
    ----------
    version
        Of what runs it.
    run
        Of a network: the input tensor to the list of its outputs, in the order of the TFLite file.
        Of a whole screening: the film's path to a JSON document.
    """

    version: str
    run: Callable[[Any], Any]


# A model file and the number of threads in.
Load = Callable[[Path, int], Loaded]
