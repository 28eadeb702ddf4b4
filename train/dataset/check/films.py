"""One pass over the films of a dataset: what every later check needs of the pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.errors import OsteoedgeError, RadiographError
from edge_runtime.preprocess import DisplayImage
from edge_runtime.radiograph import read_radiograph
from train.dataset.schema import Dataset

Report = Callable[[int, int], None]
Floats = npt.NDArray[np.float32]

# What is compared between films.
THUMBNAIL = 128
# What the probes look at; a network sees about as much.
_PROBED, _BORDER = 256, 16
_GREY_BINS = 32
_BORDER_PIECES = 4
# A film whose grey levels spread less than this shows nothing that could be compared.
_FLAT = 1.0


@dataclass(frozen=True)
class Films:
    """The films of a dataset, in its order; rows of films that cannot be read are zero.

    Attributes
    ----------
    content
        (n,) SHA-256 of the decoded pixels; empty for films that cannot be read.
    thumbnails
        (n, 128, 128) uint8.
    readable, flat
        (n,) bool; flat films show one grey level and are compared with nothing.
    border
        (n, 36) float32: grey levels of the outer 16 pixels of the film at 256 x 256.
    grey
        (n, 33) float32: grey histogram and sharpness at 256 x 256.
    file_facts
        (n, 5) float32: columns, rows, their ratio, bytes per pixel, bits per pixel.
    errors
        What was wrong with the films that cannot be read.
    """

    content: tuple[str, ...]
    thumbnails: npt.NDArray[np.uint8]
    readable: npt.NDArray[np.bool_]
    flat: npt.NDArray[np.bool_]
    border: Floats
    grey: Floats
    file_facts: Floats
    errors: tuple[OsteoedgeError, ...]

    @property
    def comparable(self) -> npt.NDArray[np.bool_]:
        """Films that can be compared with others."""
        return np.asarray(self.readable & ~self.flat)


@dataclass(frozen=True)
class _Film:
    content: str
    thumbnail: npt.NDArray[np.uint8]
    border: Floats
    grey: Floats
    file_facts: Floats


def read_films(dataset: Dataset, progress: Report | None = None) -> Films:
    """Read every film once; one that cannot be read is named in ``errors`` and skipped."""
    paths = [dataset.image_path(row) for _, row in dataset.films.iterrows()]
    read: list[_Film | None] = []
    errors: list[OsteoedgeError] = []
    # Decoding is C code that lets go of the interpreter: threads are enough.
    with ThreadPoolExecutor() as pool:
        for done, film in enumerate(pool.map(_read_or_error, paths), start=1):
            if isinstance(film, RadiographError):
                errors.append(film)
                read.append(None)
            else:
                read.append(film)
            if progress:
                progress(done, len(paths))
    thumbnails = np.zeros((len(read), THUMBNAIL, THUMBNAIL), np.uint8)
    border = np.zeros((len(read), 4 * (5 + _BORDER_PIECES)), np.float32)
    grey = np.zeros((len(read), _GREY_BINS + 1), np.float32)
    facts = np.zeros((len(read), 5), np.float32)
    for number, sound in enumerate(read):
        if sound is not None:
            thumbnails[number], border[number] = sound.thumbnail, sound.border
            grey[number], facts[number] = sound.grey, sound.file_facts
    readable = np.array([film is not None for film in read], bool)
    flat = readable & (thumbnails.reshape(len(read), -1).std(axis=1) < _FLAT)
    content = tuple("" if film is None else film.content for film in read)
    return Films(content, thumbnails, readable, flat, border, grey, facts, tuple(errors))


def _read_or_error(path: Path) -> _Film | RadiographError:
    try:
        display = read_radiograph(path).display
    except RadiographError as error:
        return error
    grey = _eight_bits(display)
    small = cv2.resize(grey, (_PROBED, _PROBED), interpolation=cv2.INTER_AREA)
    return _Film(
        content=_content(display),
        thumbnail=np.asarray(
            cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), np.uint8
        ),
        border=_border(np.asarray(small, np.uint8)),
        grey=_grey(np.asarray(small, np.uint8)),
        file_facts=_file_facts(display, path.stat().st_size),
    )


def _content(display: DisplayImage) -> str:
    """Name the pixels, whatever file they came in."""
    header = f"{display.shape}{display.dtype}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(display).tobytes()).hexdigest()


def _eight_bits(display: DisplayImage) -> npt.NDArray[np.uint8]:
    if display.dtype == np.uint8:
        return display.astype(np.uint8, copy=False)
    return (display >> 8).astype(np.uint8)


def _border(film: npt.NDArray[np.uint8]) -> Floats:
    """Describe each side's strip: mean, spread, quantiles, and the means of its pieces."""
    width = _BORDER
    strips = (film[:width], film[-width:], film[:, :width].T, film[:, -width:].T)
    found: list[Floats] = []
    for strip in strips:
        pieces = strip.reshape(width, _BORDER_PIECES, -1).mean(axis=(0, 2))
        spread = [strip.mean(), strip.std(), *np.quantile(strip, [0.05, 0.5, 0.95])]
        found.append(np.array([*spread, *pieces], np.float32))
    return np.concatenate(found)


def _grey(film: npt.NDArray[np.uint8]) -> Floats:
    counts = np.histogram(film, bins=_GREY_BINS, range=(0, 256))[0]
    # Variance of the Laplacian: Pech-Pacheco et al., ICPR 2000.
    sharpness = float(cv2.Laplacian(film, cv2.CV_32F).var())
    return np.array([*(counts / film.size), sharpness], np.float32)


def _file_facts(display: DisplayImage, size: int) -> Floats:
    rows, columns = display.shape
    values = [columns, rows, columns / rows, size / display.size, display.dtype.itemsize * 8]
    return np.array(values, np.float32)
