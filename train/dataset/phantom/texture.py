"""Random fields: the grain of spongy bone, the ragged edges of lesions, the mottle of muscle."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]


def cloud(rng: np.random.Generator, shape: tuple[int, int], scale: tuple[float, float]) -> Field:
    """Return smooth noise of about unit variance.

    Parameters
    ----------
    rng
        Source of randomness.
    shape
        Rows and columns.
    scale
        Size of its lumps in pixels, along the rows' axis (y) and the columns' axis (x).

    Returns
    -------
    numpy.ndarray
        float32 of ``shape``, mean 0: white noise on a coarse grid, interpolated. Filtering
        full-size noise looks the same and costs ten times as much.
    """
    # One spare cell, cut off at a random offset, hides where the grid's nodes lie.
    rows, columns = (int(n / s) + 3 for n, s in zip(shape, scale, strict=True))
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    zoom_y, zoom_x = scale
    shift_y, shift_x = rng.uniform(0.5, 1.5, 2)
    to_source = np.array([[1 / zoom_x, 0, shift_x], [0, 1 / zoom_y, shift_y]], np.float64)
    field = cv2.warpAffine(
        coarse,
        to_source,
        (shape[1], shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    # Bilinear interpolation of unit noise has variance (2/3)^2 on average.
    return np.asarray(field * np.float32(1.5), np.float32)


def smoothstep(values: Field, low: float, high: float) -> Field:
    """Return 0 below ``low``, 1 above ``high`` and a smooth cubic in between."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)
