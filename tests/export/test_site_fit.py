"""The arithmetic of a site's calibration, on simulated sites whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from edge_runtime import decision
from edge_runtime.bundle import LABELS, Fusion, OperatingPoint, Recalibration
from edge_runtime.decision import Evidence
from edge_runtime.errors import CalibrationError
from export.calibrate import Scored
from export.site.films import SiteFilms
from export.site.fit import (
    Fit,
    Targets,
    fit_site,
    promise,
    require_reachable,
    require_useful,
)
from export.site.measure import cross_validate, measure
from export.site.recalibration import fit_recalibration, recalibrated
from tests.export.sites import AWAY, HOME, Site, calibrated_at_home
from train.evaluate.metrics import CALIBRATION_BINS

OWN = calibrated_at_home()
TARGETS = Targets(0.9, 0.9)
# Of a site that has collected just enough tumours, and of those to come, alike in their shares.
PATIENTS, TO_COME = (90, 45, 15), (18_000, 9_000, 3_000)
DRAWS = 80


def found(point: OperatingPoint, scored: Scored, probabilities: npt.NDArray[np.float64]) -> float:
    """The sensitivity of a threshold on films."""
    positive = scored.labels == 2 if point.score == "malignant" else scored.labels > 0
    return float((decision.score(probabilities, point.score) >= point.threshold)[positive].mean())


def calibration_error(scored: Scored, probabilities: npt.NDArray[np.float64]) -> float:
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == scored.labels
    bins = np.array_split(np.argsort(confidence), CALIBRATION_BINS)
    return sum(abs((confidence[b] - right[b]).sum()) for b in bins) / len(right)


@pytest.mark.parametrize("name", ["tumour", "malignant"])
def test_fresh_films_meet_the_target_as_often_as_is_said(name: str) -> None:
    fresh = AWAY.films(0, TO_COME)
    achieved, expected, assured, inside = [], [], [], []
    for seed in range(1, DRAWS):
        films = AWAY.films(seed, PATIENTS)
        fit = fit_site(films, OWN, TARGETS)
        (point,) = (p for p in fit.operating_points if p.name == name)
        told = promise(point, films, 0.9)
        sensitivity = found(point, fresh, recalibrated(fresh.probabilities, fit.recalibration))
        achieved.append(sensitivity)
        expected.append(told.sensitivity.value)
        assured.append(told.assurance)
        inside.append(told.sensitivity.low <= sensitivity <= told.sensitivity.high)
    # Three standard errors of so many draws.
    assert np.mean(np.array(achieved) >= 0.9) == pytest.approx(np.mean(assured), abs=0.17)
    spread = 3.0 * np.std(achieved) / np.sqrt(DRAWS)
    assert np.mean(achieved) == pytest.approx(np.mean(expected), abs=spread + 0.005)
    assert np.mean(expected) >= 0.9
    assert np.mean(inside) > 0.88


def test_the_thresholds_of_home_would_not_have_held() -> None:
    """What the simulation shows is not true of any threshold."""
    blurred = Site(signal=0.7)
    (own,) = (point for point in OWN.operating_points if point.name == "tumour")
    fresh = blurred.films(0, TO_COME)
    assert found(own, fresh, fresh.probabilities) < 0.75
    fit = fit_site(blurred.films(1, PATIENTS), OWN, TARGETS)
    (point,) = (point for point in fit.operating_points if point.name == "tumour")
    assert found(point, fresh, recalibrated(fresh.probabilities, fit.recalibration)) > 0.83


def test_films_of_one_patient_promise_no_more_than_one_film() -> None:
    twins = replace(AWAY, alike=0.8)
    fresh = twins.films(0, TO_COME)
    met, assured = [], []
    for seed in range(1, 40):
        films = twins.films(seed, PATIENTS, views=4)
        fit = fit_site(films, OWN, TARGETS)
        (point,) = (p for p in fit.operating_points if p.name == "tumour")
        told = promise(point, films, 0.9)
        probabilities = recalibrated(fresh.probabilities, fit.recalibration)
        met.append(found(point, fresh, probabilities) >= 0.9)
        assured.append(told.assurance)
        # Four hundred films of a hundred patients are a hundred.
        assert told == promise(point, twins.films(seed, PATIENTS), 0.9)
    assert np.mean(met) > np.mean(assured) - 0.22


def test_probabilities_mean_more_than_before() -> None:
    fresh = AWAY.films(0, TO_COME)
    before = calibration_error(fresh, fresh.probabilities)
    after = []
    for seed in range(1, 20):
        films = AWAY.films(seed, PATIENTS)
        recalibration = fit_recalibration(films.probabilities, films.labels)
        after.append(calibration_error(fresh, recalibrated(fresh.probabilities, recalibration)))
    assert before > 0.07
    assert np.mean(after) < 0.03
    assert max(after) < before


def test_at_home_there_is_little_to_mend() -> None:
    films = HOME.films(3, (600, 280, 120))
    recalibration = fit_recalibration(films.probabilities, films.labels)
    assert recalibration.scale == pytest.approx(1.0, abs=0.2)
    assert np.abs(recalibration.bias).max() < 0.3


def test_a_class_of_three_films_moves_little() -> None:
    films = AWAY.films(4, (90, 60, 3))
    _, _, malignant = fit_recalibration(films.probabilities, films.labels).bias
    assert abs(malignant) < 2.0


def test_a_site_without_benign_tumours() -> None:
    """Nothing is known of the class, so no prediction set leaves it out."""
    films = AWAY.films(4, (90, 0, 60))
    fit = fit_site(films, OWN, TARGETS)
    assert fit.conformal_quantiles["benign"].value == 1.0
    assert fit.conformal_quantiles["malignant"].value < 1.0
    assert fit.recalibration.bias[1] > -4.0
    cross_validate(SiteFilms(films, np.zeros(150, bool)), OWN, TARGETS)


def test_the_device_says_what_was_fitted() -> None:
    """A recalibrated fusion gives the recalibrated probabilities, with every kind of evidence."""
    generator = np.random.default_rng(0)
    evidence = Evidence(
        generator.normal(size=(50, 3)).astype(np.float32),
        generator.normal(size=50).astype(np.float32),
        generator.normal(size=50).astype(np.float32),
    )
    fusion = Fusion(
        cam=1.3, mask=(0.0, 0.4, 0.7), bias=(0.1, -0.5, -1.0), subtype=0.6, malignant_subtypes=(1,),
        context={"sex": {"F": (0.0, 0.2, -0.1)}},
    )  # fmt: skip
    recalibration = Recalibration(scale=1.7, bias=(0.0, 0.8, -1.1))

    def said(weights: Fusion) -> npt.NDArray[np.float64]:
        context = decision.context_logits({"sex": "F"}, weights)
        return decision.softmax(decision.class_logits(evidence, weights, context))

    np.testing.assert_allclose(
        said(recalibration.of(fusion)), recalibrated(said(fusion), recalibration), atol=1e-12
    )


def test_films_that_could_not_be_checked_set_nothing_and_count_as_referred() -> None:
    scored = AWAY.films(5, (80, 50, 20))
    unable = np.zeros(len(scored.labels), bool)
    unable[[0, 1, 100, 140]] = True
    scored.probabilities[[0, 100]] = np.nan
    films = SiteFilms(scored, unable)
    fit = fit_site(films.checked(), OWN, TARGETS)
    assert {p.name: p.positives for p in fit.operating_points}["tumour"] == 68
    # Certain of nothing, so that no point is reached.
    quiet = np.tile([1.0, 0.0, 0.0], (len(unable), 1))
    rates = measure(SiteFilms(replace(scored, probabilities=quiet), unable), OWN).rates
    for name in ("tumour", "study_tumour", "referred", "study_referred"):
        assert rates[name].sensitivity.value == pytest.approx(2 / 70)
        assert rates[name].specificity.value == pytest.approx(78 / 80)
        assert rates[name].referral_rate.value == pytest.approx(4 / 150)


def test_a_study_is_judged_by_its_most_suspicious_film() -> None:
    scored = AWAY.films(6, (80, 50, 20), views=2)
    quiet = scored.probabilities.copy()
    quiet[::2] = [1.0, 0.0, 0.0]
    films = SiteFilms(replace(scored, probabilities=quiet), np.zeros(len(quiet), bool))
    rates = measure(films, OWN).rates
    assert rates["tumour"].sensitivity.value <= 0.5
    (point,) = (p for p in OWN.operating_points if p.name == "study_tumour")
    loud = decision.score(quiet[1::2], "tumour") >= point.threshold
    assert rates["study_tumour"].sensitivity.value == loud[scored.labels[::2] > 0].mean()


def test_every_patient_is_judged_by_a_fit_to_others() -> None:
    scored = AWAY.films(7, (80, 50, 20), views=2)
    films = SiteFilms(scored, np.zeros(len(scored.labels), bool))
    measured = cross_validate(films, OWN, TARGETS)
    fits = set()
    for patient in set(scored.patients):
        own = scored.patients == patient
        logits, said = (np.log(p[own]) for p in (scored.probabilities, measured.probabilities))
        contrast = (said[:, 1:] - said[:, :1]) - (said[:1, 1:] - said[:1, :1])
        moved = (logits[:, 1:] - logits[:, :1]) - (logits[:1, 1:] - logits[:1, :1])
        fits.add(float(np.round(contrast[1, 0] / moved[1, 0], 6)))
    assert len(fits) == 5, "one temperature a fold, the same for both films of a patient"
    whole = fit_recalibration(scored.probabilities, scored.labels).scale
    assert float(np.round(whole, 6)) not in fits
    assert 0.75 < measured.rates["tumour"].sensitivity.value < 1.0


def test_prediction_sets_are_fitted_again() -> None:
    fresh = AWAY.films(0, TO_COME)
    covered: list[list[float]] = [[], [], []]
    for seed in range(1, 13):
        fit = fit_site(AWAY.films(seed, (120, 90, 60)), OWN, TARGETS)
        told = recalibrated(fresh.probabilities, fit.recalibration)
        for number, label in enumerate(LABELS):
            missed = 1.0 - told[fresh.labels == number, number]
            quantile = fit.conformal_quantiles[label].value
            covered[number].append(float((missed <= quantile).mean()))
    assert np.mean(covered, axis=1) == pytest.approx(1.0 - OWN.conformal_alpha, abs=0.03)


@pytest.mark.parametrize("target", [0.5, 1.0, 0.3, 1.2, float("nan")])
def test_targets_that_are_none(target: float) -> None:
    with pytest.raises(CalibrationError, match="is no aim for a screening"):
        Targets(0.9, target)


@pytest.mark.parametrize(
    ("targets", "patients", "message"),
    [
        (Targets(0.99, 0.9), (90, 45, 15), "60 patients with a tumour cannot promise.*Collect 99"),
        (Targets(0.9, 0.95), (90, 45, 15), "15 patients with a malignant.*Collect 19"),
        (Targets(0.9, 0.6), (90, 55, 5), "5 patients with a malignant.*--malignant-sensitivity"),
    ],
)  # fmt: skip
def test_a_target_that_so_few_cannot_promise(
    targets: Targets, patients: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(CalibrationError, match=message):
        require_reachable(AWAY.films(0, patients), targets)


def test_a_target_reached_by_referring_everything() -> None:
    films = AWAY.films(0, PATIENTS)
    blind = replace(films, probabilities=np.tile([0.6, 0.3, 0.1], (len(films.labels), 1)))
    fit: Fit = fit_site(blind, OWN, TARGETS)
    with pytest.raises(CalibrationError, match="only by referring everything"):
        require_useful(fit)
