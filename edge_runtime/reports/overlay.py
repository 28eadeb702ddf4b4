"""A picture of a screening: the film, what was marked, and what it means, for people who look."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.bundle import LABELS
from edge_runtime.decision import Decision, to_film
from edge_runtime.phrases import percent
from edge_runtime.preprocess import InputSpec, place
from edge_runtime.radiograph import Radiograph
from edge_runtime.reports.wording import HEADLINES, RESEARCH, SYNTHETIC
from edge_runtime.screening import Screening

LONG_SIDE, MIN_WIDTH = 1024, 640
# Okabe and Ito's palette, told apart by colour-blind readers; OpenCV wants blue, green, red.
_ORANGE, _SKY, _GREY, _WHITE = (0, 159, 230), (233, 180, 86), (170, 170, 170), (255, 255, 255)
_BAND = (32, 26, 22)
_COLOURS: dict[Decision, tuple[int, int, int]] = {
    "urgent_review": _ORANGE,
    "routine_review": _SKY,
    "not_flagged": _WHITE,
    "unable": _ORANGE,
}
_FONT = cv2.FONT_HERSHEY_DUPLEX

Picture = npt.NDArray[np.uint8]


def overlay_png(radiograph: Radiograph, screening: Screening, spec: InputSpec) -> bytes:
    """Return :func:`draw_overlay` as a PNG."""
    return to_png(draw_overlay(radiograph, screening, spec))


def draw_overlay(
    radiograph: Radiograph,
    screening: Screening,
    spec: InputSpec,
    *,
    long_side: int = LONG_SIDE,
    remarks: Sequence[str] = (),
) -> Picture:
    """Return the film with what was marked on it, and a band of words above it.

    Parameters
    ----------
    long_side
        Of the film, in pixels of the picture. Words and lines keep their size.
    remarks
        Lines that are added to the band.

    Returns
    -------
    numpy.ndarray
        (rows, columns, 3), uint8, blue, green, red.
    """
    picture, scale = film_picture(radiograph, long_side)
    if screening.mask is not None and screening.mask.any():
        film_shape = (radiograph.display.shape[0], radiograph.display.shape[1])
        mask = to_film(screening.mask, place(film_shape, spec), spec)
        _draw_mask(picture, mask)
    _draw_boxes(picture, screening, scale)
    lines = _words(screening) + [(remark, 0.5, _ORANGE) for remark in remarks]
    return _framed(picture, lines)


def film_png(radiograph: Radiograph, long_side: int, screening: Screening | None = None) -> bytes:
    """Return the film alone as a PNG of its own proportions, with what was marked where it is told.

    Parameters
    ----------
    long_side
        Of the picture, in pixels.
    screening
        It may have been read again from its JSON document: boxes are drawn. Below them stands what
        every result says.
    """
    picture, scale = film_picture(radiograph, long_side)
    if screening is None:
        return to_png(np.ascontiguousarray(picture[:, :, 0]))
    _draw_boxes(picture, screening, scale)
    words = SYNTHETIC if screening.synthetic else screening.notice
    wide = cv2.getTextSize(words, _FONT, 0.5, 1)[0][0]
    size = 0.5 * min(1.0, (picture.shape[1] - 12) / wide)
    _write(picture, words, (6, picture.shape[0] - 8), size, _WHITE)
    return to_png(picture)


def mask_png(radiograph: Radiograph, mask: Picture, spec: InputSpec) -> bytes:
    """Return the marked area as a PNG of the film's size: 255 inside, 0 elsewhere."""
    rows, columns = radiograph.display.shape
    return to_png(to_film(mask * np.uint8(255), place((rows, columns), spec), spec))


def activation_png(radiograph: Radiograph, screening: Screening, spec: InputSpec) -> bytes:
    """Return the film under a class-activation map: where it speaks for a tumour, it is lit.

    The map is that of the likelier tumour class against `no_tumour`, from 0 (no more than for none)
    to its highest place. It says what the score rests on, not where a lesion ends.
    """
    if screening.activation is None or screening.probabilities is None:
        raise ValueError("a screening without class-activation map")
    picture, _ = film_picture(radiograph, LONG_SIDE)
    likelier = max(LABELS[1:], key=screening.probabilities.__getitem__)
    evidence = screening.activation[:, :, LABELS.index(likelier)] - screening.activation[:, :, 0]
    strength = np.clip(evidence, 0.0, None)
    strength = strength / max(float(strength.max()), 1e-6)
    film_shape = (radiograph.display.shape[0], radiograph.display.shape[1])
    share = to_film((strength * 255).astype(np.uint8), place(film_shape, spec), spec)
    size = (picture.shape[1], picture.shape[0])
    lit = 0.6 / 255 * cv2.resize(share, size).astype(np.float32)[..., np.newaxis]
    mixed = picture * (1.0 - lit) + np.array(_ORANGE, np.float32) * lit
    words = f"What the score for {likelier} rests on. {screening.notice}."
    lines = [(words, 0.5, _WHITE)]
    if screening.synthetic:
        lines.append((SYNTHETIC, 0.5, _ORANGE))
    return to_png(_framed(mixed.astype(np.uint8), lines))


