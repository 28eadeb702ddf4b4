"""The hash of a film is that of its file, whenever it is asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from edge_runtime.radiograph import Radiograph, read_radiograph
from tests.edge_runtime.films import film, save


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4096, (3000, 2000)).astype(np.uint16)
    paths = [save(film(noise + np.uint16(shift)), tmp_path / f"{shift}.dcm") for shift in range(3)]
    # All are read before any is asked for its hash: each keeps its own.
    radiographs = [read_radiograph(path) for path in paths]
    for path, radiograph in zip(paths, radiographs, strict=True):
        expected = hashlib.sha256(path.read_bytes()).hexdigest()
        assert radiograph.sha256 == radiograph.sha256 == expected


def test_a_copy_with_other_pixels_keeps_the_hash() -> None:
    radiograph = read_radiograph(film())
    copy = Radiograph(**{**vars(radiograph), "display": radiograph.display[::2]})
    assert copy.sha256 == radiograph.sha256
