"""osteoedge: the network through its CPU delegate, and a film through the whole of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.peers.runtimes import Loaded
from edge_runtime.bundle import load_bundle
from edge_runtime.delegates.cpu import CpuDelegate
from edge_runtime.radiograph import read_radiograph
from edge_runtime.reports.document import screening_json
from edge_runtime.screener import Screener
from edge_runtime.screening import SOFTWARE


def network(bundle: Path, threads: int) -> Loaded:
    """Load a bundle's int8 network as screenings do."""
    loaded, delegate = load_bundle(bundle), CpuDelegate()
    model = delegate.load(loaded.model, loaded.manifest.model, threads)
    heads = sorted(loaded.manifest.model.outputs.items(), key=lambda item: item[1].index)

    def run(tensor: npt.NDArray[np.int8]) -> list[npt.NDArray[Any]]:
        outputs = model.run(tensor)
        return [outputs[head] for head, _ in heads]

    return Loaded(f"{SOFTWARE}, {delegate.probe().version}", run)


def film(bundle: Path, threads: int) -> Loaded:
    """Load a bundle to screen films: from the file to the bytes of the document."""
    cv2.setNumThreads(threads)
    screener = Screener(load_bundle(bundle), "cpu", threads)
    return Loaded(SOFTWARE, lambda path: screening_json(screener.screen(read_radiograph(path))))


def nothing(_: Path, threads: int) -> Loaded:
    """Load what does nothing: what measuring itself costs."""
    return Loaded("", lambda _: [])
