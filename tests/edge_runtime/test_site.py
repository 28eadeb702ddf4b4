"""A site's own thresholds: signed, for one bundle, and named in every result."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import Screener, read_radiograph
from edge_runtime.bundle import (
    LABELS,
    MANIFEST,
    ConformalQuantile,
    ModelBundle,
    Recalibration,
    SiteFile,
    generate_key,
    load_bundle,
    with_site,
    write_site,
)
from edge_runtime.decision import average_mirrored, class_logits, fuse, softmax, weigh
from edge_runtime.errors import BundleError
from edge_runtime.preprocess import to_network_pixels
from edge_runtime.proof import Proof
from tests.conftest import Trained, must, osteoedge
from tests.edge_runtime.bundles import servable_bundle


class Maker:
    """Whoever signs for a site, and the bundle that it is for."""

    def __init__(self, folder: Path, tiny_bundle: Path) -> None:
        path, self.keys = servable_bundle(tiny_bundle, folder, "evaluated")
        self.key = folder / "maker"
        self.bundle = load_bundle(path, self.keys)

    def site(self, threshold: float) -> SiteFile:
        points = self.bundle.manifest.calibration.operating_points
        return SiteFile(
            name="district clinic",
            manifest_sha256=hashlib.sha256(self.bundle.members[MANIFEST]).hexdigest(),
            operating_points=tuple(p.model_copy(update={"threshold": threshold}) for p in points),
        )

    def load(self, path: Path) -> ModelBundle:
        return with_site(self.bundle, path, self.keys)


@pytest.fixture
def maker(tmp_path: Path, tiny_bundle: Path) -> Maker:
    return Maker(tmp_path / "made", tiny_bundle)


def test_its_thresholds_decide_and_it_is_named(
    maker: Maker, trained: Trained, tmp_path: Path
) -> None:
    film = read_radiograph(sorted((trained.dataset / "images").iterdir())[0])
    decisions = []
    for threshold in (0.0, 1.0):
        write_site(tmp_path / "clinic.site", maker.site(threshold), maker.key)
        bundle = maker.load(tmp_path / "clinic.site")
        assert bundle.sha256 == maker.bundle.sha256 != bundle.deployed_sha256
        with Screener(bundle) as screener:
            screening = screener.screen(film)
        assert screening.bundle.site is not None
        assert screening.bundle.site.name == "district clinic"
        assert {point.threshold for point in screening.operating_points} == {threshold}
        decisions.append(screening.decision)
    assert decisions == ["urgent_review", "not_flagged"]


def recalibrated(site: SiteFile, recalibration: Recalibration) -> SiteFile:
    every = ConformalQuantile(value=0.5, films=9, low=0.4, high=0.6)
    changed = {
        "recalibration": recalibration,
        "conformal_quantiles": dict.fromkeys(LABELS, every),
    }
    return SiteFile.model_validate(site.model_copy(update=changed).model_dump(by_alias=True))


def test_its_temperature_and_shifts_change_what_is_said(
    maker: Maker, trained: Trained, tmp_path: Path
) -> None:
    film = read_radiograph(sorted((trained.dataset / "images").iterdir())[0])
    recalibration = Recalibration(scale=0.5, bias=(0.0, 1.0, -0.5))
    write_site(tmp_path / "a.site", recalibrated(maker.site(0.5), recalibration), maker.key)
    bundle = maker.load(tmp_path / "a.site")
    calibration = maker.bundle.manifest.calibration
    with Screener(bundle, "cpu") as screener:
        said = screener.screen(film)
        pixels, _ = to_network_pixels(film.display, bundle.manifest.input_spec)
        plain, mirrored = (
            bundle.manifest.model.dequantize(screener.infer(view))
            for view in (pixels, pixels[:, ::-1])
        )
    real = average_mirrored(plain, mirrored)
    logits = class_logits(weigh(real, calibration.fusion.malignant_subtypes), calibration.fusion)
    expected = softmax(0.5 * logits + [0.0, 1.0, -0.5])
    assert said.probabilities == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-6)
    assert said.prediction_set == tuple(
        label for label, p in zip(LABELS, expected, strict=True) if p >= 0.5
    )
    assert bundle.exported == maker.bundle.manifest


def test_a_delegate_is_asked_for_the_bundles_own_answers(maker: Maker, tmp_path: Path) -> None:
    """However steep the site makes the probabilities: small differences are not the site's."""

    class AStepOff:
        def run(self, stored: np.ndarray) -> dict[str, np.ndarray]:
            golden = maker.bundle.golden
            spec, model = maker.bundle.manifest.input_spec, maker.bundle.manifest.model
            (number,) = (
                n for n, pixels in enumerate(golden.pixels)
                if np.array_equal(model.quantize(pixels, spec), stored)
            )  # fmt: skip
            answer = {head: o[number : number + 1].copy() for head, o in golden.outputs.items()}
            # The class map alone, by three steps of its 256, towards malignant.
            answer["cam"][..., 2] += 3
            return answer

    # Steep where the first vector lies: a little more of a logit, and it is another class.
    manifest = maker.bundle.manifest
    first = {head: output[:1] for head, output in maker.bundle.golden.outputs.items()}
    logits = np.log(fuse(manifest.model.dequantize(first), manifest.calibration.fusion))
    _, benign, malignant = (float(v) for v in -8.0 * (logits - logits[0]))
    steep = recalibrated(maker.site(0.5), Recalibration(scale=8.0, bias=(0.0, benign, malignant)))
    write_site(tmp_path / "a.site", steep, maker.key)
    Proof(maker.bundle).check("external", AStepOff())
    Proof(maker.load(tmp_path / "a.site")).check("external", AStepOff())