def to_png(picture: Picture) -> bytes:
    """Encode a picture, uint8, grey or blue, green, red."""
    encoded, png = cv2.imencode(".png", picture)
    if not encoded:
        raise RuntimeError("OpenCV could not encode a PNG")
    return png.tobytes()


def film_picture(radiograph: Radiograph, long_side: int) -> tuple[Picture, float]:
    """Return a film as a picture to draw on, and how many of its pixels a film's pixel takes.

    Parameters
    ----------
    long_side
        Of the picture, pixels.

    Returns
    -------
    picture, scale
        (rows, columns, 3), uint8, and the ratio of sides.
    """
    display = radiograph.display
    if display.dtype == np.uint16:
        display = (display >> 8).astype(np.uint8)
    rows, columns = display.shape
    scale = long_side / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(display, size, interpolation=interpolation)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_GRAY2BGR), np.uint8), scale


def _draw_boxes(picture: Picture, screening: Screening, scale: float) -> None:
    for lesion in screening.lesions:
        x0, y0, x1, y1 = (round(value * scale) for value in lesion.box)
        cv2.rectangle(picture, (x0, y0), (x1, y1), _ORANGE, 2, cv2.LINE_AA)
        _write(picture, f"{lesion.score:.2f}", (x0, max(y0 - 6, 14)), 0.5, _ORANGE)


def _draw_mask(picture: Picture, mask: npt.NDArray[np.uint8]) -> None:
    """Outline the mask: a filled one would hide the very texture that must be judged."""
    small = cv2.resize(mask * 255, (picture.shape[1], picture.shape[0]))
    smooth = cv2.GaussianBlur(small, (0, 0), 4) > 127
    contours, _ = cv2.findContours(
        smooth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    cv2.drawContours(picture, contours, -1, _SKY, 2, cv2.LINE_AA)


def _words(screening: Screening) -> list[tuple[str, float, tuple[int, int, int]]]:
    lines = [(HEADLINES[screening.decision], 0.8, _COLOURS[screening.decision])]
    if screening.decision == "unable":
        lines += [(reason, 0.5, _WHITE) for reason in screening.reasons]
    elif screening.probabilities is not None and screening.tumour_probability is not None:
        tumour, malignant = screening.tumour_probability, screening.probabilities["malignant"]
        lines.append((f"tumour {percent(tumour)}   malignant {percent(malignant)}", 0.5, _WHITE))
    lines.append((f"{screening.notice}. {RESEARCH}.", 0.5, _GREY))
    if screening.synthetic:
        lines.append((SYNTHETIC, 0.5, _ORANGE))
    lines += [(f"Degraded: {what}", 0.45, _ORANGE) for what in screening.degraded]
    return lines


def _framed(picture: Picture, lines: list[tuple[str, float, tuple[int, int, int]]]) -> Picture:
    # A whole leg is narrow: beside it there is room, so that the words stay of a size to be read.
    beside = max(0, MIN_WIDTH - picture.shape[1])
    picture = np.asarray(cv2.copyMakeBorder(picture, 0, 0, 0, beside, cv2.BORDER_CONSTANT))
    return np.vstack([_band(picture.shape[1], lines), picture])


def _band(width: int, lines: list[tuple[str, float, tuple[int, int, int]]]) -> Picture:
    """Return the band above the film, its text shrunk where the film is narrow."""
    band = np.full((16 + sum(round(14 + 22 * size) for _, size, _ in lines), width, 3), _BAND)
    band = band.astype(np.uint8)
    baseline = 4
    for text, size, colour in lines:
        baseline += round(14 + 22 * size)
        wide = cv2.getTextSize(text, _FONT, size, 1)[0][0]
        _write(band, text, (12, baseline - 4), size * min(1.0, (width - 24) / wide), colour)
    return band


def _write(
    picture: Picture, text: str, origin: tuple[int, int], size: float, colour: tuple[int, int, int]
) -> None:
    cv2.putText(picture, text, origin, _FONT, size, colour, 1, cv2.LINE_AA)
