"""`osteoedge calibrate`: from films to a signed site file, and from it into every result."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import typer
from rich.progress import Progress

from edge_runtime import Screener, decision, read_radiograph
from edge_runtime.bundle import (
    LABELS,
    ModelBundle,
    SiteFile,
    load_bundle,
    load_site,
    sign_bundle,
    with_site,
)
from edge_runtime.errors import CalibrationError, ConfigError, GateError, OsteoedgeError
from edge_runtime.spool import Spool
from edge_runtime.unit.check import check_unit
from edge_runtime.unit.config import UnitConfig
from edge_runtime.unit.mode import load_servable
from edge_runtime.unit.status import read_status, report
from export.cli import calibrate
from export.site.calibrating import calibrate_site
from export.site.films import PATIENTS, SiteFilms, require_screened
from export.site.fit import Targets, fit_site
from export.site.recalibration import recalibrated
from export.site.report import PAGE
from tests.conftest import Trained, must, osteoedge
from tests.edge_runtime.bundles import servable_bundle
from tests.edge_runtime.units import settings
from tests.export.sites import AWAY
from train.dataset.schema import Dataset, load_dataset
from train.evaluate.models import BundleModel
from train.evaluate.screenings import answer_dataset
from train.evaluate.store import AnswerStore
from train.run import load_run

SITE = 'Clinic | "Ndola" <A>'


@dataclass(frozen=True)
class Clinic:
    """A site, its films, and a bundle that may serve there, calibrated by the command."""

    data: Path
    bundle: Path
    keys: Path
    key: Path
    out: Path
    said: subprocess.CompletedProcess[str]

    def served(self) -> ModelBundle:
        return with_site(load_bundle(self.bundle, self.keys), self.out, self.keys)

    def site(self) -> SiteFile:
        return load_site(self.out, self.keys).site


@pytest.fixture(scope="module")
def clinic(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    folder = tmp_path_factory.mktemp("clinic")
    bundle, keys = servable_bundle(trained.bundle, folder / "bundle", "evaluated")
    data, key, out = folder / "data", folder / "bundle" / "maker", folder / "ndola.osteosite"
    write_films(trained.dataset, data)
    said = osteoedge(
        "calibrate", bundle, data, "--site", SITE, "--target-sensitivity", 0.85,
        "--malignant-sensitivity", 0.7, "--sign", key, "--out", out, "--where", "sex != 'none'",
    )  # fmt: skip
    return Clinic(data, bundle, keys, key, out, said)


def write_films(phantoms: Path, data: Path) -> None:
    """Take as few films as suffice, as if they were a clinic's; one of them is not there."""
    data.mkdir()
    films = pd.read_csv(phantoms / "radiographs.csv", dtype=str)
    tumour = films["label"] != "no_tumour"
    malignant = sorted(films.loc[films["label"] == "malignant", "patient_id"].unique())[:34]
    benign = sorted(set(films.loc[tumour, "patient_id"]) - set(malignant))
    others = sorted(set(films["patient_id"]) - set(films.loc[tumour, "patient_id"]))
    chosen = [*malignant, *benign[: PATIENTS + 2 - 34], *others[: PATIENTS + 2]]
    views = films.groupby("patient_id").cumcount()
    twice = films["patient_id"].isin([*malignant[:10], *others[:10]])
    films = films[films["patient_id"].isin(chosen) & ((views == 0) | twice)].copy()
    films.loc[films.index[-1], "label"] = None
    absent = films.index[films["patient_id"] == malignant[0]][-1]
    films.loc[absent, "path"] = "images/absent.dcm"
    films.assign(centre="7").to_csv(data / "radiographs.csv", index=False)
    for name in ("images", "masks"):
        (data / name).symlink_to(phantoms / name)
    (data / "dataset.toml").write_text(
        'name = "ndola"\nsource = "a test"\nlicence = "CC0-1.0"\nsynthetic = false\n'
    )


def screened(clinic: Clinic) -> pd.DataFrame:
    """The answers that the command kept."""
    model = BundleModel.open(clinic.bundle, delegate="cpu")
    with AnswerStore(clinic.out.with_suffix(".report") / "answers", model.sha256) as store:
        return answer_dataset(model, load_dataset(clinic.data), store).predictions