def test_probabilities_and_the_quantiles_of_them_come_together(maker: Maker) -> None:
    alone = {"recalibration": {"scale": 2.0, "bias": [0.0, 0.0, 0.0]}}
    with pytest.raises(ValueError, match="quantiles are those of the probabilities"):
        SiteFile.model_validate({**maker.site(0.5).model_dump(by_alias=True), **alone})


def test_a_site_is_named_on_one_line(maker: Maker) -> None:
    for name in ("", "two\nlines", "x" * 65):
        with pytest.raises(ValueError, match="name"):
            SiteFile.model_validate({**maker.site(0.5).model_dump(by_alias=True), "name": name})


def test_thresholds_that_somebody_chose_say_so(maker: Maker, tmp_path: Path) -> None:
    write_site(tmp_path / "clinic.site", maker.site(0.9), maker.key)
    said = " ".join(must(osteoedge("bundle", "show", tmp_path / "clinic.site")).stdout.split())
    assert "no films: somebody chose these thresholds" in said
    card = osteoedge("bundle", "show", tmp_path / "clinic.site", "--card")
    assert (card.returncode, "no model card" in card.stderr) == (2, True)


def test_nobody_screens_with_thresholds_of_nobody(
    maker: Maker, tiny_bundle: Path, tmp_path: Path
) -> None:
    write_site(tmp_path / "clinic.site", maker.site(0.9), maker.key)
    result = osteoedge("screen", tmp_path, "--bundle", tiny_bundle, "--site",
                       tmp_path / "clinic.site")  # fmt: skip
    assert result.returncode == 2
    assert "Add --trusted-keys" in result.stderr


def test_a_stranger_may_not_move_thresholds(maker: Maker, tmp_path: Path) -> None:
    generate_key(tmp_path / "stranger")
    write_site(tmp_path / "clinic.site", maker.site(0.9), tmp_path / "stranger")
    with pytest.raises(BundleError, match="not trusted here"):
        maker.load(tmp_path / "clinic.site")


def test_a_changed_site_file_is_found(maker: Maker, tmp_path: Path) -> None:
    path = tmp_path / "clinic.site"
    write_site(path, maker.site(0.9), maker.key)
    document = json.loads(path.read_text())
    document["site"] = document["site"].replace("0.9", "0.1")
    path.write_text(json.dumps(document))
    with pytest.raises(BundleError, match="the signature is not that"):
        maker.load(path)


def test_it_fits_one_bundle(maker: Maker, tmp_path: Path) -> None:
    path = tmp_path / "clinic.site"
    write_site(path, maker.site(0.9).model_copy(update={"manifest_sha256": "0" * 64}), maker.key)
    with pytest.raises(BundleError, match="for another bundle"):
        maker.load(path)


def test_it_adds_and_leaves_out_no_operating_point(maker: Maker, tmp_path: Path) -> None:
    path = tmp_path / "clinic.site"
    site = maker.site(0.9)
    fewer = site.model_copy(update={"operating_points": site.operating_points[1:]})
    write_site(path, fewer, maker.key)
    with pytest.raises(BundleError, match="other operating points"):
        maker.load(path)


@pytest.mark.parametrize("content", ["", "{}", "no JSON", '{"site": "{}", "signature": {}}'])
def test_what_is_no_site_file_is_named(maker: Maker, tmp_path: Path, content: str) -> None:
    path = tmp_path / "clinic.site"
    path.write_text(content)
    with pytest.raises(BundleError, match=r"clinic\.site: no site file"):
        maker.load(path)


def test_one_that_is_missing_is_named(maker: Maker, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        maker.load(tmp_path / "clinic.site")
