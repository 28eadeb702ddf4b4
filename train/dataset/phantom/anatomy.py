"""Limbs as outlines in millimetres: which bones, where their shafts are, where lesions arise.

Coordinates: x to the right, y down, the joint at (0, 0). The shapes are drawn after the proportions
of an adult; age scales them and opens the growth plates. They are drawings, not measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Points = tuple[tuple[float, float], ...]
ViewName = Literal["frontal", "lateral"]

# Far enough that every shaft leaves the film.
FAR = 320.0


@dataclass(frozen=True)
class Bone:
    """One bone in one view.

    Attributes
    ----------
    name
        The same in every view.
    outline
        Closed control polygon in mm; smoothed when drawn.
    shaft
        ``(y of the joint end, y where the shaft has its full cortex)``, or None for short bones.
    cortex_mm
        Thickness of the shaft's cortex.
    depth_ratio
        Depth along the beam over width across it.
    physis
        y of the growth plate, or None.
    """

    name: str
    outline: Points
    shaft: tuple[float, float] | None = None
    cortex_mm: float = 1.0
    depth_ratio: float = 0.9
    physis: float | None = None


@dataclass(frozen=True)
class View:
    """Bones and soft tissue of one projection; ``depth_mm`` is half the limb's thickness."""

    bones: tuple[Bone, ...]
    envelope: Points
    depth_mm: float


@dataclass(frozen=True)
class Limb:
    """One examined region.

    Attributes
    ----------
    body_part, region
        ``BodyPartExamined`` and the coarse region of the dataset layout.
    height_mm
        What the film covers along the limb.
    centre_y
        y that lies in the middle of the film.
    views
        Frontal and lateral.
    sites
        ``(bone, first y, last y)``: where lesions and their mimics may arise.
    """

    body_part: str
    region: str
    height_mm: float
    centre_y: float
    views: dict[ViewName, View]
    sites: tuple[tuple[str, float, float], ...]


def smooth_outline(points: npt.NDArray[np.float64], steps: int = 6) -> npt.NDArray[np.float64]:
    """Return a closed Catmull-Rom curve through ``points`` (n, 2), shape (n * steps, 2)."""
    before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
    beyond = np.roll(points, -2, axis=0)
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (p[:, None, :] for p in (before, points, after, beyond))
    curve = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    return np.asarray(curve.reshape(-1, 2))


def _oval(x: float, y: float, rx: float, ry: float, tilt: float = 0.0) -> Points:
    """Return an ellipse, tilted clockwise by ``tilt`` degrees, as eight control points."""
    angle = np.arange(8) * np.pi / 4
    u, v = rx * np.cos(angle), ry * np.sin(angle)
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    return tuple(zip((x + c * u - s * v).tolist(), (y + s * u + c * v).tolist(), strict=True))


def _ray(x0: float, y0: float, x1: float, y1: float, base: float, waist: float) -> Points:
    """Return a short tubular bone from base to head, half widths ``base`` and ``waist``."""
    along = np.array([x1 - x0, y1 - y0])
    across = np.array([-along[1], along[0]]) / np.hypot(*along)
    stations = (
        (0.0, 0.75 * base),
        (0.1, base),
        (0.45, waist),
        (0.85, 0.95 * base),
        (1.0, 0.6 * base),
    )
    left = [np.array([x0, y0]) + t * along + w * across for t, w in stations]
    right = [np.array([x0, y0]) + t * along - w * across for t, w in reversed(stations)]
    return tuple((float(p[0]), float(p[1])) for p in (*left, *right))


def _small(name: str, outline: Points, depth_ratio: float = 0.8) -> Bone:
    return Bone(name, outline, depth_ratio=depth_ratio)


