"""The model card and the bill of materials say what a reader of the bundle must know."""

from __future__ import annotations

import json
import re
from importlib.metadata import version

from edge_runtime.bundle import Fitness, load_bundle
from edge_runtime.bundle.manifest import BoundCheck
from edge_runtime.screening import STANDING_SENTENCE
from export.card import to_page, with_fitness
from export.sbom import bill_of_materials
from tests.conftest import Trained


def test_the_card_says_what_must_be_known(trained: Trained) -> None:
    bundle = load_bundle(trained.bundle)
    card = bundle.members["card.md"].decode()
    for needed in (
        "SYNTHETIC", STANDING_SENTENCE, "CC0-1.0", "## Intended use", "## Out of scope",
        "## Limitations", "## What quantization cost", "Edge TPU:", "shadow mode",
    ):  # fmt: skip
        assert needed in card, needed
    assert (bundle.manifest.edge_tpu.reason or "(compiler ") in card
    for point in bundle.manifest.calibration.operating_points:
        assert f"| {point.score} >= {point.threshold:.3f} |" in card
    auc = bundle.manifest.quantization.metrics["int8"]["auc_macro"]
    assert f"{auc:.3f} (" in card
    counts = re.findall(r"^\| (train|validation|calibration) \|.* (\d+) \| \d+ \|$", card, re.M)
    assert sum(int(films) for _, films in counts) == 400
    films = (trained.dataset / "radiographs.csv").read_text().splitlines()[1:]
    patients = {row.split(",")[1] for row in films}
    assert not [patient for patient in patients if patient in card], "no patient is named"


def test_the_page_is_one_file_with_the_same_words(trained: Trained) -> None:
    members = load_bundle(trained.bundle).members
    page = members["card.html"].decode()
    assert "<table>" in page
    assert not re.search(r"(src|href)=", page), "nothing is loaded from elsewhere"
    assert to_page("a <script>b</script>", "t").count("<script>") == 0
    assert STANDING_SENTENCE in page


def test_fitness_is_written_once() -> None:
    check = BoundCheck(name="films", bound=200.0, found=275.0, met=True)
    fitness = Fitness(
        status="evaluated", dataset="Elsewhere", dataset_sha256="ab" * 32, where="centre == 2",
        bounds=(check,),
    )  # fmt: skip
    card = with_fitness(with_fitness("# Card\n\n## Limitations\n", Fitness()), fitness)
    assert card.count("## Fitness") == 1
    assert "| films | 200 | 275 |" in card
    assert "Elsewhere, centre == 2 (SHA-256 abababababababab)" in card


def test_the_bill_names_the_model_its_data_and_every_package(trained: Trained) -> None:
    bundle = load_bundle(trained.bundle)
    bill = json.loads(bundle.members["sbom.cdx.json"])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    model = bill["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"][0]["content"] == bundle.manifest.members["model.int8.tflite"]
    components = {component["name"]: component for component in bill["components"]}
    assert components[bundle.manifest.provenance.dataset]["type"] == "data"
    for package in ("numpy", "tensorflow", "tensorflow-model-optimization"):
        assert components[package]["version"] == version(package)
        assert components[package]["purl"].startswith(f"pkg:pypi/{package}@")
    sha256 = bundle.manifest.members["model.int8.tflite"]
    again = bill_of_materials(bundle.manifest, sha256)
    assert again == bill_of_materials(bundle.manifest, sha256), "no clock in it"
    assert b"timestamp" not in again
