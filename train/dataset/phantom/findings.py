"""Lesions and their mimics, as what they do to the bone they sit in.

The drawings follow the signs that a radiologist reads: margin, zone of transition, cortex,
periosteal reaction, matrix and soft-tissue mass (Miller 2008, Radiology 246:662).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from train.dataset.phantom.anatomy import smooth_outline
from train.dataset.phantom.projection import Effect, Host, Mask
from train.dataset.phantom.texture import Field, cloud, smoothstep

TUMOURS = {
    "benign": ("geographic_lytic", "osteochondroma"),
    "malignant": ("permeative", "sunburst"),
}


# Extent over size, where it is not 1: ragged, drawn out, or with a mass.
_REACH = {
    "geographic_lytic": 2.4,
    "osteochondroma": 1.6,
    "permeative": 3.2,
    "sunburst": 3.2,
    "fracture": 2.4,
    "growth_plate": 4.0,
}


@dataclass(frozen=True)
class Finding:
    """One finding in three dimensions; a view sees its projection.

    Attributes
    ----------
    kind
        A key of `DRAWN`.
    bone
        Name of the bone that it sits in.
    y
        Position along the limb, mm.
    azimuth
        Direction from the bone's axis, radians: 0 is to the right on the frontal view, pi / 2 to
        the right on the lateral one.
    eccentricity
        Distance from the axis over the bone's half width.
    size_mm
        Radius, or length of an outgrowth.
    strength
        Conspicuity, 0 to 1.
    away
        Direction along y that leads from the joint, -1 or 1.
    """

    kind: str
    bone: str
    y: float
    azimuth: float
    eccentricity: float
    size_mm: float
    strength: float
    away: float

    def lean(self, view: str) -> float:
        """Return the part of a sideways direction that ``view`` sees, -1 to 1."""
        return float(np.cos(self.azimuth) if view == "frontal" else np.sin(self.azimuth))

    @property
    def reach_mm(self) -> float:
        """Return how far beyond the bone's outline the drawing can go."""
        return _REACH.get(self.kind, 1.0) * self.size_mm + 6.0


@dataclass(frozen=True)
class _Place:
    """A finding seen in one view: its centre and the offsets from it in mm."""

    u: Field
    v: Field
    lean: float
    half: float
    axis: float


def draw(rng: np.random.Generator, finding: Finding, host: Host, view: str) -> Effect:
    """Return what ``finding`` does to ``host`` on ``view`` (``frontal`` or ``lateral``)."""
    grid = host.grid
    row = int(np.clip((finding.y - grid.top) / grid.mm, 0, grid.shape[0] - 1))
    axis, half = float(host.axis[row, 0]), max(float(host.half[row, 0]), 2.0)
    lean = finding.lean(view)
    centre = axis + lean * finding.eccentricity * half
    effect = Effect.none(grid.shape)
    place = _Place(grid.x - np.float32(centre), grid.y - np.float32(finding.y), lean, half, axis)
    DRAWN[finding.kind](rng, finding, host, place, effect)
    return effect


def _blob(
    rng: np.random.Generator, host: Host, place: _Place, radius: float, ragged: float, tall: float
) -> Field:
    """Return a ragged radius: 0 at the centre, 1 at the edge of an oval of ``radius`` mm."""
    q = np.hypot(place.u / radius, place.v / (radius * tall))
    lump = max(radius * 0.55, 2.0) / host.grid.mm
    return np.asarray(
        q + ragged * cloud(rng, host.grid.shape, (lump, lump)) * np.minimum(q, 1.0), np.float32
    )


def _mask(where: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Mask:
    return where.astype(np.uint8) * np.uint8(255)


def _rounded(mask: Mask, sigma_px: float) -> Mask:
    """Return a mask without corners finer than ``sigma_px``."""
    return _mask(np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma_px)) >= 128)