# Tables of points: one point a line would hide the shape.
# fmt: off
KNEE = Limb(
    "KNEE",
    "lower_limb",
    height_mm=255.0,
    centre_y=0.0,
    views={
        "frontal": View(
            bones=(
                Bone(
                    "femur",
                    (
                        (-14, -FAR), (-14, -200), (-14, -120), (-15, -90), (-19, -65), (-27, -48),
                        (-37, -37), (-40, -26), (-39, -14), (-33, -5), (-21, -2), (-11, -6),
                        (-5, -13), (0, -16), (5, -13), (11, -5), (22, -1), (34, -4), (39, -14),
                        (39, -25), (35, -36), (25, -48), (18, -65), (15, -90), (14, -120),
                        (14, -200), (14, -FAR),
                    ),
                    shaft=(-2, -105),
                    cortex_mm=6.0,
                    depth_ratio=0.8,
                    physis=-32,
                ),
                Bone(
                    "tibia",
                    (
                        (-38, 6), (-26, 5), (-12, 5), (-6, 1), (-3, -2), (0, 2), (4, -2), (8, 3),
                        (16, 5), (28, 4), (38, 5), (40, 13), (35, 26), (27, 40), (19, 60),
                        (15, 85), (13, 120), (12, 200), (12, FAR), (-13, FAR), (-13, 200),
                        (-14, 120), (-16, 85), (-20, 60), (-27, 40), (-35, 26), (-39, 14),
                    ),
                    shaft=(4, 105),
                    cortex_mm=5.5,
                    depth_ratio=0.8,
                    physis=22,
                ),
                Bone(
                    "fibula",
                    (
                        (33, 24), (38, 16), (44, 20), (47, 28), (44, 38), (40, 50), (38, 65),
                        (37, 120), (36, FAR), (28, FAR), (29, 120), (31, 65), (33, 50), (34, 38),
                    ),
                    shaft=(18, 75),
                    cortex_mm=2.6,
                    physis=32,
                ),
                _small("patella", _oval(1, -34, 21, 20), 0.35),
            ),
            envelope=(
                (-72, -FAR), (-72, -200), (-68, -110), (-60, -55), (-55, -15), (-53, 20),
                (-55, 60), (-58, 110), (-50, 200), (-40, FAR), (44, FAR), (56, 200), (64, 110),
                (61, 60), (56, 20), (56, -15), (61, -55), (70, -110), (76, -200), (76, -FAR),
            ),
            depth_mm=58.0,
        ),
        "lateral": View(
            bones=(
                Bone(
                    "femur",
                    (
                        (-12, -FAR), (-12, -200), (-11, -120), (-12, -85), (-16, -60), (-24, -46),
                        (-29, -34), (-27, -20), (-18, -7), (-4, -1), (12, -2), (26, -7),
                        (35, -16), (36, -28), (30, -39), (22, -48), (17, -65), (16, -90),
                        (17, -120), (19, -200), (19, -FAR),
                    ),
                    shaft=(-2, -105),
                    cortex_mm=6.0,
                    depth_ratio=1.05,
                    physis=-34,
                ),
                Bone(
                    "tibia",
                    (
                        (-26, 7), (-14, 4), (-4, 1), (2, 2), (14, 6), (28, 9), (32, 17), (26, 30),
                        (20, 48), (17, 80), (16, 130), (15, 200), (15, FAR), (-13, FAR),
                        (-14, 200), (-15, 130), (-17, 80), (-21, 58), (-27, 46), (-29, 34),
                        (-26, 24), (-28, 14),
                    ),
                    shaft=(4, 105),
                    cortex_mm=5.5,
                    depth_ratio=1.1,
                    physis=22,
                ),
                Bone(
                    "fibula",
                    (
                        (20, 25), (26, 17), (33, 22), (34, 32), (31, 44), (28, 65), (26, 120),
                        (24, FAR), (16, FAR), (18, 120), (21, 65), (22, 44), (20, 34),
                    ),
                    shaft=(18, 75),
                    cortex_mm=2.6,
                    physis=32,
                ),
                _small("condyle", _oval(11, -19, 25, 17, 8), 0.5),
                _small("patella", _oval(-42, -32, 9.5, 20, 6), 1.3),
            ),
            envelope=(
                (-62, -FAR), (-60, -200), (-54, -110), (-52, -60), (-58, -35), (-54, -8),
                (-46, 15), (-44, 40), (-36, 80), (-30, 130), (-26, 200), (-24, FAR), (44, FAR),
                (56, 200), (66, 120), (62, 70), (52, 25), (48, -10), (54, -50), (66, -110),
                (78, -200), (82, -FAR),
            ),
            depth_mm=58.0,
        ),
    },
    sites=(("femur", -115, -24), ("femur", -90, -40), ("tibia", 16, 105), ("fibula", 26, 70)),
)

