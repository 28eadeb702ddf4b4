"""Is the film fit to be screened? Findings that a technologist can act on at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.preprocess import Placement

# Between the 1st and the 99th percentile, in grey levels of 256: a limb spans 80 and more.
MIN_CONTRAST = 12


class QualityFinding(BaseModel):
    """One thing about the film's quality."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    finding: str
    action: str = Field(description="what the technologist can do about it")
    refuses: bool = Field(description="whether the film cannot be screened for it")


def check_quality(
    pixels: npt.NDArray[np.uint8], placement: Placement
) -> tuple[QualityFinding, ...]:
    """Look at the network's pixels (height, width), 0..255, inside the film's area."""
    film = pixels[
        placement.top : placement.top + placement.height,
        placement.left : placement.left + placement.width,
    ]
    low, high = np.percentile(film, (1, 99))
    if high - low < MIN_CONTRAST:
        return (
            QualityFinding(
                finding="the film is blank or nearly so",
                action="check exposure and detector, then retake",
                refuses=True,
            ),
        )
    return ()
