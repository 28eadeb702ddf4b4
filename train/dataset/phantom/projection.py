"""Line integrals: how many millimetres of what the beam crosses at each pixel.

A bone's depth is taken from how far inside its outline a pixel lies, as through an elliptic tube.
The cortex is the tube less a thinner tube within it, so it is bright where the beam grazes it, as
on a radiograph.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from train.dataset.phantom.anatomy import Bone, Points, smooth_outline
from train.dataset.phantom.texture import Field, cloud, smoothstep

Mask = npt.NDArray[np.uint8]

# Short bones and bone ends: a thin shell, and spongy bone as a share of compact bone.
_SHELL_MM = 0.9
_SPONGY = 0.26
_CANAL = 0.07


@dataclass(frozen=True)
class Grid:
    """A pixel grid in limb coordinates: ``x = left + column * mm``, ``y = top + row * mm``."""

    shape: tuple[int, int]
    mm: float
    left: float
    top: float

    @property
    def x(self) -> Field:
        """Return x in mm, shape (1, columns)."""
        return (self.left + self.mm * np.arange(self.shape[1], dtype=np.float32))[None, :]

    @property
    def y(self) -> Field:
        """Return y in mm, shape (rows, 1)."""
        return (self.top + self.mm * np.arange(self.shape[0], dtype=np.float32))[:, None]

    def crop(self, box: tuple[float, float, float, float]) -> tuple[Grid, tuple[slice, slice]]:
        """Return the part within ``(x0, y0, x1, y1)`` in mm, and where it lies in this grid."""
        rows, columns = self.shape
        c0 = int(np.clip((box[0] - self.left) / self.mm, 0, columns - 8))
        r0 = int(np.clip((box[1] - self.top) / self.mm, 0, rows - 8))
        c1 = int(np.clip((box[2] - self.left) / self.mm, c0 + 8, columns))
        r1 = int(np.clip((box[3] - self.top) / self.mm, r0 + 8, rows))
        part = Grid((r1 - r0, c1 - c0), self.mm, self.left + c0 * self.mm, self.top + r0 * self.mm)
        return part, (slice(r0, r1), slice(c0, c1))

    def fill(self, outline: npt.NDArray[np.float64]) -> Mask:
        """Return the inside of a closed outline in mm as 0 or 255."""
        pixels = (outline - (self.left, self.top)) / self.mm
        mask = np.zeros(self.shape, np.uint8)
        cv2.fillPoly(mask, [np.rint(pixels * 16).astype(np.int32)], 255, shift=4)
        return mask

    def distance(self, mask: Mask) -> Field:
        """Return the distance in mm from each pixel of ``mask`` to the nearest one outside it."""
        pixels = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
        return np.asarray(pixels * np.float32(self.mm), np.float32)


@dataclass(frozen=True)
class Physique:
    """How one patient differs from the drawing."""

    width: float
    bow_mm: float
    cortex: float
    density: float
    jitter: npt.NDArray[np.float64] = field(repr=False)

    def outline(self, points: Points) -> npt.NDArray[np.float64]:
        """Return the smooth outline of ``points`` for this patient, in mm."""
        shape = np.array(points, np.float64)
        shape += np.resize(self.jitter, shape.shape)
        shape[:, 0] *= self.width
        shape[:, 0] += self.bow_mm * (shape[:, 1] / 150.0) ** 2
        return smooth_outline(shape)


@dataclass
class Host:
    """The geometry that a finding needs of the bone it sits in, all on the bone's own grid.

    Attributes
    ----------
    grid
        Its part of the film.
    silhouette
        0 or 255.
    inside, outside
        Distance to the outline in mm, for pixels inside and outside of it; 0 elsewhere.
    axis, half
        Middle and half width of the bone in mm per row, shape (rows, 1).
    """

    grid: Grid
    silhouette: Mask
    inside: Field
    outside: Field
    axis: Field
    half: Field

    @classmethod
    def of(cls, grid: Grid, silhouette: Mask, *, with_outside: bool) -> Host:
        """Measure a silhouette; the outside only where something will be drawn there."""
        inside = grid.distance(silhouette)
        outside = grid.distance(255 - silhouette) if with_outside else np.zeros_like(inside)
        bone = silhouette > 0
        count = bone.sum(axis=1, dtype=np.float32)
        first, last = bone.argmax(axis=1), bone[:, ::-1].argmax(axis=1)
        middle = grid.x[0, (bone.shape[1] - 1 + first - last) // 2]
        half = np.float32(0.5 * grid.mm) * count
        return cls(grid, silhouette, inside, outside, middle[:, None], half[:, None])

    def rows(self, y0: float, y1: float) -> tuple[Host, slice]:
        """Return the part between two heights in mm, and where it lies."""
        grid, (rows, _) = self.grid.crop((-np.inf, y0, np.inf, y1))
        near = Host(
            grid,
            self.silhouette[rows],
            self.inside[rows],
            self.outside[rows],
            self.axis[rows],
            self.half[rows],
        )
        return near, rows


@dataclass
class Effect:
    """What a finding does to its bone; every field is on the host's grid.

    Attributes
    ----------
    grown
        0 or 255: bone that the healthy outline does not have.
    cortex, mineral
        Factors on the cortex's thickness and on all mineral.
    added
        Mineral on top, in mm of compact bone.
    mass
        Soft tissue on top, in mm.
    mask
        0 or 255: the finding's extent, for lesions.
    """

    grown: Mask
    cortex: Field
    mineral: Field
    added: Field
    mass: Field
    mask: Mask

    @classmethod
    def none(cls, shape: tuple[int, int]) -> Effect:
        """Return the effect of nothing."""
        one, zero = np.ones(shape, np.float32), np.zeros(shape, np.float32)
        empty = np.zeros(shape, np.uint8)
        return cls(empty, one, one.copy(), zero, zero.copy(), empty.copy())


def tube(distance: Field, half: Field, depth: Field) -> Field:
    """Return the chord in mm through an elliptic tube, ``distance`` mm inside its outline."""
    chord: Field = np.minimum(distance / half, np.float32(1.0))
    chord *= 2.0 - chord  # 1 - (1 - t)^2
    np.sqrt(chord, out=chord)
    chord *= np.float32(2.0) * depth
    return chord


def project_bone(
    rng: np.random.Generator, bone: Bone, host: Host, body: Physique, effect: Effect | None
) -> tuple[Field, Field]:
    """Integrate one bone along the beam.

    Returns
    -------
    volume, mineral
        float32 of the host's shape: mm of bone of any kind, and mm of compact bone that would
        attenuate as much.
    """
    grid, inside = host.grid, host.inside
    half = np.maximum(cv2.blur(host.half, (1, 15)), 1.5)
    cortex, spongy = _cortex(bone, grid, body), _spongy(bone, grid, body)
    if effect is not None and effect.grown.any():
        inside = grid.distance(host.silhouette | effect.grown)
        # Out there the bone is as deep as the outgrowth is wide.
        grown = np.float32(max(4.0, float(inside[effect.grown > 0].max())))
        narrow = np.where(host.silhouette > 0, half, grown)
        half = cv2.blur(narrow, (9, 9))
    depth = half * np.float32(bone.depth_ratio)
    if effect is not None:
        cortex = cortex * effect.cortex
    volume = tube(inside, half, depth)
    within = tube(
        np.maximum(inside - cortex, 0.0),
        np.maximum(half - cortex, 0.5),
        np.maximum(depth - cortex, 0.0),
    )
    px = 1.0 / grid.mm
    grain = cloud(rng, grid.shape, (2.6 * px, 0.7 * px))
    grain += cloud(rng, grid.shape, (1.0 * px, 0.9 * px))
    patches = cloud(rng, grid.shape, (11.0 * px, 8.0 * px))
    # Cortex, plus marrow space filled with spongy bone: volume + (spongy * weave - 1) * within.
    grain *= np.float32(0.15)
    grain += np.float32(0.08) * patches
    np.maximum(grain, -0.9, out=grain)
    grain += 1.0
    grain *= spongy
    grain -= 1.0
    grain *= within
    grain += volume
    if effect is not None:
        grain *= effect.mineral
        grain += effect.added
    return volume, grain


def _shaftness(bone: Bone, grid: Grid) -> Field:
    """Return 0 at the joint end to 1 where the shaft begins, shape (rows, 1)."""
    if bone.shaft is None:
        return np.zeros((grid.shape[0], 1), np.float32)
    end, shaft = bone.shaft
    return smoothstep(np.asarray((grid.y - end) / np.float32(shaft - end), np.float32), 0.12, 1.0)


def _cortex(bone: Bone, grid: Grid, body: Physique) -> Field:
    s = _shaftness(bone, grid)
    return np.asarray(body.cortex * (_SHELL_MM + (bone.cortex_mm - _SHELL_MM) * s), np.float32)


def _spongy(bone: Bone, grid: Grid, body: Physique) -> Field:
    s = _shaftness(bone, grid)
    return np.asarray(body.density * (_SPONGY + (_CANAL - _SPONGY) * s), np.float32)