ANKLE = Limb(
    "ANKLE",
    "lower_limb",
    height_mm=215.0,
    centre_y=-32.0,
    views={
        "frontal": View(
            bones=(
                Bone(
                    "tibia",
                    (
                        (-13, -FAR), (-13, -150), (-13, -90), (-16, -55), (-22, -28), (-25, -8),
                        (-25, 5), (-20, 11), (-16, 6), (-15, -2), (-8, -4), (4, -4), (15, -4),
                        (20, -7), (20, -22), (16, -45), (13, -80), (12, -150), (12, -FAR),
                    ),
                    shaft=(-4, -85),
                    cortex_mm=4.8,
                    physis=-14,
                ),
                Bone(
                    "fibula",
                    (
                        (21, -FAR), (20, -120), (19, -70), (18, -40), (18, -18), (19, -2),
                        (22, 14), (27, 20), (32, 12), (32, -6), (29, -24), (27, -45), (27, -75),
                        (28, -120), (29, -FAR),
                    ),
                    shaft=(16, -60),
                    cortex_mm=2.6,
                    physis=-6,
                ),
                _small(
                    "talus",
                    (
                        (-14, 2), (-6, 0), (6, 0), (16, 2), (18, 12), (21, 22), (10, 29),
                        (-8, 29), (-17, 22), (-16, 11),
                    ),
                    1.0,
                ),
                _small("calcaneus", _oval(2, 50, 19, 24), 1.2),
            ),
            envelope=(
                (-46, -FAR), (-44, -150), (-36, -80), (-33, -35), (-36, 0), (-32, 30), (-34, 60),
                (-26, 86), (0, 92), (28, 86), (37, 60), (37, 30), (40, 8), (36, -35), (38, -80),
                (46, -150), (48, -FAR),
            ),
            depth_mm=42.0,
        ),
        "lateral": View(
            bones=(
                Bone(
                    "tibia",
                    (
                        (-14, -FAR), (-14, -150), (-14, -90), (-16, -50), (-21, -25), (-23, -6),
                        (-12, -6), (0, -9), (10, -7), (17, -1), (20, -12), (18, -30), (14, -55),
                        (12, -90), (12, -150), (12, -FAR),
                    ),
                    shaft=(-4, -85),
                    cortex_mm=4.8,
                    physis=-16,
                ),
                Bone(
                    "fibula",
                    (
                        (8, -FAR), (6, -120), (3, -70), (0, -35), (-2, -10), (0, 10), (6, 18),
                        (11, 8), (12, -12), (12, -35), (13, -70), (15, -120), (17, -FAR),
                    ),
                    shaft=(16, -60),
                    cortex_mm=2.4,
                    physis=-6,
                ),
                _small(
                    "talus",
                    (
                        (-34, 19), (-28, 7), (-14, 0), (0, -5), (12, 0), (21, 10), (26, 18),
                        (12, 24), (-6, 24), (-24, 27),
                    ),
                ),
                _small(
                    "calcaneus",
                    (
                        (-32, 34), (-16, 27), (6, 29), (26, 25), (46, 29), (56, 44), (52, 60),
                        (38, 63), (12, 52), (-14, 50), (-32, 47),
                    ),
                ),
                _small("navicular", _oval(-43, 24, 7, 13, 12)),
                _small("cuboid", _oval(-46, 44, 13, 9, 14)),
                _small("cuneiform", _oval(-61, 32, 11, 12, 16)),
                Bone("metatarsal", _ray(-72, 36, -170, 66, 9, 6), depth_ratio=1.2),
                Bone("metatarsal5", _ray(-60, 50, -165, 74, 7, 4.5), depth_ratio=1.0),
            ),
            envelope=(
                (-34, -FAR), (-33, -150), (-28, -80), (-32, -35), (-42, -8), (-70, 10),
                (-120, 30), (-220, 55), (-220, 92), (-120, 78), (-60, 66), (0, 70), (50, 76),
                (68, 62), (66, 36), (48, 10), (36, -15), (34, -45), (44, -90), (56, -150),
                (60, -FAR),
            ),
            depth_mm=38.0,
        ),
    },
    sites=(("tibia", -105, -14), ("tibia", -70, -24), ("fibula", -80, -12)),
)

