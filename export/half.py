"""The float network in half precision, for GPUs, and what that cost."""

from __future__ import annotations

import numpy as np
import pandas as pd

from edge_runtime.bundle import HalfModel
from edge_runtime.errors import GateError
from export.answers import answers
from export.conversion import Conversion, Real
from export.float_file import predict_file
from export.gate import CalibrationFilms, Passed
from export.parity import differences, head_parity, losses
from export.post_training import to_half

_REMEDY = "Leave out --fp16: some weights are too large, or too small"


def half_precision(
    conversion: Conversion, passed: Passed, given: CalibrationFilms
) -> tuple[bytes, HalfModel]:
    """Return the file, and how it answers the calibration films.

    Errors are stated in steps of the int8 file.

    Raises
    ------
    GateError
        It loses more than the recipe allows an int8 file.
    """
    films, config = given.films, given.run.recipe.export
    model = to_half(conversion.exact())
    plain, shown = predict_file(model, films, mirror=config.mirror)
    if broken := [head for head, output in plain.items() if not np.isfinite(output).all()]:
        raise GateError(f"in half precision head {broken[0]} gives no number", _REMEDY)
    heads = head_parity(passed.exact[0], plain, passed.spec)

    def said(real: Real) -> pd.DataFrame:
        return answers(given.rows, films, real, passed.float_calibration)

    points = passed.float_calibration.at("image")
    changed = differences(said(shown), said(passed.exact[1]), (points, points))
    if lost := losses(heads, changed, config):
        raise GateError(f"in half precision {'; '.join(lost)}", _REMEDY)
    return model, HalfModel(heads=heads, auc_macro=changed["auc_macro"])
