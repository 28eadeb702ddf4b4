"""The float network in half precision, for GPUs, and what that cost."""

from __future__ import annotations

import numpy as np
import pandas as pd

from edge_runtime.bundle import Calibration, HalfModel, ModelSpec
from edge_runtime.errors import GateError
from export.answers import answers
from export.conversion import Conversion, Real
from export.float_file import predict_file
from export.parity import differences, head_parity, losses
from export.post_training import to_half
from train.config import ExportConfig
from train.dataset.pipeline import FilmSet

_REMEDY = "Leave out --fp16: some weights are too large, or too small"


def half_precision(
    conversion: Conversion,
    spec: ModelSpec,
    films: FilmSet,
    rows: pd.DataFrame,
    calibration: Calibration,
    config: ExportConfig,
) -> tuple[bytes, HalfModel]:
    """Return the file, and how it answers the calibration films.

    Parameters
    ----------
    spec
        Of the int8 file, in whose steps errors are stated.
    calibration
        Of the float network.

    Raises
    ------
    GateError
        It loses more than the recipe allows an int8 file.
    """
    model = to_half(conversion.exact())
    exact = conversion.networks["float"]
    plain = predict_file(model, films, mirror=False)
    if broken := [head for head, output in plain.items() if not np.isfinite(output).all()]:
        raise GateError(f"in half precision head {broken[0]} gives no number", _REMEDY)
    heads = head_parity(exact(films, False), plain, spec)

    def said(real: Real) -> pd.DataFrame:
        return answers(rows, films, real, calibration)

    mirrored = predict_file(model, films, mirror=config.mirror)
    points = calibration.at("image")
    changed = differences(said(mirrored), said(exact(films, config.mirror)), (points, points))
    if lost := losses(heads, changed, config):
        raise GateError(f"in half precision {'; '.join(lost)}", _REMEDY)
    return model, HalfModel(heads=heads, auc_macro=changed["auc_macro"])