SHOULDER = Limb(
    "SHOULDER",
    "upper_limb",
    height_mm=245.0,
    centre_y=20.0,
    views={
        "frontal": View(
            bones=(
                Bone(
                    "humerus",
                    (
                        (-11, FAR), (-11, 150), (-12, 60), (-12, 20), (-14, -2), (-20, -18),
                        (-29, -30), (-34, -46), (-30, -62), (-18, -73), (-3, -76), (10, -72),
                        (20, -66), (25, -54), (23, -38), (18, -20), (14, 0), (13, 30), (14, 60),
                        (12, 150), (12, FAR),
                    ),
                    shaft=(-62, 25),
                    cortex_mm=4.8,
                    physis=-32,
                ),
                Bone(
                    "scapula",
                    (
                        (-38, -66), (-42, -50), (-40, -34), (-48, -22), (-58, 10), (-76, 60),
                        (-98, 100), (-130, 70), (-130, -40), (-80, -52), (-56, -62),
                    ),
                    depth_ratio=0.16,
                ),
                Bone("acromion", _ray(-52, -84, 20, -92, 9, 8), depth_ratio=0.6),
                Bone("clavicle", _ray(-150, -112, -6, -100, 7, 6), depth_ratio=0.9),
                _small("coracoid", _oval(-48, -62, 7, 10, 50), 0.9),
            ),
            envelope=(
                (-190, -150), (-110, -138), (-60, -124), (-10, -112), (30, -102), (52, -76),
                (60, -40), (56, 10), (50, 70), (46, 150), (44, FAR), (-40, FAR), (-44, 150),
                (-46, 90), (-52, 62), (-66, 56), (-82, 80), (-96, 150), (-110, FAR), (-190, FAR),
            ),
            depth_mm=46.0,
        ),
        "lateral": View(
            bones=(
                Bone(
                    "humerus",
                    (
                        (-12, FAR), (-12, 150), (-12, 60), (-13, 20), (-15, -5), (-20, -25),
                        (-25, -44), (-22, -62), (-8, -74), (8, -75), (22, -64), (26, -46),
                        (21, -26), (15, -6), (13, 20), (12, 60), (12, 150), (12, FAR),
                    ),
                    shaft=(-62, 25),
                    cortex_mm=4.8,
                    depth_ratio=1.0,
                    physis=-32,
                ),
                Bone(
                    "scapula",
                    (
                        (10, -60), (22, -54), (30, -20), (38, 30), (44, 84), (36, 88), (26, 40),
                        (16, -6), (6, -40),
                    ),
                    depth_ratio=0.5,
                ),
                Bone("acromion", _ray(44, -78, -6, -94, 8, 7), depth_ratio=0.7),
                _small("coracoid", _oval(-24, -58, 6, 12, -40), 0.8),
            ),
            envelope=(
                (-40, -112), (0, -116), (44, -108), (66, -78), (72, -30), (70, 30), (60, 90),
                (48, 150), (44, FAR), (-42, FAR), (-46, 150), (-52, 70), (-58, 0), (-60, -50),
                (-56, -90),
            ),
            depth_mm=52.0,
        ),
    },
    sites=(("humerus", -46, 75), ("humerus", -25, 45)),
)

