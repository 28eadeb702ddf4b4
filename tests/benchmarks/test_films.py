"""Films of every coding, small and large, and queues of them: that what is measured was done."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.pixels import get_decoder

from benchmarks.films import backlog, every_coding
from benchmarks.films.codings import CODINGS, LOSSLESS
from benchmarks.films.every_coding import STAGES, measure_films
from benchmarks.films.film import draw_film, film_dataset
from benchmarks.schema import FilmStages, QueueCost
from edge_runtime.bundle import load_bundle
from edge_runtime.dicom_codecs import PLUGIN_OF
from edge_runtime.errors import DelegateError, TransferSyntaxError
from edge_runtime.radiograph import read_radiograph
from edge_runtime.screener import Screener

PICTURE = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)


WRITTEN = ("explicit VR", "RLE", "JPEG-LS", "JPEG baseline, 8 bits")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every_coding, "CODINGS", {name: CODINGS[name] for name in WRITTEN})
    monkeypatch.setattr(every_coding, "ROWS", 152)
    monkeypatch.setattr(every_coding, "COLUMNS", 125)
    monkeypatch.setattr(every_coding, "SIDES", (96, 192))
    monkeypatch.setattr(every_coding, "_COUNT", 2)
    monkeypatch.setattr(every_coding, "_SECONDS", 0.0)
    monkeypatch.setattr(backlog, "LENGTHS", (1, 3))
    monkeypatch.setattr(backlog, "ROWS", 152)
    monkeypatch.setattr(backlog, "COLUMNS", 125)
    monkeypatch.setattr(backlog, "_ROUNDS", 1)


def by_coding(rows: tuple[FilmStages, ...]) -> dict[str, FilmStages]:
    return {row.coding: row for row in rows if row.rows == 152}


def test_every_coding_that_is_read_is_written() -> None:
    assert {coding.syntax for coding in CODINGS.values()} == set(PLUGIN_OF)


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_codings_hold_the_same_film(name: str, tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    film_dataset(PICTURE, 152, 125, CODINGS[name], 12).save_as(path, enforce_file_format=True)
    stored = draw_film(PICTURE, 152, 125, 12)
    window = np.clip((stored - (8200 - 7500) / 4) / (15000 / 4), 0, 1) * 65535
    shown = read_radiograph(path).display
    assert np.abs(shown - window).max() < 40, "PS3.3 C.11.2.1.2 takes half a step off"


def test_rle_is_that_of_the_standard(tmp_path: Path) -> None:
    """Read by pydicom itself, not by the decoder of ours that is measured with it."""
    path = tmp_path / "film.dcm"
    film_dataset(PICTURE, 96, 101, CODINGS["RLE"], 14).save_as(path, enforce_file_format=True)
    pixels, _ = get_decoder(CODINGS["RLE"].syntax).as_array(
        dcmread(path), decoding_plugin="pydicom"
    )
    assert np.array_equal(pixels, draw_film(PICTURE, 96, 101, 14))


def test_fewer_bits_are_the_same_film() -> None:
    fine, coarse = (draw_film(PICTURE, 96, 80, bits) for bits in (14, 8))
    assert (fine.dtype, coarse.dtype) == (np.uint16, np.uint8)
    assert np.abs(fine / 64 - coarse).max() <= 0.5


def test_stages_of_every_kind_of_film(tiny_bundle: Path) -> None:
    shares: list[float] = []
    measured, queue = measure_films(tiny_bundle, progress=shares.append)
    kinds = by_coding(measured)
    assert set(kinds) == {*WRITTEN, "PNG, 8 bits", "PNG, 16 bits", "JPEG picture, 8 bits"}
    assert [row.rows for row in measured if row.rows == row.columns] == [96, 192]
    for row in measured:
        assert (row.status, row.reason) == ("ok", None)
        assert row.n == 2
        assert tuple(row.stages_ms) == STAGES
        assert row.total_ms is not None and row.total_low_ms is not None
        assert 0 <= row.total_low_ms <= row.total_ms, "two films bound little"
        assert row.total_ms > 0
        assert row.stages_ms["invoke"] > 0 and row.stages_ms["report"] > 0
    assert kinds["explicit VR"].file_mb > 152 * 125 * 2 / 1e6
    assert kinds["JPEG baseline, 8 bits"].file_mb < kinds["explicit VR"].file_mb / 2
    assert [cost.films for cost in queue] == [1, 3]
    assert all(cost.total_ms == pytest.approx(cost.films * cost.per_film_ms) for cost in queue)
    assert shares == sorted(shares) and shares[-1] == 1.0


def no_queue(*_: object) -> tuple[QueueCost, ...]:
    return ()


def test_a_coding_that_cannot_be_written_or_read_says_why(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: object, **__: object) -> bytes:
        raise imagecodecs.DelayedImportError("jpegls_encode")

    def refused(path: Path) -> object:
        if path.parent.name.startswith("RLE"):
            raise TransferSyntaxError("no decoder is installed", "Install one", path.name)
        return read_radiograph(path)

    monkeypatch.setattr(imagecodecs, "jpegls_encode", lacking)
    monkeypatch.setattr("edge_runtime.batch.read_radiograph", refused)
    monkeypatch.setattr(every_coding, "measure_queue", no_queue)
    measured, _ = measure_films(tiny_bundle)
    kinds = by_coding(measured)
    unavailable = {name: row for name, row in kinds.items() if row.status == "unavailable"}
    assert set(unavailable) == {"JPEG-LS", "RLE"}
    assert "jpegls_encode" in str(unavailable["JPEG-LS"].reason)
    assert unavailable["RLE"].reason == "no decoder is installed"
    for row in unavailable.values():
        assert row.stages_ms == {} and row.total_ms is None and row.n == 0
    assert all(row.status == "ok" for name, row in kinds.items() if name not in unavailable)


def test_a_queue_that_was_not_worked_off_is_no_figure(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise DelegateError("it is gone", "Plug it in")

    with Screener(load_bundle(tiny_bundle), "cpu", 1) as screener:
        monkeypatch.setattr(screener, "screen", fails)
        with pytest.raises(DelegateError, match="in the middle of a queue"):
            backlog.measure_queue(tiny_bundle, screener, lambda _: None)
