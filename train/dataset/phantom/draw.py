"""One film of one patient, from facts to stored pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from train.dataset.phantom.anatomy import View, ViewName
from train.dataset.phantom.film import (
    MU_BONE,
    MU_FAT,
    MU_MUSCLE,
    Geometry,
    expose,
    field_of_view,
    store,
)
from train.dataset.phantom.findings import TUMOURS, Finding, draw
from train.dataset.phantom.patient import Patient
from train.dataset.phantom.projection import Effect, Grid, Host, Mask, Physique, project_bone, tube
from train.dataset.phantom.texture import Field, cloud

_TUMOURS = {kind for kinds in TUMOURS.values() for kind in kinds}
# Drawn around the film, as a share of it, so that turning it leaves no empty corner.
_MARGIN = 0.07


@dataclass(frozen=True)
class Film:
    """One radiograph.

    Attributes
    ----------
    pixels
        Stored values, uint16, shape (rows, columns), in the sense of the patient's ``photometric``.
    window
        Centre and width in stored values.
    mask
        Tumour, 0 or 255, same shape.
    spacing_mm
        Size of a pixel in the patient.
    """

    pixels: npt.NDArray[np.uint16]
    window: tuple[float, float]
    mask: Mask
    spacing_mm: float


def draw_film(patient: Patient, view: ViewName, rng: np.random.Generator) -> Film:
    """Draw one film; all that is not a fact of the patient comes from ``rng``."""
    while True:
        grid, geometry = _frame(patient, rng)
        attenuation, drawn = _integrate(rng, patient, view, grid)
        lit = field_of_view(rng, geometry.shape, float(rng.normal(0.0, 0.008)))
        mask = geometry.warp_mask(drawn) & lit
        # A lesion that is mostly outside the field: the technologist positions the limb again.
        if cv2.countNonZero(mask) >= 0.5 * cv2.countNonZero(drawn):
            break
    display = expose(rng, geometry.warp_field(attenuation), lit, patient.centre, patient.side)
    pixels, window = store(rng, display, patient.centre.bits, patient.photometric)
    return Film(pixels, window, mask, round(grid.mm * patient.size, 4))


def _frame(patient: Patient, rng: np.random.Generator) -> tuple[Grid, Geometry]:
    """Position the limb: the grid that it is drawn on, and how the film lies over that."""
    limb = patient.limb
    rows = int(rng.integers(*patient.centre.rows)) // 4 * 4
    shape = (rows, int(rows * 7 / 9) // 4 * 4)
    # Every limb is drawn at an adult's size; the spacing alone tells a child's film.
    mm = limb.height_mm / rows * float(rng.uniform(0.9, 1.1))
    shift = rng.uniform(-0.06, 0.06, 2) * limb.height_mm
    pad = [int(n * _MARGIN) for n in shape]
    canvas = (shape[0] + 2 * pad[0], shape[1] + 2 * pad[1])
    left = float(shift[0]) - mm * canvas[1] / 2
    top = float(limb.centre_y + shift[1]) - mm * canvas[0] / 2

    turn = float(np.clip(rng.normal(0.0, 3.5), -7.0, 7.0))
    middle = (canvas[1] / 2, canvas[0] / 2)
    to_film = np.asarray(cv2.getRotationMatrix2D(middle, turn, 1.0), np.float64)
    to_film[:, 2] -= (pad[1], pad[0])
    if patient.side == "L":
        mirror = np.array([[-1.0, 0.0, shape[1] - 1.0], [0.0, 1.0, 0.0]])
        to_film = mirror @ np.vstack([to_film, [0.0, 0.0, 1.0]])
    return Grid(canvas, mm, left, top), Geometry(shape, to_film)


def _integrate(
    rng: np.random.Generator, patient: Patient, view: ViewName, grid: Grid
) -> tuple[Field, Mask]:
    """Return the attenuation of the whole limb and the mask of its tumour."""
    drawing = patient.limb.views[view]
    attenuation = _soft_tissue(rng, drawing, grid, patient.physique)
    mask = np.zeros(grid.shape, np.uint8)
    for bone in drawing.bones:
        outline = patient.physique.outline(bone.outline)
        findings = [f for f in patient.findings if f.bone == bone.name]
        margin = max((f.reach_mm for f in findings), default=0.0) + 2.0
        low, high = outline.min(axis=0) - margin, outline.max(axis=0) + margin
        part, where = grid.crop((low[0], low[1], high[0], high[1]))
        host = Host.of(part, part.fill(outline), with_outside=bool(findings))
        effect = _combine(rng, findings, host, view) if findings else None
        volume, mineral = project_bone(rng, bone, host, patient.physique, effect)
        # Bone takes the place of muscle, and is marrow (fat) where it is not mineral.
        volume *= np.float32(MU_FAT - MU_MUSCLE)
        mineral *= np.float32(MU_BONE - MU_FAT)
        attenuation[where] += volume
        attenuation[where] += mineral
        if effect is not None:
            attenuation[where] += np.float32(MU_MUSCLE) * effect.mass
            mask[where] |= effect.mask
    return attenuation, mask


def _combine(
    rng: np.random.Generator, findings: list[Finding], host: Host, view: ViewName
) -> Effect:
    """Return what all findings together do to one bone; only tumours count for the mask."""
    total = Effect.none(host.grid.shape)
    for finding in findings:
        # Along the bone a finding ends, so only its rows are worked on.
        near, rows = host.rows(finding.y - finding.reach_mm, finding.y + finding.reach_mm)
        one = draw(rng, finding, near, view)
        total.grown[rows] |= one.grown
        total.cortex[rows] *= one.cortex
        total.mineral[rows] *= one.mineral
        total.added[rows] += one.added
        total.mass[rows] += one.mass
        if finding.kind in _TUMOURS:
            total.mask[rows] |= one.mask
    return total


def _soft_tissue(rng: np.random.Generator, drawing: View, grid: Grid, body: Physique) -> Field:
    """Return the attenuation of fat and muscle, before the bones take their place."""
    # Soft tissue has no fine detail: a quarter of the resolution is enough, but for its outline.
    half_size = Grid((grid.shape[0] // 2, grid.shape[1] // 2), grid.mm * 2, grid.left, grid.top)
    coarse = Grid((grid.shape[0] // 4, grid.shape[1] // 4), grid.mm * 4, grid.left, grid.top)
    outline = half_size.distance(half_size.fill(body.outline(drawing.envelope)))
    fine = cv2.GaussianBlur(outline, (0, 0), 3.0)
    inside = np.asarray(
        cv2.resize(fine, coarse.shape[::-1], interpolation=cv2.INTER_AREA), np.float32
    )
    depth = np.full_like(inside, drawing.depth_mm)
    half = np.full_like(inside, max(float(inside.max()), 5.0))
    skin = np.float32(rng.uniform(2.5, 7.0) * drawing.depth_mm / 50.0)
    whole = tube(inside, half, depth)
    flesh = tube(np.maximum(inside - skin, 0.0), half - skin, depth - skin)
    flesh *= 1.0 + 0.03 * cloud(rng, coarse.shape, (26.0 / coarse.mm, 7.0 / coarse.mm))
    soft = np.float32(MU_FAT) * (whole - flesh) + np.float32(MU_MUSCLE) * flesh
    smooth = cv2.resize(soft, grid.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.maximum(smooth, 0.0), np.float32)
