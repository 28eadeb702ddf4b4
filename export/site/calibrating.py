"""Calibrate a bundle for a site: screen its films, fit, measure, sign, report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from pydantic import TypeAdapter, ValidationError
from rich.progress import Progress

from edge_runtime.bundle import (
    LABELS,
    MANIFEST,
    Change,
    OperatingPoint,
    SiteFile,
    SiteFit,
    SiteName,
    sign_manifest,
    write_site,
)
from edge_runtime.errors import ConfigError, OsteoedgeError
from edge_runtime.screening import SOFTWARE
from export.bounds import MALIGNANT_PATIENTS
from export.site.films import (
    SiteFilms,
    patients_with,
    refuse_training_films,
    require_dataset,
    require_screened,
)
from export.site.fit import Targets, fit_site, promise, require_reachable, require_useful
from export.site.measure import FOLDS, Measured, cross_validate, interval, measure
from export.site.report import PAGE, Reported, write_report
from train.dataset.schema import Dataset
from train.evaluate.metrics import calibration
from train.evaluate.models import BundleModel
from train.evaluate.resampling import Doubles
from train.evaluate.screenings import answer_dataset
from train.evaluate.store import AnswerStore
from train.evaluate.study import seen_in_training
from train.progress import counting
from train.run import Run


@dataclass(frozen=True)
class Calibrated:
    """A site file that was written.

    Attributes
    ----------
    page
        The report, HTML.
    errors
        Of films that could not be read: they count as `unable`.
    """

    reported: Reported
    page: Path
    errors: list[OsteoedgeError]


def calibrate_site(
    path: Path,
    dataset: Dataset,
    out: Path,
    *,
    name: str,
    targets: Targets,
    key: Path,
    where: str | None,
    run: Run | None,
    progress: Progress,
) -> Calibrated:
    """Write a signed site file for a bundle, and a report beside it.

    Answers are kept in the folder of the report: a call that was stopped goes on where it was.

    Parameters
    ----------
    dataset
        The site's films, those that satisfy ``where``.
    name
        Of the site: every result that is made with the file names it.
    key
        Private key in PEM.
    run
        That the bundle was exported from, if it is at hand: to find films that trained it.

    Raises
    ------
    CalibrationError
        The films cannot calibrate the bundle; nothing is written.
    ConfigError
        The key or the name cannot be used, or the run is not the bundle's.
    RunError
        The run's films are gone, or were changed.
    """
    # What is wrong is told before thousands of films are screened.
    sign_manifest(b"", key)
    _require_name(name)
    model = BundleModel.open(path, delegate="cpu")
    require_dataset(dataset, model.purpose)
    trained, doubt = _training_films(model, dataset, run)
    folder = out.with_suffix(".report")
    with AnswerStore(folder / "answers", model.sha256) as store:
        answered = answer_dataset(
            model, dataset, store, progress=counting(progress, "screen films", len(dataset.films))
        )
    films, own = SiteFilms.of(answered.predictions, dataset), model.manifest.calibration
    require_screened(films, dataset)
    require_reachable(films.checked(), targets)
    fit = fit_site(films.checked(), own, targets)
    require_useful(fit)
    before, after = measure(films, own), cross_validate(films, own, targets)
    known = answered.predictions[answered.predictions["label"].notna()]
    frames = (known, _with_probabilities(known, after.probabilities))
    checked = films.checked()
    fitted = SiteFit(
        at=datetime.now(UTC).replace(microsecond=0),
        software=SOFTWARE,
        dataset=dataset.card.name,
        dataset_sha256=dataset.sha256,
        licence=dataset.card.licence,
        where=where,
        synthetic=dataset.card.synthetic,
        training_films=trained,
        films=len(known),
        unlabelled=len(dataset.films) - len(known),
        unable=int(films.unable.sum()),
        patients=patients_with(checked, 0),
        studies=len(set(checked.studies)),
        tumour_patients=patients_with(checked, 1),
        malignant_patients=patients_with(checked, 2),
        centres=tuple(sorted({str(centre) for centre in known["centre"].dropna()})),
        folds=FOLDS,
        rates={n: Change(before=before.rates[n], after=after.rates[n]) for n in before.rates},
        promises={p.name: promise(p, checked, targets.of(p.score)) for p in fit.operating_points},
        ece_before=interval(calibration(frames[0])["ece"]),
        ece_after=interval(calibration(frames[1])["ece"]),
    )
    site = SiteFile(
        name=name,
        manifest_sha256=hashlib.sha256(model.bundle.members[MANIFEST]).hexdigest(),
        operating_points=tuple(_told_honestly(p, after) for p in fit.operating_points),
        recalibration=fit.recalibration,
        conformal_quantiles=dict(fit.conformal_quantiles),
        fitted=fitted,
    )
    write_site(out, site, key)
    warnings = (*_warnings(fitted), *doubt)
    reported = Reported(site, fitted, model.manifest, warnings, frames)
    write_report(folder, reported)
    return Calibrated(reported, folder / PAGE, answered.errors)


def _require_name(name: str) -> None:
    try:
        TypeAdapter(SiteName).validate_python(name)
    except ValidationError:
        raise ConfigError(
            f"--site {name!r} is no name for a site", "Give 1 to 64 characters on one line"
        ) from None


def _training_films(
    model: BundleModel, dataset: Dataset, run: Run | None
) -> tuple[str, tuple[str, ...]]:
    """Refuse films that trained the bundle; return what is known of them, and what to warn of."""
    if run is not None:
        refuse_training_films(dataset, run, model.manifest.provenance)
        return "none of these files, by hash; copies written anew would not be found", ()
    seen = seen_in_training(model, dataset)
    if seen is None:
        return "none by the name of the collection; not looked for by hash", ()
    doubt = f"the bundle may have been trained on {seen}, and would look better than it is"
    return seen, (f"{doubt}: give --run, that it was exported from, to be sure",)


def _with_probabilities(predictions: pd.DataFrame, probabilities: Doubles) -> pd.DataFrame:
    return predictions.assign(
        **{f"p_{label}": probabilities[:, number] for number, label in enumerate(LABELS)}
    )


def _told_honestly(point: OperatingPoint, measured: Measured) -> OperatingPoint:
    """Return a point with what it does in cross-validation: its own films would flatter it."""
    rates = measured.rates[point.name]
    return point.model_copy(
        update={"sensitivity": rates.sensitivity, "specificity": rates.specificity}
    )


def _warnings(fitted: SiteFit) -> Iterator[str]:
    if fitted.synthetic:
        yield "SYNTHETIC: calibrated on drawings, for demonstration only"
    if fitted.malignant_patients < MALIGNANT_PATIENTS:
        yield (
            f"{fitted.malignant_patients} patients with a malignant tumour set its points, and "
            f"one of them is worth {1 / fitted.malignant_patients:.0%}: collect "
            f"{MALIGNANT_PATIENTS} or more"
        )
    if len(fitted.centres) > 1:
        yield (
            f"the films are of {len(fitted.centres)} centres, and a site file is for one: "
            "choose it with --where"
        )
    if fitted.ece_after.value > fitted.ece_before.value:
        yield (
            "the site's probabilities are no better calibrated than the bundle's own: more films "
            "are needed to tell"
        )