WRIST = Limb(
    "WRIST",
    "upper_limb",
    height_mm=175.0,
    centre_y=14.0,
    views={
        "frontal": View(
            bones=(
                Bone(
                    "radius",
                    (
                        (-18, FAR), (-18, 140), (-17, 80), (-18, 50), (-21, 28), (-25, 12),
                        (-27, 0), (-25, -7), (-20, -2), (-12, 2), (-4, 4), (-1, 6), (-1, 14),
                        (-4, 28), (-6, 50), (-6, 80), (-5, 140), (-4, FAR),
                    ),
                    shaft=(0, 60),
                    cortex_mm=3.0,
                    physis=11,
                ),
                Bone(
                    "ulna",
                    (
                        (5, FAR), (5, 140), (6, 80), (6, 45), (5, 24), (3, 14), (4, 7), (10, 5),
                        (14, 0), (17, 4), (17, 14), (15, 28), (15, 50), (16, 80), (17, 140),
                        (17, FAR),
                    ),
                    shaft=(6, 55),
                    cortex_mm=2.6,
                    physis=14,
                ),
                _small("scaphoid", _oval(-16, -11, 6.5, 9.5, 35)),
                _small("lunate", _oval(-3, -7, 7.5, 6.5)),
                _small("triquetrum", _oval(9, -10, 6.5, 6.0, -20)),
                _small("pisiform", _oval(12, -13, 4.5, 4.5), 0.6),
                _small("trapezium", _oval(-24, -24, 7, 6, 30)),
                _small("trapezoid", _oval(-14, -27, 5, 5.5)),
                _small("capitate", _oval(-3.5, -23, 6.5, 10.5)),
                _small("hamate", _oval(8, -23, 7, 9, -15)),
                Bone("metacarpal1", _ray(-28, -32, -56, -66, 7, 4.6)),
                Bone("metacarpal2", _ray(-16, -36, -22, -98, 6.8, 4.3)),
                Bone("metacarpal3", _ray(-3, -37, -3, -99, 6.5, 4.2)),
                Bone("metacarpal4", _ray(6, -35, 13, -92, 5.8, 3.7)),
                Bone("metacarpal5", _ray(14, -31, 28, -84, 5.8, 3.6)),
            ),
            envelope=(
                (-36, FAR), (-34, 140), (-31, 80), (-31, 40), (-34, 5), (-40, -22), (-58, -44),
                (-80, -74), (-72, -88), (-50, -76), (-36, -66), (-35, -100), (-38, -200),
                (46, -200), (40, -100), (34, -60), (27, -20), (25, 10), (27, 50), (32, 90),
                (36, 140), (38, FAR),
            ),
            depth_mm=20.0,
        ),
        "lateral": View(
            bones=(
                Bone(
                    "radius",
                    (
                        (-6, FAR), (-7, 140), (-7, 80), (-7, 50), (-9, 28), (-11, 10), (-10, 2),
                        (-2, 2), (8, -2), (11, 4), (10, 16), (7, 30), (5, 50), (5, 80), (6, 140),
                        (7, FAR),
                    ),
                    shaft=(0, 60),
                    cortex_mm=3.0,
                    depth_ratio=1.2,
                    physis=11,
                ),
                Bone(
                    "ulna",
                    (
                        (-2, FAR), (-1, 140), (0, 80), (1, 45), (2, 22), (1, 10), (4, 2), (10, 3),
                        (12, 12), (11, 28), (10, 50), (10, 80), (10, 140), (10, FAR),
                    ),
                    shaft=(6, 55),
                    cortex_mm=2.6,
                    depth_ratio=1.0,
                    physis=14,
                ),
                _small("lunate", _oval(0, -6, 9, 6.5, -10)),
                _small("scaphoid", _oval(-5, -13, 6, 11, -30)),
                _small("triquetrum", _oval(5, -11, 6, 7)),
                _small("capitate", _oval(0, -23, 7, 10.5)),
                _small("trapezium", _oval(-9, -25, 7, 6)),
                Bone("metacarpal1", _ray(-14, -32, -34, -70, 6.6, 4.4)),
                Bone("metacarpal2", _ray(-3, -35, -8, -98, 6.5, 4.2)),
                Bone("metacarpal3", _ray(1, -35, 0, -99, 6.5, 4.2)),
                Bone("metacarpal5", _ray(4, -32, 7, -88, 5.6, 3.6)),
            ),
            envelope=(
                (-26, FAR), (-25, 140), (-22, 80), (-20, 40), (-20, 5), (-24, -20), (-36, -42),
                (-50, -72), (-46, -88), (-30, -80), (-24, -100), (-22, -200), (18, -200),
                (18, -100), (18, -50), (17, -10), (19, 30), (22, 80), (25, 140), (26, FAR),
            ),
            depth_mm=30.0,
        ),
    },
    sites=(("radius", 12, 80), ("radius", 14, 45), ("ulna", 16, 70)),
)
# fmt: on

LIMBS = (KNEE, ANKLE, SHOULDER, WRIST)
