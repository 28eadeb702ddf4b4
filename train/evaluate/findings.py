"""What an evaluation finds beside the metrics: the parts of metrics.json and of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from train.evaluate.claim import ClaimItem
from train.evaluate.clinic import AtPrevalence, DecisionCurve
from train.evaluate.context import ContextAlone
from train.evaluate.froc import Detections
from train.evaluate.paired import Comparison
from train.evaluate.resampling import Metric
from train.evaluate.robustness import DicomPath, UnderCorruption
from train.evaluate.strata import Stratum

DEFINITIONS = {
    "mask": "256 x 256 grid over the film, mask logits upsampled bilinearly, threshold chosen "
    "beforehand on other patients, regions under 16 pixels dropped, mean over tumour films",
    "auc": "every readable film, `unable` included",
    "operating points": "`unable` counts as referred; coverage is the share that is not `unable`",
    "detection": "boxes of the mask's regions; FROC: IoU of at least 0.2, AP: 0.50 to 0.95",
    "intervals": "95 %, percentiles of 1,000 resamples of patients",
}


@dataclass(frozen=True)
class Ceiling:
    """Dice of a perfect mask at the resolution of the mask head, mean over tumour films.

    Attributes
    ----------
    cells
        Of cells that are lesion or not.
    coverage
        Of cells that state how much of them is lesion.
    """

    cells: float
    coverage: float


@dataclass(frozen=True)
class Findings:
    """Everything but the metrics; what was not asked for, or cannot be had, is empty or None."""

    comparisons: Sequence[Comparison] = ()
    strata: Sequence[Stratum] = ()
    robustness: Sequence[UnderCorruption] = ()
    dicom_path: Sequence[DicomPath] = ()
    prevalence: Sequence[AtPrevalence] = ()
    context: ContextAlone | None = None
    false_alarms: Mapping[str, Metric] | None = None
    ceiling: Ceiling | None = None
    decision_curve: DecisionCurve | None = None
    detections: Mapping[str, Detections] | None = None
    claim: Sequence[ClaimItem] = ()

    def sections(self) -> dict[str, Any]:
        """Return them as JSON takes them."""
        alarms, curve = self.false_alarms, self.decision_curve
        return {
            "definitions": DEFINITIONS,
            "mask_ceiling": None if self.ceiling is None else asdict(self.ceiling),
            "comparisons": [asdict(row) for row in self.comparisons],
            "context_alone": None if self.context is None else self.context.document(),
            "prevalence": [asdict(row) for row in self.prevalence],
            "false_alarms": None if alarms is None else {k: asdict(m) for k, m in alarms.items()},
            "strata": [asdict(row) for row in self.strata],
            "robustness": [asdict(row) for row in self.robustness],
            "dicom_path": [asdict(row) for row in self.dicom_path],
            "decision_curve": None if curve is None else curve.rows(),
        }


def ceiling(predictions: pd.DataFrame) -> Ceiling | None:
    """Return the ceiling over the films that have one."""
    if "ceiling_cells" not in predictions.columns:
        return None
    values = predictions[["ceiling_cells", "ceiling_coverage"]].dropna().to_numpy(np.float64)
    if not len(values):
        return None
    cells, coverage = values.mean(axis=0)
    return Ceiling(float(cells), float(coverage))