def a_unit(folder: Path, bundle: Path, keys: Path, site: Path) -> UnitConfig:
    """Settings of a unit that has a site file."""
    unit = settings(folder, bundle, keys)
    return unit.model_copy(update={"bundle": unit.bundle.model_copy(update={"site": site})})


def again(clinic: Clinic, **changed: object) -> OsteoedgeError:
    """Return what a call that is wrong in one way is refused with; nothing may be written."""
    given = {
        "path": clinic.bundle, "dataset": load_dataset(clinic.data), "name": SITE,
        "targets": Targets(0.85, 0.7), "key": clinic.key, "where": None, "run": None, **changed,
    }  # fmt: skip
    before = clinic.out.read_bytes()
    with pytest.raises(OsteoedgeError) as raised:
        calibrate_site(out=clinic.out, progress=Progress(disable=True), **given)  # type: ignore[arg-type]
    assert clinic.out.read_bytes() == before
    return raised.value


def test_the_command_says_what_it_did(clinic: Clinic) -> None:
    said = clinic.said
    assert said.returncode == 1, "a film is not there" + said.stderr
    assert "Traceback" not in said.stderr
    errors = [line for line in said.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1 and "absent" in errors[0]
    words = " ".join(said.stdout.split())
    assert 'Next: under [bundle] in unit.toml: site = "ndola.osteosite"' in words
    assert "osteoedge serve --config unit.toml --check" in words
    assert "62 patients with a tumour" in words and "any referral" in words


def test_the_site_file_says_on_what_it_was_fitted(clinic: Clinic) -> None:
    films = pd.read_csv(clinic.data / "radiographs.csv", dtype=str)
    known = films[films["label"].notna()]
    fit = clinic.site().fitted
    assert fit is not None
    assert (fit.dataset, fit.licence, fit.where) == ("ndola", "CC0-1.0", "sex != 'none'")
    assert fit.dataset_sha256 == load_dataset(clinic.data).sha256
    assert (fit.films, fit.unlabelled, fit.unable) == (len(known), 1, 1)
    assert (fit.tumour_patients, fit.malignant_patients) == (62, 34)
    assert fit.patients == known["patient_id"].nunique() == fit.studies
    assert fit.centres == ("7",)
    assert not fit.synthetic
    names = {"malignant", "tumour", "study_malignant", "study_tumour"}
    assert set(fit.promises) == names
    assert set(fit.rates) == names | {"referred", "study_referred"}
    for point in clinic.site().operating_points:
        target = 0.7 if point.score == "malignant" else 0.85
        assert point.target == f"sensitivity at least {target:.2f}, expected on fresh films"
        promised, after = fit.promises[point.name], fit.rates[point.name].after
        assert promised.sensitivity.value == pytest.approx(target, abs=0.03)
        assert promised.sensitivity.value >= target
        assert 0.5 < promised.assurance < 0.9
        assert point.sensitivity == after.sensitivity
        assert after.sensitivity.low <= after.sensitivity.value <= after.sensitivity.high


def test_the_device_decides_as_was_fitted(clinic: Clinic) -> None:
    """To the last film: those that set the thresholds are referred, by the narrowest margin."""
    predictions, site, dataset = screened(clinic), clinic.site(), load_dataset(clinic.data)
    films = SiteFilms.of(predictions, dataset)
    served = clinic.served()
    own = load_bundle(clinic.bundle).manifest.calibration
    fit = fit_site(films.checked(), own, Targets(0.85, 0.7))
    assert fit.recalibration == site.recalibration
    columns = [f"p_{label}" for label in LABELS]
    told = recalibrated(predictions[columns].to_numpy(np.float64), fit.recalibration)
    chosen = list(range(0, len(predictions), 12))
    for point in served.manifest.calibration.at("image"):
        above = decision.score(told, point.score) - point.threshold
        chosen.append(int(np.nanargmin(np.where(above >= 0, above, np.nan))))
        assert 0 <= above[chosen[-1]] < 1e-6
    with Screener(served, "cpu") as screener:
        for number in set(chosen):
            path = dataset.image_path(dataset.films.iloc[number])
            if not path.is_file():
                continue
            screening = screener.screen(read_radiograph(path))
            assert screening.scores is not None and screening.probabilities is not None
            for name, score in decision.scores(told[number]).items():
                assert screening.scores[name] == pytest.approx(score, abs=1e-9)
            if screening.decision != "unable":
                expected, _ = decision.decide(told[number], site.operating_points[:2])
                assert screening.decision == expected
            assert screening.prediction_set == decision.prediction_set(
                told[number], fit.conformal_quantiles
            )


def test_every_result_names_the_site(clinic: Clinic, tmp_path: Path) -> None:
    film = next(path for path in sorted((clinic.data / "images").iterdir()))
    site = load_site(clinic.out)
    out = tmp_path / "out"
    must(osteoedge("screen", film, "--bundle", clinic.bundle, "--site", clinic.out,
                   "--trusted-keys", clinic.keys, "--out", out, "--write", "json,sr"))  # fmt: skip
    document = json.loads((out / f"{film.stem}.json").read_text())
    assert document["bundle"]["site"] == {"name": SITE, "sha256": site.sha256}
    (sr,) = out.glob("*.sr.dcm")
    texts = [item.value for item in pydicom.dcmread(sr).iterall() if item.keyword == "TextValue"]
    assert f"site file {SITE} {site.sha256}" in texts
    unit = a_unit(tmp_path, clinic.bundle, clinic.keys, clinic.out)
    assert load_servable(unit.bundle).site == clinic.served().site
    with Spool(unit.spool.directory):
        pass
    status = read_status(unit)
    assert status.mode.bundle is not None
    assert status.mode.bundle.site == clinic.served().site
    cells = [str(cell) for table in report(status) for column in table.columns
             for cell in column.cells]  # fmt: skip
    assert any(site.sha256 in cell for cell in cells)
    assert any(f"calibrated for {SITE}" in found.what for found in check_unit(unit))


def test_it_is_read_back_with_who_when_and_on_what(clinic: Clinic, tmp_path: Path) -> None:
    said = " ".join(must(osteoedge("bundle", "show", clinic.out)).stdout.split())
    for words in ("62 with a tumour", "CC0-1.0", "signed by", "UTC by osteoedge"):
        assert words in said
    assert load_site(clinic.out).signature.key_id in said
    verified = must(osteoedge("bundle", "verify", clinic.bundle, "--site", clinic.out,
                              "--trusted-keys", clinic.keys))  # fmt: skip
    assert f"calibrates it for {SITE}" in verified.stdout
    changed = tmp_path / "changed.osteosite"
    changed.write_text(clinic.out.read_text().replace("Ndola", "Kitwe"))
    for arguments in (["show", changed], ["verify", clinic.bundle, "--site", changed,
                                          "--trusted-keys", clinic.keys]):  # fmt: skip
        result = osteoedge("bundle", *arguments)
        assert result.returncode == 1
        assert "changed.osteosite: the signature is not that" in result.stderr
    without = osteoedge("bundle", "verify", clinic.bundle, "--site", clinic.out)
    assert without.returncode == 2
    assert "--trusted-keys" in without.stderr


def test_the_report_stands_alone_and_says_before_and_after(clinic: Clinic) -> None:
    html = (clinic.out.with_suffix(".report") / PAGE).read_text()
    assert "<A>" not in html, "a name is no markup"
    assert "Ndola" in html
    assert html.count("data:image/png;base64,") == 1
    assert "the bundle's" in html.replace("&#x27;", "'") and "cross-validated" in html
    assert "SYNTHETIC" not in html
    body = html.replace("not a normal report", "").lower()
    assert not [word for word in (" normal", "all clear", "no finding") if word in body]


def test_a_call_that_was_stopped_goes_on(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With answers at hand no film is screened again, and the same comes of them."""

    def fail(*_: object) -> None:
        raise AssertionError("screened again")

    monkeypatch.setattr(Screener, "screen", fail)
    copy = clinic.out.with_name("copy.osteosite")
    shutil.copytree(clinic.out.with_suffix(".report"), copy.with_suffix(".report"))
    with pytest.raises(typer.Exit):
        calibrate(clinic.bundle, clinic.data, site=SITE, sign=clinic.key, out=copy, as_json=True,
                  target_sensitivity=0.85, malignant_sensitivity=0.7)  # fmt: skip
    document = json.loads(capsys.readouterr().out)
    ours = clinic.site().model_dump(mode="json", by_alias=True)
    for name in ("operating_points", "recalibration", "conformal_quantiles", "manifest_sha256"):
        assert document[name] == ours[name], name
    assert document["sha256"] == load_site(copy, clinic.keys).sha256
    assert document["warnings"] == []


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("label != 'benign'", "34 patients with a tumour, and 60 are needed"),
        ("label != 'no_tumour'", "0 patients without one, and 60 are needed"),
    ],
)
def test_too_few_patients(clinic: Clinic, where: str, message: str) -> None:
    error = again(clinic, dataset=load_dataset(clinic.data).select(where))
    assert isinstance(error, CalibrationError)
    assert message in str(error)


def test_films_that_trained_the_bundle(clinic: Clinic, trained: Trained) -> None:
    """Found by hash, whatever the dataset is called now."""
    error = again(clinic, run=load_run(trained.run))
    assert isinstance(error, CalibrationError)
    assert "trained the bundle" in str(error)
    error = again(clinic, run=replace(load_run(trained.run), split_sha256="0" * 64))
    assert isinstance(error, ConfigError)
    assert "another run" in str(error)


def drawings(clinic: Clinic) -> Dataset:
    """The same films, which say what they are."""
    dataset = load_dataset(clinic.data)
    return replace(dataset, card=replace(dataset.card, synthetic=True))


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (lambda c: {"dataset": drawings(c)}, CalibrationError, "drawings cannot set the"),
        (lambda _: {"targets": Targets(0.985, 0.7)}, CalibrationError, "cannot promise"),
        (lambda _: {"name": "two\nlines"}, ConfigError, "is no name for a site"),
        (lambda _: {"name": ""}, ConfigError, "is no name for a site"),
        (lambda c: {"key": c.data / "dataset.toml"}, ConfigError, "no private key"),
    ],
)
def test_what_is_refused(
    clinic: Clinic,
    wrong: Callable[[Clinic], dict[str, object]],
    kind: type[OsteoedgeError],
    message: str,
) -> None:
    error = again(clinic, **wrong(clinic))
    assert isinstance(error, kind)
    assert message in str(error)


def test_films_most_of_which_cannot_be_checked(clinic: Clinic) -> None:
    scored = AWAY.films(0, (90, 60, 30))
    dataset: Dataset = load_dataset(clinic.data)
    count = len(scored.labels)
    with pytest.raises(CalibrationError, match="56% of the films could not be checked"):
        require_screened(SiteFilms(scored, np.arange(count) < 100), dataset)
    # Fewer than half, but nearly all of the films without tumour.
    with pytest.raises(CalibrationError, match="20 patients without one whose films could be"):
        require_screened(SiteFilms(scored, np.arange(count) < 70), dataset)


def test_a_refusal_is_exit_code_3_and_writes_nothing(clinic: Clinic, tmp_path: Path) -> None:
    result = osteoedge(
        "calibrate", clinic.bundle, clinic.data, "--site", "Kitwe", "--sign", clinic.key,
        "--out", tmp_path / "a.osteosite", "--target-sensitivity", 0.4,
    )  # fmt: skip
    assert result.returncode == 3
    assert "a sensitivity of 0.4 is no aim" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_demonstration_stays_one(clinic: Clinic, trained: Trained, tmp_path: Path) -> None:
    """Calibrated or not, it never serves, and its report says what it is."""
    demo = tmp_path / "demo.osteo"
    shutil.copy(trained.bundle, demo)
    sign_bundle(demo, clinic.key)
    done = calibrate_site(
        demo, drawings(clinic), tmp_path / "demo.osteosite", name="Kitwe",
        targets=Targets(0.85, 0.7), key=clinic.key, where=None, run=None,
        progress=Progress(disable=True),
    )  # fmt: skip
    assert done.reported.fitted.synthetic
    assert done.reported.warnings[0].startswith("SYNTHETIC")
    assert "SYNTHETIC" in done.page.read_text()
    loaded = with_site(load_bundle(demo, clinic.keys), tmp_path / "demo.osteosite", clinic.keys)
    assert loaded.manifest.purpose == "demo"
    with pytest.raises(GateError, match="a demonstration"):
        load_servable(a_unit(tmp_path, demo, clinic.keys, tmp_path / "demo.osteosite").bundle)