def _geographic(
    rng: np.random.Generator, f: Finding, host: Host, place: _Place, effect: Effect
) -> None:
    """Draw a well-defined hole with a thin dense rim that thins, but does not break, the cortex."""
    radius, tall = f.size_mm, float(rng.uniform(1.05, 1.6))
    q = _blob(rng, host, place, radius, 0.09, tall)
    inner = (q < 0.97) & (np.abs(place.u) < place.half + 4.0)
    effect.grown |= _rounded(_mask(inner), 1.2 / host.grid.mm)
    outline = host.silhouette | effect.grown
    hollow = np.sqrt(np.clip(1.0 - q * q, 0.0, 1.0))
    effect.mineral *= 1.0 - (0.38 + 0.5 * f.strength) * np.sqrt(hollow)
    effect.cortex *= 1.0 - 0.6 * smoothstep(-q, -1.25, -0.8)
    rim_mm = float(rng.uniform(0.7, 1.5))
    rim = np.exp(-np.square((q - 1.0) * radius / rim_mm)) * (outline > 0)
    effect.added += (1.2 + 4.0 * f.strength) * rim
    if rng.random() < 0.4:
        septa = cloud(rng, host.grid.shape, (6.0 / host.grid.mm, 6.0 / host.grid.mm))
        effect.added += 1.1 * f.strength * np.exp(-np.square(septa / 0.12)) * (q < 1.0)
    effect.mask |= _mask(q * radius < radius + rim_mm) & outline


def _osteochondroma(
    rng: np.random.Generator, f: Finding, host: Host, place: _Place, effect: Effect
) -> None:
    """Draw an outgrowth that shares cortex and marrow with the bone and points from the joint."""
    grid, length = host.grid, f.size_mm
    side = 1.0 if place.lean >= 0 else -1.0
    # The stalk starts in the cortex where it lies in profile, on the shaft where it is en face.
    root = np.array([place.axis + place.lean * (place.half - 2.0), f.y])
    rise = f.away * float(rng.uniform(0.5, 0.9))
    tip = root + length * np.array([0.75 * place.lean, rise])
    stalk = length * float(rng.uniform(0.16, 0.26))
    head = length * float(rng.uniform(0.26, 0.36))
    along = (tip - root) / np.hypot(*(tip - root))
    across = np.array([-along[1], along[0]]) * stalk
    # A broad foot, a waist and a head: the cortex of the bone sweeps up into the outgrowth.
    foot, waist = np.array([0.0, 2.4 * stalk]), root + 0.5 * (tip - root)
    turned = np.sign(across[1]) or 1.0
    ring = np.array(
        [root - turned * foot, waist - across, tip - across, tip + across, waist + across,
         root + turned * foot]
    )  # fmt: skip
    body = grid.fill(smooth_outline(ring))
    bulb = np.hypot(grid.x - np.float32(tip[0]), grid.y - np.float32(tip[1])) / head
    bulb = bulb + 0.13 * cloud(rng, grid.shape, (head * 0.5 / grid.mm, head * 0.5 / grid.mm))
    shape = body | _mask(bulb < 1.0)
    soft = _rounded(shape, 1.4 / grid.mm)
    effect.grown |= soft
    # En face the outgrowth is seen through the bone: its rim and cap are all that shows.
    depth = grid.distance(soft)
    rim = np.exp(-np.square((depth - 0.8) / 0.9)) * (soft > 0) * (host.silhouette > 0)
    beyond = smoothstep(np.asarray(side * (grid.x - np.float32(root[0])), np.float32), -2.0, 4.0)
    facing = 1.0 - abs(place.lean)
    effect.added += (0.6 + 2.4 * f.strength) * rim * np.maximum(facing, 0.5 * beyond)
    effect.added += 0.10 * depth * (0.4 + f.strength) * facing
    cap = smoothstep(-np.abs(bulb - 0.85), -0.35, 0.0)
    specks = smoothstep(cloud(rng, grid.shape, (1.6 / grid.mm, 1.6 / grid.mm)), 0.4, 1.6)
    effect.added += (0.5 + 2.2 * f.strength) * cap * specks * (soft > 0)
    effect.cortex *= 1.0 - 0.5 * (effect.grown > 0)
    # The stalk inside the bone is bone; the head is lesion wherever it projects.
    effect.mask |= soft & (~host.silhouette | _mask(bulb < 1.0))


