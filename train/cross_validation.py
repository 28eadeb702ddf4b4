"""Train on every fold, with several seeds, and say how much the result scatters."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tf_keras
from rich.progress import Progress

from edge_runtime.errors import ConfigError
from edge_runtime.files import write_atomically
from train.config import Recipe
from train.dataset.schema import Dataset
from train.distribute import is_cluster
from train.evaluate.metrics import macro_auc
from train.fit import train_run
from train.fusion import fit_fusion, fused_probabilities
from train.networks import float_model, predict, qat_model
from train.parts import film_set
from train.run import Run

_SCORE = "score.json"


@dataclass(frozen=True)
class FoldScore:
    """Macro AUC on the films of one fold, fused by the run's own calibration films."""

    fold: int
    seed: int
    films: int
    float_auc: float
    qat_auc: float


@dataclass(frozen=True)
class Spread:
    """Mean and scatter over runs.

    Attributes
    ----------
    between_folds, between_seeds
        Standard deviation of the means of folds, and of the means of seeds; None for one of them.
    """

    mean: float
    between_folds: float | None
    between_seeds: float | None


def cross_validate(
    dataset: Dataset, folder: Path, recipe: Recipe, *, folds: int, seeds: int, progress: Progress
) -> list[FoldScore]:
    """Train ``folds`` x ``seeds`` runs in ``folder`` and write ``summary.json``.

    Each run is a whole one, in `foldF-seedS`; a call that was stopped goes on. The folds are the
    same for every seed.

    Raises
    ------
    ConfigError
        The recipe holds films out already, there is one fold, or ``TF_CONFIG`` names a cluster.
    RunError
        A folder holds another run.
    """
    if recipe.data.hold_out or folds < 2:
        raise ConfigError(
            "folds are held out one after the other: at least two, and nothing beside them",
            "Leave out --hold-out, and give --folds 2 or more",
        )
    if is_cluster():
        raise ConfigError(
            "folds are trained one after the other on one machine, and TF_CONFIG names a cluster",
            "Unset TF_CONFIG, or train each fold by itself: --set data.folds=5 --set data.fold=0",
        )
    scores = []
    task = progress.add_task("cross-validation", total=folds * seeds)
    for seed in range(recipe.seed, recipe.seed + seeds):
        for fold in range(folds):
            data = recipe.data.model_copy(update={"folds": folds, "fold": fold})
            one = recipe.model_copy(update={"data": data, "seed": seed})
            place = folder / f"fold{fold}-seed{seed}"
            _share_cache(folder, place)
            run = train_run(dataset, place, one, progress)
            scores.append(_kept_score(place) or _score(run))
            write_atomically(place / _SCORE, json.dumps(asdict(scores[-1])).encode())
            write_atomically(folder / "summary.json", _summary(scores).encode())
            progress.advance(task)
    return scores


def spread(scores: list[FoldScore], name: str) -> Spread:
    """Return mean and scatter of ``float_auc`` or ``qat_auc``."""
    values = np.array([getattr(score, name) for score in scores])

    def deviation(keys: list[int]) -> float | None:
        means = [values[np.equal(keys, key)].mean() for key in sorted(set(keys))]
        return float(np.std(means, ddof=1)) if len(means) > 1 else None

    return Spread(
        mean=float(values.mean()),
        between_folds=deviation([score.fold for score in scores]),
        between_seeds=deviation([score.seed for score in scores]),
    )


def _share_cache(folder: Path, place: Path) -> None:
    """Let all runs decode the films once."""
    (folder / "cache").mkdir(parents=True, exist_ok=True)
    place.mkdir(exist_ok=True)
    if not (place / "cache").exists():
        (place / "cache").symlink_to(Path("..") / "cache", target_is_directory=True)


def _kept_score(place: Path) -> FoldScore | None:
    """Return the score of a run that an earlier call finished."""
    path = place / _SCORE
    return FoldScore(**json.loads(path.read_text())) if path.exists() else None


def _score(run: Run) -> FoldScore:
    dataset = run.dataset()
    cache = run.cache(dataset)
    calibration = film_set(run, dataset, cache, "calibration").labelled()
    test = film_set(run, dataset, cache, "test").labelled()

    def auc(model: tf_keras.Model) -> float:
        mirror = run.recipe.export.mirror
        outputs = predict(model, calibration, mirror=mirror)
        fusion = fit_fusion(
            outputs, calibration.labels, calibration.malignant_subtypes, calibration.context
        )
        answers = predict(model, test, mirror=mirror)
        probabilities = fused_probabilities(answers, fusion, test.context)
        return macro_auc(test.labels, probabilities)

    return FoldScore(
        fold=run.recipe.data.fold,
        seed=run.recipe.seed,
        films=len(test),
        float_auc=auc(float_model(run)),
        qat_auc=auc(qat_model(run)),
    )


def _summary(scores: list[FoldScore]) -> str:
    document = {
        "format": "osteoedge.cross-validation/1",
        "metric": "macro AUC",
        "float": asdict(spread(scores, "float_auc")),
        "qat": asdict(spread(scores, "qat_auc")),
        "runs": [asdict(score) for score in scores],
    }
    return json.dumps(document, indent=2) + "\n"
