"""A site's films as a bundle's device code screens them, and when they can calibrate it at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.bundle import LABELS, Provenance, Purpose
from edge_runtime.errors import CalibrationError, ConfigError
from export.calibrate import Scored
from train.dataset.schema import Dataset, label_index
from train.evaluate.resampling import Flags
from train.run import Run

# Patients, not films: two views of one tumour say little more than one. A sensitivity of 0.90
# found on 60 lies between 0.79 and 0.96.
PATIENTS = 60
# Where more films than this cannot be checked, something else is to be mended first.
_MOST_UNABLE = 0.5


@dataclass(frozen=True)
class SiteFilms:
    """The n films of a site that have a label, and what a bundle said of them.

    Attributes
    ----------
    scored
        Probabilities are NaN where a film could not be read.
    unable
        (n,), could not be checked, whether or not it has probabilities.
    """

    scored: Scored
    unable: Flags

    @classmethod
    def of(cls, predictions: pd.DataFrame, dataset: Dataset) -> SiteFilms:
        """Take the films with a label.

        Parameters
        ----------
        predictions
            Of :func:`train.evaluate.screenings.answer_dataset` on ``dataset``.
        """
        known = predictions["label"].notna().to_numpy()
        told = predictions[known]
        probabilities = told[[f"p_{label}" for label in LABELS]].to_numpy(np.float64)
        return cls(
            Scored.of(probabilities, label_index(told), dataset.films[known]),
            told["decision"].eq("unable").to_numpy(bool),
        )

    def take(self, chosen: npt.NDArray[np.bool_]) -> SiteFilms:
        """Return some of the films, (n,)."""
        scored = self.scored
        return SiteFilms(
            replace(
                scored,
                probabilities=scored.probabilities[chosen],
                labels=scored.labels[chosen],
                patients=scored.patients[chosen],
                studies=scored.studies[chosen],
            ),
            self.unable[chosen],
        )

    def checked(self) -> Scored:
        """Return the films that set thresholds and probabilities.

        Not those that are `unable`: they are referred whatever the threshold, and must not buy it
        a miss among the others.
        """
        return self.take(~self.unable).scored


def patients_with(scored: Scored, label: int) -> int:
    """Return how many patients have a film of this label, 0..2, or a worse one."""
    return len(set(scored.patients[scored.labels >= label]))


def require_dataset(dataset: Dataset, purpose: Purpose) -> None:
    """Refuse films that cannot calibrate a bundle of this purpose, before any is screened.

    Raises
    ------
    CalibrationError
        They are drawings, and the bundle is for patients; or too few patients.
    """
    if dataset.card.synthetic and purpose != "demo":
        raise CalibrationError(
            "drawings cannot set the thresholds of a bundle that screens patients",
            "Give the site's own films",
            dataset.card.name,
        )
    known = dataset.films[dataset.films["label"].notna()]
    _require_patients(label_index(known), known["patient_id"].to_numpy(object), "", dataset)


def require_screened(films: SiteFilms, dataset: Dataset) -> None:
    """Refuse films that turned out to be too few, or to be no films for this bundle.

    Raises
    ------
    CalibrationError
        Most are `unable`, or too few patients are left.
    """
    if films.unable.mean() > _MOST_UNABLE:
        raise CalibrationError(
            f"{films.unable.mean():.0%} of the films could not be checked",
            "See why with 'osteoedge screen', and calibrate when the unit can check its films",
            dataset.card.name,
        )
    scored = films.checked()
    _require_patients(scored.labels, scored.patients, " whose films could be checked", dataset)


def _require_patients(
    labels: npt.NDArray[np.int32], patients: npt.NDArray[np.object_], which: str, dataset: Dataset
) -> None:
    tumour = set(patients[labels > 0])
    for count, whose in (
        (len(tumour), "with a tumour"),
        (len(set(patients) - tumour), "without one"),
    ):
        if count < PATIENTS:
            raise CalibrationError(
                f"{count} patients {whose}{which}, and {PATIENTS} are needed",
                "Collect more films of this site, and label them",
                dataset.card.name,
            )


def refuse_training_films(dataset: Dataset, run: Run, origin: Provenance) -> None:
    """Refuse files that trained or chose the network of a bundle.

    Parameters
    ----------
    run
        That the bundle was exported from.

    Raises
    ------
    ConfigError
        It was not.
    RunError
        Its films are gone, or were changed.
    CalibrationError
        Some files are the same. A copy that was written anew is not found.
    """
    if run.split_sha256 != origin.split_sha256:
        raise ConfigError(
            "the bundle was exported from another run", "Give the bundle's own", str(run.folder)
        )
    trained = run.dataset()
    used = run.split()["part"].isin(["train", "validation"]).to_numpy()
    seen = set(_hashes(trained.image_path(film) for _, film in trained.films[used].iterrows()))
    paths = [dataset.image_path(film) for _, film in dataset.films.iterrows()]
    if found := sum(sha256 in seen for sha256 in _hashes(paths)):
        raise CalibrationError(
            f"{found} of {len(paths)} films trained the bundle, which knows them by heart",
            "Choose others with --where, or another dataset",
            dataset.card.name,
        )


def _hashes(paths: Iterable[Path]) -> Iterable[str]:
    for path in paths:
        if path.is_file():
            yield hashlib.sha256(path.read_bytes()).hexdigest()
