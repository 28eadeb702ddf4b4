"""What the system that is timed answers on a dataset: the same loaded model, the same code."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.schema import Accuracy, Interval
from edge_runtime.screener import Screener

if TYPE_CHECKING:
    from train.dataset.schema import Dataset
    from train.evaluate.resampling import Metric


def measure_accuracy(
    screener: Screener, dataset: Dataset, where: str, progress: Callable[[float], None]
) -> Accuracy:
    """Screen a dataset, and evaluate as `osteoedge evaluate` does.

    Parameters
    ----------
    dataset
        With its films already chosen.
    where
        By what they were, for the record.
    progress
        Called with the share that is done, 0..1.

    Raises
    ------
    DelegateError
        The delegate failed.
    """
    # The workstation's; a unit that only measures latencies has none of it.
    from train.evaluate.metrics import evaluate
    from train.evaluate.models import BundleModel
    from train.evaluate.screenings import answer_dataset
    from train.evaluate.store import AnswerStore

    model = BundleModel(screener)
    with tempfile.TemporaryDirectory() as folder, AnswerStore(Path(folder), model.sha256) as store:
        answered = answer_dataset(
            model, dataset, store, progress=lambda done, of: progress(done / of)
        )
    metrics = evaluate(answered.predictions, model.operating_points)
    point = next((p.name for p in model.operating_points if p.score == "tumour"), None)
    name = dataset.card.name
    return Accuracy(
        dataset=f"{name}, {where}" if where else name,
        sha256=dataset.sha256,
        films=len(answered.predictions),
        auc_macro=_interval(metrics["auc_macro"]),
        auc_tumour=_interval(metrics["auc_tumour"]),
        sensitivity=_interval(metrics.get(f"{point}.sensitivity")),
        specificity=_interval(metrics.get(f"{point}.specificity")),
        dice=_interval(metrics["dice_tumour"]),
    )


def _interval(metric: Metric | None) -> Interval | None:
    """Return a figure that has an interval; one patient more or less decides any other."""
    if metric is None or metric.value is None or metric.low is None or metric.high is None:
        return None
    return Interval(value=metric.value, low=metric.low, high=metric.high)
