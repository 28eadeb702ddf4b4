"""What a network and its calibration say of films that are in memory, as evaluation takes it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime import decision
from edge_runtime.bundle import LABELS, Calibration
from train.dataset.pipeline import FilmSet
from train.evaluate.screenings import identity
from train.evaluate.segmentation import logits_on_grid, mark, overlap, reference_on_grid
from train.fusion import fused_probabilities

FloatArray = npt.NDArray[np.float32]


def answers(
    rows: pd.DataFrame, films: FilmSet, real: Mapping[str, FloatArray], calibration: Calibration
) -> pd.DataFrame:
    """Return one row a film, as :func:`train.evaluate.metrics.evaluate` takes it.

    Parameters
    ----------
    rows
        (n,) rows of the dataset, those of ``films``.
    real
        Outputs by head on the n films, averaged over mirror images where ``calibration`` says so.
    """
    probabilities = fused_probabilities(real, calibration.fusion, films.context)
    masks = films.cache.masks[films.rows]
    # The network's own view of a film is the film here: what lies outside is the same for all.
    shape = (films.spec.height, films.spec.width)
    told = []
    logits_of = real["mask"][..., 0] if "mask" in real else [None] * len(rows)
    for (_, film), chances, logits, mask, known in zip(
        rows.iterrows(),
        probabilities,
        logits_of,
        masks,
        films.cache.mask_known[films.rows],
        strict=True,
    ):
        verdict, _ = decision.decide(chances, calibration.at("image"))
        row = identity(film) | {"decision": verdict}
        row |= {f"p_{label}": float(p) for label, p in zip(LABELS, chances, strict=True)}
        if known and logits is not None and calibration.mask_threshold is not None:
            marked = mark(logits_on_grid(logits, shape, films.spec), calibration.mask_threshold)
            reference = reference_on_grid(np.asarray(mask))
            if film["label"] == "no_tumour":
                row["painted"] = bool(marked.any())
            elif reference.any():
                fit = overlap(marked, reference)
                row |= {"dice": fit.dice, "iou": fit.iou, "hd95": fit.hd95}
        told.append(row)
    return pd.DataFrame(told)
