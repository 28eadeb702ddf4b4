"""Thresholds from a cross-validation, where one calibration part holds too few malignant tumours.

Every film is answered by the int8 file of a fold whose training left it out, fused by that fold's
own calibration part; the answers of all folds together set the thresholds of the network that was
trained on more. That network is at least as good, and its thresholds a little cautious (Barber et
al., "Predictive inference with the jackknife+", Annals of Statistics 2021, CV+).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_runtime.bundle import Variant
from edge_runtime.delegates.cpu import CpuDelegate
from edge_runtime.errors import RunError
from export.calibrate import Scored, shown_outputs
from export.conversion import Real, convert_run
from export.convert import describe
from train.dataset.pipeline import FilmSet
from train.fusion import fit_fusion, fused_probabilities
from train.parts import film_set
from train.run import Run, load_run


def cross_fit(run: Run, folder: Path, variant: Variant, say: Callable[[str], None]) -> Scored:
    """Return what the files of all folds say of the films that each left out.

    Parameters
    ----------
    run
        The run to be exported.
    folder
        Of `osteoedge train --folds`, same dataset and recipe.

    Raises
    ------
    RunError
        A fold is missing, not finished, or of another dataset or recipe.
    """
    found = []
    for fold in _folds(run, folder):
        say(f"cross-fit: fold {fold.recipe.data.fold + 1} of {fold.recipe.data.folds}")
        found.append(_score(fold, variant))
    return Scored(
        probabilities=np.concatenate([part.probabilities for part in found]),
        labels=np.concatenate([part.labels for part in found]),
        patients=np.concatenate([part.patients for part in found]),
        studies=np.concatenate([part.studies for part in found]),
        folds=len(found),
    )


def _folds(run: Run, folder: Path) -> list[Run]:
    """Return a run for every fold, of the first seed."""
    found: dict[int, Run] = {}
    for path in sorted(folder.glob("fold*-seed*")):
        loaded = load_run(path)
        # What is decided at export is the same for all.
        recipe = loaded.recipe.model_copy(update={"export": run.recipe.export})
        fold = replace(loaded, recipe=recipe)
        found.setdefault(recipe.data.fold, fold)
        if "qat" not in fold.done:
            raise RunError("a fold is not finished", "Go on with 'osteoedge train'", str(path))
        plain = recipe.data.model_copy(update={"folds": 0, "fold": 0})
        same = recipe.model_copy(update={"data": plain, "seed": run.recipe.seed})
        if same != run.recipe or fold.dataset_sha256 != run.dataset_sha256:
            raise RunError(
                f"it is of another dataset or recipe than {run.folder}",
                "Cross-validate with the dataset and recipe of the run that is exported",
                str(path),
            )
    count = next(iter(found.values())).recipe.data.folds if found else 0
    if missing := sorted(set(range(count)) - set(found)) or (not found and [0]):
        raise RunError(
            f"fold {missing[0]} is missing",
            "Make them with 'osteoedge train DATASET --out FOLDS --folds 5', same recipe",
            str(folder),
        )
    return [found[fold] for fold in range(count)]


def _score(fold: Run, variant: Variant) -> Scored:
    dataset = fold.dataset()
    cache = fold.cache(dataset)
    conversion = convert_run(fold, dataset, cache, variant)
    spec = describe(conversion.model, conversion.backbone, variant, conversion.ranges)
    model = CpuDelegate().load(conversion.model, spec, threads=2)

    def real(films: FilmSet) -> Real:
        pixels = films.cache.pixels[films.rows]
        return shown_outputs(model, spec, films.spec, pixels, mirror=fold.recipe.export.mirror)

    own, left_out = (
        film_set(fold, dataset, cache, part).labelled() for part in ("calibration", "test")
    )
    fusion = fit_fusion(real(own), own.labels, own.malignant_subtypes, own.context)
    probabilities = fused_probabilities(real(left_out), fusion, left_out.context)
    return Scored.of(probabilities, left_out.labels, dataset.films.iloc[left_out.rows])
