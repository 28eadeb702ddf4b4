"""A stored film as a PNG, with or without what was marked on it."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.radiograph import read_radiograph
from edge_runtime.reports.overlay import film_png
from edge_runtime.screening import Screening

# Of the longer side, pixels: more than any tablet shows.
_LONGEST = 4096


def picture_of(film: Path, width: int, screening: Screening | None) -> bytes:
    """Return a film as a PNG.

    Parameters
    ----------
    width
        In pixels; less where the film is so long that it would be too high.
    screening
        Whose boxes are drawn; None for none.

    Raises
    ------
    RadiographError
        The film cannot be shown.
    """
    radiograph = read_radiograph(film)
    rows, columns = radiograph.display.shape
    return film_png(radiograph, min(round(width * max(rows / columns, 1.0)), _LONGEST), screening)