def _permeative(
    rng: np.random.Generator, f: Finding, host: Host, place: _Place, effect: Effect
) -> None:
    """Draw many small holes that fade into the bone, a broken cortex and a mass beyond it."""
    _destroy(rng, f, host, place, effect, 0.35 + 0.6 * f.strength)
    _mass(rng, f, host, place, effect, mineral_mm=0.0)


def _sunburst(
    rng: np.random.Generator, f: Finding, host: Host, place: _Place, effect: Effect
) -> None:
    """Draw bone-forming destruction with spicules that radiate from the cortex into a mass."""
    grid, radius = host.grid, f.size_mm
    extent = _destroy(rng, f, host, place, effect, 0.25 + 0.4 * f.strength)
    fluff = smoothstep(cloud(rng, grid.shape, (4.0 / grid.mm, 4.0 / grid.mm)), -0.3, 1.3)
    effect.added += (1.0 + 5.0 * f.strength) * extent * fluff * (host.silhouette > 0)

    angle = np.arctan2(np.float32(0.7) * place.v, place.u)
    rays = rng.standard_normal(180).astype(np.float32)
    turn = (angle / (2 * np.pi) + 0.5) * 178.0
    ray = turn.astype(np.intp)
    part = turn - ray.astype(np.float32)
    spike = rays[ray] + part * (rays[ray + 1] - rays[ray])
    height = radius * float(rng.uniform(0.45, 0.85))
    both = 0.25 + 0.75 * smoothstep(
        np.asarray(np.sign(place.lean) * place.u, np.float32), -2.0, 2.0
    )
    taper = smoothstep(-np.abs(place.v), -1.25 * radius, -0.45 * radius)
    tall = np.maximum(height * both * taper, 0.1)
    fall = np.clip(1.0 - host.outside / tall, 0.0, 1.0) * (host.outside > 0)
    effect.added += (1.2 + 5.0 * f.strength) * np.maximum(spike, 0.0) * np.sqrt(fall)
    effect.added += (0.4 + 1.4 * f.strength) * fall
    effect.mass += 9.0 * fall
    effect.mask |= _mask((fall > 0.08) & (taper > 0.05))
    _mass(rng, f, host, place, effect, mineral_mm=0.4 + 1.2 * f.strength)


def _destroy(
    rng: np.random.Generator, f: Finding, host: Host, place: _Place, effect: Effect, amount: float
) -> Field:
    """Eat holes with a wide zone of transition, and return how far gone the bone is, 0 to 1."""
    grid = host.grid
    q = _blob(rng, host, place, f.size_mm, 0.22, float(rng.uniform(1.2, 1.7)))
    extent = smoothstep(-q, -1.2, -0.45)
    moths = cloud(rng, grid.shape, (1.7 / grid.mm, 1.1 / grid.mm)) + 0.7 * cloud(
        rng, grid.shape, (4.0 / grid.mm, 3.0 / grid.mm)
    )
    holes = smoothstep(moths, -1.3, 1.7)
    effect.mineral *= 1.0 - amount * extent * (0.3 + 0.7 * holes)
    toward = smoothstep(np.asarray(np.sign(place.lean) * place.u, np.float32), -4.0, 6.0)
    effect.cortex *= 1.0 - np.minimum(1.0, (0.4 + f.strength) * toward + 0.1) * extent * holes
    effect.mask |= _mask(extent > 0.25) & host.silhouette
    return extent


