"""A film to measure with: whoever has a bundle has it, and its timings are those of a real one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation

from benchmarks.films.codings import CODINGS, Coding, put_pixels

# Anybody's: they name no film and no study that exists.
_INSTANCE = UID("2.25.117290743201938442157603396104587721004")
_SERIES, _STUDY = UID(f"{_INSTANCE}1"), UID(f"{_INSTANCE}2")
_BITS = 14


def draw_film(
    picture: npt.NDArray[np.uint8], rows: int, columns: int, bits: int = _BITS
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return the stored values of a picture as a detector gives it.

    Parameters
    ----------
    picture
        (height, width), 0..255, such as a golden vector; it is enlarged, and gets the noise of a
        detector: without it neighbours are equal, and a table is looked up faster than on a film,
        and compressed films are too small.
    bits
        Of the values, up to 14; 8 and fewer are uint8. Fewer bits are the same film, coarser.
    """
    enlarged = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_CUBIC)
    # In place: the largest films do not fit into the memory of a board several times.
    values = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    values *= 40.0
    values += 700.0
    values += enlarged * np.float32(15000 / 255)
    values /= 2 ** (_BITS - bits)
    np.clip(np.rint(values, out=values), 0, 2**bits - 1, out=values)
    if bits <= 8:
        return values.astype(np.uint8)
    return values.astype(np.uint16)


def film_dataset(
    picture: npt.NDArray[np.uint8],
    rows: int,
    columns: int,
    coding: Coding = CODINGS["explicit VR"],
    bits: int = _BITS,
) -> Dataset:
    """Return a DX film with a window; see :func:`draw_film`.

    Raises
    ------
    ImportError, AttributeError
        The coding cannot be written here.
    """
    pixels = draw_film(picture, rows, columns, bits)
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.SOPClassUID, film.SOPInstanceUID = DigitalXRayImageStorageForPresentation, _INSTANCE
    film.StudyInstanceUID, film.SeriesInstanceUID = _STUDY, _SERIES
    film.Modality, film.PresentationIntentType = "DX", "FOR PRESENTATION"
    film.PhotometricInterpretation, film.SamplesPerPixel = "MONOCHROME2", 1
    film.Rows, film.Columns = rows, columns
    film.BitsAllocated = pixels.itemsize * 8
    film.BitsStored, film.HighBit = bits, bits - 1
    film.PixelRepresentation = 0
    film.WindowCenter, film.WindowWidth = (level / 2 ** (_BITS - bits) for level in (8200, 15000))
    put_pixels(film, pixels, coding)
    return film


def write_film(path: Path, picture: npt.NDArray[np.uint8], rows: int, columns: int) -> None:
    """Write a picture as an uncompressed DX film of 14 bits in 16, with a window."""
    film_dataset(picture, rows, columns).save_as(path, enforce_file_format=True)
