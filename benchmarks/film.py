"""A film to measure with: whoever has a bundle has it, and its timings are those of a real one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

# Anybody's: it names no film that exists.
_INSTANCE = UID("2.25.117290743201938442157603396104587721004")


def write_film(path: Path, picture: npt.NDArray[np.uint8], rows: int, columns: int) -> None:
    """Write a picture as an uncompressed DX film of 14 bits in 16, with a window.

    Parameters
    ----------
    picture
        (height, width), 0..255, such as a golden vector; it is enlarged, and gets the noise of a
        detector: without it neighbours are equal, and a table is looked up faster than on a film.
    """
    enlarged = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0.0, 40.0, (rows, columns))
    stored = np.clip(np.rint(700.0 + enlarged * (15000 / 255) + noise), 0, 16383)
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID, film.SOPInstanceUID = DigitalXRayImageStorageForPresentation, _INSTANCE
    film.Modality, film.PresentationIntentType = "DX", "FOR PRESENTATION"
    film.PhotometricInterpretation, film.SamplesPerPixel = "MONOCHROME2", 1
    film.Rows, film.Columns = rows, columns
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, 14, 13
    film.PixelRepresentation = 0
    film.WindowCenter, film.WindowWidth = 8200, 15000
    film.add_new("PixelData", "OW", stored.astype("<u2").tobytes())
    film.save_as(path, enforce_file_format=True)