def _mass(
    rng: np.random.Generator,
    f: Finding,
    host: Host,
    place: _Place,
    effect: Effect,
    mineral_mm: float,
) -> None:
    """Add a soft-tissue mass on the side where the cortex is broken."""
    grid = host.grid
    radius = f.size_mm * float(rng.uniform(0.6, 0.95))
    aside = place.axis + place.lean * (place.half + 0.25 * radius)
    q = np.hypot((grid.x - np.float32(aside)) / radius, place.v / (1.35 * radius))
    q = np.asarray(
        q + 0.08 * cloud(rng, grid.shape, (radius / grid.mm, radius / grid.mm)), np.float32
    )
    chord = np.sqrt(np.clip(1.0 - q * q, 0.0, 1.0))
    effect.mass += (0.25 + 0.45 * f.strength) * radius * chord
    specks = smoothstep(cloud(rng, grid.shape, (2.2 / grid.mm, 2.2 / grid.mm)), 0.2, 1.6)
    effect.added += mineral_mm * chord * specks
    effect.mask |= _mask(q < 1.0)


def _fracture(
    rng: np.random.Generator, f: Finding, host: Host, place: _Place, effect: Effect
) -> None:
    """Draw a healing fracture: a slanting line, dense edges and a spindle of callus."""
    grid = host.grid
    slant = float(rng.uniform(-0.6, 0.6))
    crack = place.v + slant * place.u + 1.1 * cloud(rng, grid.shape, (2.5 / grid.mm, 2.5 / grid.mm))
    bone = host.silhouette > 0
    effect.mineral *= 1.0 - (0.3 + 0.5 * f.strength) * np.exp(-np.square(crack / 0.7))
    effect.added += (1.0 + 2.0 * f.strength) * np.exp(-np.square(crack / 3.0)) * bone
    swell = (1.0 + 3.0 * f.strength) * np.exp(-np.square(place.v / (0.9 * f.size_mm)))
    effect.grown |= _mask((host.outside < swell) & (host.outside > 0))
    effect.cortex *= 1.0 + 0.5 * np.exp(-np.square(place.v / f.size_mm))


def _bone_island(
    rng: np.random.Generator, f: Finding, host: Host, place: _Place, effect: Effect
) -> None:
    """Draw a small spot of compact bone with a brush border."""
    q = _blob(rng, host, place, 0.3 * f.size_mm, 0.25, 1.3)
    effect.added += (2.5 + 5.0 * f.strength) * smoothstep(-q, -1.15, -0.6) * (host.silhouette > 0)


def _nutrient_canal(
    rng: np.random.Generator, f: Finding, host: Host, place: _Place, effect: Effect
) -> None:
    """Draw the oblique channel of the nutrient artery through the cortex."""
    slope = float(rng.uniform(0.15, 0.3)) * (1.0 if rng.random() < 0.5 else -1.0)
    off = place.u - np.float32(slope) * place.v
    along = smoothstep(-np.abs(place.v), -f.size_mm, -0.8 * f.size_mm)
    bone = (host.silhouette > 0) * along
    effect.mineral *= 1.0 - 0.4 * f.strength * np.exp(-np.square(off / 0.7)) * bone
    effect.added += 0.8 * f.strength * np.exp(-np.square((np.abs(off) - 1.5) / 0.6)) * bone


def _growth_plate(
    rng: np.random.Generator, f: Finding, host: Host, place: _Place, effect: Effect
) -> None:
    """Draw the open physis of a child: a wavy lucent band between two dense lines."""
    first, second = rng.uniform(0.0, 2.0 * np.pi, 2).astype(np.float32)
    wave = 0.9 * np.sin(place.u / 5.0 + first) + 0.5 * np.sin(place.u / 2.3 + second)
    off = place.v + wave - 0.004 * np.square(place.u)
    effect.mineral *= 1.0 - f.strength * np.exp(-np.square(off / (0.5 * f.size_mm)))
    edge = np.exp(-np.square((np.abs(off) - 0.95 * f.size_mm) / 0.7))
    effect.added += 2.2 * edge * (host.silhouette > 0)


DRAWN: dict[str, Callable[[np.random.Generator, Finding, Host, _Place, Effect], None]] = {
    "geographic_lytic": _geographic,
    "osteochondroma": _osteochondroma,
    "permeative": _permeative,
    "sunburst": _sunburst,
    "fracture": _fracture,
    "bone_island": _bone_island,
    "nutrient_canal": _nutrient_canal,
    "growth_plate": _growth_plate,
}
