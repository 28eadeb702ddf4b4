"""From one bundle to the next, and from research to evaluated: both by bounds stated before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.bundle import MANIFEST, Manifest, load_bundle, write_bundle
from edge_runtime.errors import ConfigError
from export.bounds import ChangeBounds, ServingBounds, load_bounds
from tests.conftest import ROOT, must, osteoedge


def rewritten(bundle: Path, out: Path, **changes: Any) -> Path:
    """Copy a bundle as its maker would have made it with another manifest."""
    loaded = load_bundle(bundle)
    document = json.loads(loaded.members[MANIFEST])
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = document
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place[key]
        place[last] = value
    write_bundle(out, Manifest.model_validate(document), loaded.content)
    return out


@pytest.fixture(scope="module")
def films(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty drawings that pass for a hospital's films."""
    folder = tmp_path_factory.mktemp("films") / "data"
    folder.mkdir()
    rows = (phantoms / "radiographs.csv").read_text().splitlines()[:61]
    (folder / "radiographs.csv").write_text("\n".join(rows) + "\n")
    for name in ("images", "masks"):
        (folder / name).symlink_to(phantoms / name)
    card = (phantoms / "dataset.toml").read_text()
    card = card.replace("synthetic = true", "synthetic = false")
    lines = ['name = "Hospital"' if line.startswith("name") else line for line in card.splitlines()]
    (folder / "dataset.toml").write_text("\n".join(lines) + "\n")
    return folder


def test_what_differs_is_named_and_measured(tiny_bundle: Path, films: Path, tmp_path: Path) -> None:
    other = rewritten(
        tiny_bundle, tmp_path / "other.osteo", calibration__operating_points__1__threshold=0.0001
    )
    same = json.loads(must(osteoedge("bundle", "diff", tiny_bundle, tiny_bundle, "--json")).stdout)
    assert same["manifest"] == {}
    assert same["met"]

    bounds = tmp_path / "change.toml"
    bounds.write_text(
        'unchanged = ["model", "input_spec"]\nmax_bytes = 99_000_000\nmax_turned = 0.9\n'
        '[max_loss]\n"tumour.sensitivity" = 0.0\nauc_macro = 0.0\n'
    )
    command = ("bundle", "diff", tiny_bundle, other, "--on", films, "--bounds", bounds)
    found = json.loads(must(osteoedge(*command, "--json")).stdout)
    assert set(found["manifest"]) == {"calibration.operating_points.tumour.threshold"}
    assert found["turned"] > 0.0
    assert found["differences"]["tumour.specificity"]["value"] < 0.0
    assert found["differences"]["auc_macro"]["value"] == 0.0
    assert [check["met"] for check in found["checks"]] == [True] * 6

    bounds.write_text('unchanged = ["calibration"]\n[max_loss]\n"tumour.specificity" = 0.01\n')
    refused = osteoedge(*command)
    assert refused.returncode == 3
    assert refused.stdout.count("NOT MET") == 2
    without = osteoedge("bundle", "diff", tiny_bundle, other, "--bounds", bounds)
    assert without.returncode == 2
    assert "need a dataset" in without.stderr


def test_a_bundle_is_evaluated_where_it_meets_its_bounds(
    tiny_bundle: Path, films: Path, tmp_path: Path
) -> None:
    bundle = rewritten(tiny_bundle, tmp_path / "a.osteo", purpose="research")
    bounds, out = tmp_path / "serve.toml", tmp_path / "evaluated.osteo"
    command = ("bundle", "qualify", bundle, films, "--bounds", bounds, "--out", out)
    bounds.write_text("films = 50\nunable_rate = 0.5\n[sensitivity]\ntumour = 1.01\n")
    refused = osteoedge(*command)
    assert refused.returncode == 3
    assert "NOT MET: sensitivity, tumour" in refused.stdout
    # Not in the file, and asked for all the same: the tiny model's thresholds rest on few tumours.
    assert "NOT MET: malignant_patients" in refused.stdout
    assert "bounds not met: malignant_patients, sensitivity, tumour" in refused.stderr
    assert not out.exists()

    bounds.write_text(
        "films = 50\ncentres = 1\ndicom_auc_drop = 0.9\nmalignant_patients = 5\n"
        "[sensitivity]\ntumour = 0.1\n"
    )
    must(osteoedge(*command))
    manifest = load_bundle(out).manifest
    assert manifest.purpose == "evaluated"
    assert manifest.fitness.dataset == "Hospital"
    assert len(str(manifest.fitness.dataset_sha256)) == 64
    assert {check.name: check.met for check in manifest.fitness.bounds} == {
        "films": True, "centres": True, "malignant_patients": True,
        "sensitivity, tumour": True, "dicom_auc_drop": True,
    }  # fmt: skip
    assert "Evaluated: met these bounds on Hospital" in load_bundle(out).members["card.md"].decode()
    assert load_bundle(out).model == load_bundle(bundle).model


def test_drawings_and_films_of_the_training_show_nothing(
    tiny_bundle: Path, phantoms: Path, films: Path, tmp_path: Path
) -> None:
    bounds = tmp_path / "serve.toml"
    bounds.write_text("films = 1\n")
    flags = ("--bounds", bounds, "--out", tmp_path / "no.osteo")
    demo = osteoedge("bundle", "qualify", tiny_bundle, films, *flags)
    assert demo.returncode == 3
    assert "drawings cannot show" in demo.stderr
    drawn = rewritten(tiny_bundle, tmp_path / "a.osteo", purpose="research")
    assert osteoedge("bundle", "qualify", drawn, phantoms, *flags).returncode == 3
    known = shutil.copytree(films, tmp_path / "known", symlinks=True)
    card = (films / "dataset.toml").read_text()
    name = load_bundle(tiny_bundle).manifest.provenance.dataset
    (known / "dataset.toml").write_text(card.replace('"Hospital"', f'"{name}"'))
    seen = osteoedge("bundle", "qualify", drawn, known, *flags)
    assert seen.returncode == 3
    assert "may have been trained on these films" in seen.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "asks for nothing"),
        ("sensitivity = 0.9", "sensitivity: Input should be a valid dict"),
        ("film = 3", "film: Extra inputs are not permitted"),
        ("films = ", "cannot be read"),
    ],
)
def test_bounds_that_are_not_understood(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bounds.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_bounds(path, ServingBounds)
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        load_bounds(tmp_path / "none.toml", ChangeBounds)


def test_the_examples_are_understood() -> None:
    examples = ROOT / "docs" / "bounds"
    assert load_bounds(examples / "serve.toml", ServingBounds).sensitivity["malignant"] == 0.8
    assert load_bounds(examples / "change.toml", ChangeBounds).max_turned == 0.1
