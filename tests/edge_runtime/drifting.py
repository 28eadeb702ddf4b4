"""Films whose figures a test decides on, in the spool of a unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from edge_runtime.bundle import ModelBundle
from edge_runtime.drift.reference import (
    BLOCK,
    MEASURES,
    DriftReference,
    Measure,
    reference_of,
)
from edge_runtime.spool import Spool
from edge_runtime.spool.drift import WatchedFilm, watch_film
from tests.edge_runtime.units import receive

# What an ordinary film has, and by how much films differ.
USUAL: Mapping[Measure, tuple[float, float]] = {
    "exposure": (120.0, 10.0),
    "contrast": (8.0, 1.0),
    "sharpness": (0.5, 0.05),
    "distance": (1.0, 0.1),
    "tumour": (0.1, 0.02),
}


def films(rng: np.random.Generator, count: int, **shifts: float) -> list[dict[Measure, float]]:
    """Figures of films, some shifted by so many standard deviations."""
    return [
        {name: USUAL[name][0] + USUAL[name][1] * (rng.normal() + shifts.get(name, 0.0))
         for name in MEASURES}
        for _ in range(count)
    ]  # fmt: skip


def a_reference(rng: np.random.Generator, count: int = 300) -> DriftReference:
    return reference_of(films(rng, count), unable=count // 20)


def with_reference(bundle: ModelBundle, reference: DriftReference | None) -> ModelBundle:
    """The same bundle, had it been exported with other films."""
    calibration = bundle.manifest.calibration.model_copy(update={"drift": reference})
    manifest = bundle.manifest.model_copy(update={"calibration": calibration})
    return dataclasses.replace(bundle, manifest=manifest)


def take(
    spool: Spool,
    bundle: ModelBundle,
    rng: np.random.Generator,
    count: int = BLOCK,
    unable: int = 5,
    unread: bool = False,
    **shifts: float,
) -> None:
    """Let so many studies be screened; they are not judged yet."""
    if spool.row("SELECT 1 FROM film") is None:
        receive(spool, "1.2.3")
    begun = spool.rows("SELECT COUNT(*) FROM drift_film")[0][0]
    with spool.transaction() as execute:
        for number, values in enumerate(films(rng, count, **shifts)):
            watch_film(
                execute, spool.now(), 1, f"1.2.{begun + number}", number < unable,
                WatchedFilm(bundle.sha256, {} if unread else values),
            )  # fmt: skip
