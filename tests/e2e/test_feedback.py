"""From films to a weekly page and back to training, by the worker and the verbs alone."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pydicom
import pytest

from edge_runtime.errors import ShadowModeError
from edge_runtime.feedback.reads import add_read
from edge_runtime.intake.understanding import enter, understand
from edge_runtime.screener import Screener
from edge_runtime.spool import Spool
from edge_runtime.unit.config import load_unit
from edge_runtime.unit.mode import go_live, load_servable
from edge_runtime.unit.worker import Worker
from tests.conftest import Trained, must, osteoedge
from tests.edge_runtime.bundles import servable_bundle
from train.dataset.schema import load_dataset

FILMS = 24


@dataclass
class Clinic:
    """A unit that has screened films whose truth is known.

    Attributes
    ----------
    truth
        Study Instance UID -> label.
    """

    config: Path
    truth: dict[str, str]
    accessions: dict[str, str]


@pytest.fixture
def clinic(tmp_path: Path, trained: Trained) -> Iterator[Clinic]:
    """A unit, live, whose worker has done all that came."""
    bundle, keys = servable_bundle(trained.bundle, tmp_path / "bundle", "evaluated")
    config = tmp_path / "unit.toml"
    config.write_text(
        f'name = "ward-3"\n[bundle]\npath = "{bundle}"\ntrusted_keys = "{keys}"\n'
        '[spool]\ndirectory = "spool"\nreserve_mib = 10\nunencrypted_because = "a test"\n'
        '[[intake.folders]]\npath = "watched"\n'
    )
    unit = load_unit(config)
    dataset = load_dataset(trained.dataset)
    truth, accessions = {}, {}
    with Spool(unit.spool.directory) as spool:
        loaded = load_servable(unit.bundle)
        go_live(spool, loaded, "Dr Test", "a test")
        for number, (_, row) in enumerate(dataset.films.head(FILMS).iterrows()):
            film = pydicom.dcmread(dataset.image_path(row))
            film.AccessionNumber = f"ACC-{number}"
            file = spool.folder / "incoming" / f"{number}.dcm"
            film.save_as(file)
            enter(spool, understand(file, "test"))
            truth[str(film.StudyInstanceUID)] = str(row["label"])
            accessions.setdefault(str(film.StudyInstanceUID), f"ACC-{number}")
        with Screener(loaded) as screener:
            worker = Worker(unit, spool, screener)
            worker.begin()
            while worker.step():
                pass
    yield Clinic(config, truth, accessions)
    shutil.rmtree(tmp_path / "spool")


def test_a_week_of_films_is_read_told_and_given_to_training(clinic: Clinic, tmp_path: Path) -> None:
    config = clinic.config
    table = tmp_path / "reads.csv"
    with table.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("study_instance_uid", "accession_number", "reading", "reader", "read_at"))
        for number, (study, label) in enumerate(clinic.truth.items()):
            # Half of them by the one number, half by the other.
            name = (study, "") if number % 2 else ("", clinic.accessions[study])
            lines.writerow((*name, label, "Dr A", datetime.now().isoformat(timespec="minutes")))
        lines.writerow(("", "ACC-elsewhere", "benign", "Dr A", "2026-01-01"))
    told = must(osteoedge("feedback", "import", table, "--config", config, "--json"))
    assert json.loads(told.stdout)["linked"] == len(clinic.truth)
    assert json.loads(told.stdout)["unlinked"] == 1

    with Spool(tmp_path / "spool") as spool:
        decisions = {
            row["study_instance_uid"]: row["decision"]
            for row in spool.rows("SELECT study_instance_uid, decision FROM study")
        }
        bundles = {row[0] for row in spool.rows("SELECT DISTINCT bundle_sha256 FROM read_link")}
        assert bundles == {load_servable(load_unit(config).bundle).sha256}
        study = next(iter(clinic.truth))
        add_read(spool, study, "agree", "", "T. Mbeki")
    assert decisions.keys() == clinic.truth.keys()

    week = datetime.now().strftime("%G-W%V")
    out = tmp_path / "reports"
    told = must(
        osteoedge("feedback", "report", "--config", config, "--week", week, "--out", out, "--json")
    )
    report = json.loads(told.stdout)
    flagged = {
        one for one, what in decisions.items() if what in ("urgent_review", "routine_review")
    }
    tumours = {one for one, label in clinic.truth.items() if label != "no_tumour"}
    unable = {one for one, what in decisions.items() if what == "unable"}
    agreement = report["agreement_so_far"]
    assert report["figures"]["films"] == FILMS
    assert report["figures"]["studies"] == agreement["studies"] == len(clinic.truth)
    assert agreement["sensitivity"]["count"] == len(tumours & flagged)
    assert agreement["sensitivity"]["of"] == len(tumours - unable)
    assert agreement["false_alarms"] == len(flagged - tumours)
    assert report["reads_unlinked"] == 1 and report["figures"]["unable"]["films"] >= len(unable)
    assert {case["study_instance_uid"] for case in report["recall"]["cases"]} == tumours - flagged
    page = (out / f"feedback-{week}.html").read_text("utf-8")
    assert all(clinic.accessions[one] in page for one in tumours - flagged)

    back = tmp_path / "back"
    must(osteoedge("feedback", "export", back, "--config", config, "--all-read"))
    dataset = load_dataset(back)
    labels = {label: list(clinic.truth.values()).count(label) for label in clinic.truth.values()}
    assert dataset.films.groupby("label")["study_id"].nunique().to_dict() == labels
    checked = osteoedge("data", "check", back)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    verified = must(osteoedge("audit", "verify", "--config", config))
    assert "whole and in order" in verified.stdout


def test_in_shadow_mode_nothing_can_be_said_of_a_study(clinic: Clinic) -> None:
    must(
        osteoedge("mode", "shadow", "--config", clinic.config, "--by", "Dr T", "--reason", "review")
    )
    study = next(iter(clinic.truth))
    with Spool(clinic.config.parent / "spool") as spool, pytest.raises(ShadowModeError):
        add_read(spool, study, "agree", "", "T. Mbeki")
