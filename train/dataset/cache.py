"""The decoded films of a dataset at the network's size, made once by the device's own code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.preprocess import InputSpec, UInt8Image, mask_to_network, to_network_pixels
from edge_runtime.radiograph import read_radiograph
from train.dataset.schema import Dataset


@dataclass(frozen=True)
class FilmCache:
    """Films of a dataset, in its order, as the network will see them on the device.

    Attributes
    ----------
    pixels
        (n, height, width) uint8.
    masks
        (n, height, width) uint8, lesion coverage 0..255; 0 where it is unknown.
    mask_known
        (n,) bool.
    """

    pixels: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]
    mask_known: npt.NDArray[np.bool_]


def build_cache(
    dataset: Dataset,
    spec: InputSpec,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> FilmCache:
    """Decode every film once, or open what an earlier call left in ``folder``.

    Raises
    ------
    RadiographError, DatasetError
        A film is absent or cannot be read, or a mask does not fit it.
    """
    files = [folder / f"{name}.npy" for name in ("pixels", "masks", "mask_known")]
    key_file, key = folder / "key.txt", _key(dataset, spec)
    if key_file.exists() and key_file.read_text() == key:
        return FilmCache(*(np.load(file, mmap_mode="r") for file in files))
    folder.mkdir(parents=True, exist_ok=True)
    key_file.unlink(missing_ok=True)
    count = len(dataset.films)
    pixels = np.zeros((count, spec.height, spec.width), np.uint8)
    masks = np.zeros_like(pixels)
    known = np.zeros(count, bool)

    def decode(number: int) -> None:
        pixels[number], mask = film_and_mask(dataset, number, spec)
        if mask is not None:
            masks[number], known[number] = mask, True

    # Decoding is C code that lets go of the interpreter: threads are enough.
    with ThreadPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(decode, range(count)), start=1):
            if progress:
                progress(done, count)
    for file, array in zip(files, (pixels, masks, known), strict=True):
        np.save(file, array)
    key_file.write_text(key)
    return FilmCache(pixels, masks, known)


def film_and_mask(
    dataset: Dataset, number: int, spec: InputSpec
) -> tuple[UInt8Image, UInt8Image | None]:
    """Return a film's network pixels and its mask's coverage (None where the mask is unknown)."""
    row = dataset.films.iloc[number]
    display = read_radiograph(dataset.image_path(row)).display
    mask = dataset.mask(row, (display.shape[0], display.shape[1]))
    pixels, _ = to_network_pixels(display, spec)
    return pixels, None if mask is None else mask_to_network(mask, spec)


def _key(dataset: Dataset, spec: InputSpec) -> str:
    chosen = ",".join(dataset.films["image_id"])
    return hashlib.sha256(f"{dataset.sha256}|{chosen}|{spec.sha256()}".encode()).hexdigest()
