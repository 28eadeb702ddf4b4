"""A site's own thresholds: signed, for one bundle, and named in every result."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from edge_runtime import Screener, read_radiograph
from edge_runtime.bundle import (
    MANIFEST,
    ModelBundle,
    SiteFile,
    generate_key,
    load_bundle,
    with_site,
    write_site,
)
from edge_runtime.errors import BundleError
from tests.conftest import Trained
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
