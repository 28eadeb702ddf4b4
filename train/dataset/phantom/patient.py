"""Who the imaginary patients are: every fact of a study is drawn before a single film is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np

from train.dataset.dicom_writer import Photometric
from train.dataset.phantom.anatomy import LIMBS, Limb, ViewName
from train.dataset.phantom.film import CENTRES, Centre
from train.dataset.phantom.findings import TUMOURS, Finding
from train.dataset.phantom.projection import Physique

Label = Literal["no_tumour", "benign", "malignant"]

# Twenty patients hold each class in its share, so a small dataset has all of them.
_BLOCK: tuple[Label, ...] = ("no_tumour",) * 9 + ("benign",) * 6 + ("malignant",) * 5
# Hospitals differ in what is sent to them: P(centre | label).
_CENTRE_SHARE: dict[Label, tuple[float, float, float]] = {
    "no_tumour": (0.40, 0.35, 0.25),
    "benign": (0.38, 0.32, 0.30),
    "malignant": (0.46, 0.27, 0.27),
}
# First positions of SeedSequence.spawn_key: what a stream of randomness is for.
_LABELS, _FACTS, _FILMS = 0, 1, 2


@dataclass(frozen=True)
class Patient:
    """One patient with one study.

    Attributes
    ----------
    patient_id, study_id, index
        Names, unique with the seed, and the position in the dataset.
    label, subtype, other_finding
        As in the dataset layout; blank where there is nothing to say.
    age, sex, side, acquired_on
        Facts of the examination; age in years.
    centre, photometric
        Where, and how its unit writes films.
    limb, views
        What was examined, film by film.
    size
        Size over an adult's.
    physique, findings
        What the bones look like.
    """

    patient_id: str
    study_id: str
    index: int
    label: Label
    subtype: str
    other_finding: str
    age: int
    sex: Literal["F", "M"]
    side: Literal["L", "R"]
    acquired_on: date
    centre: Centre
    photometric: Photometric
    limb: Limb
    views: tuple[ViewName, ...]
    size: float
    physique: Physique
    findings: tuple[Finding, ...]

    def film_rng(self, seed: int, film: int) -> np.random.Generator:
        """Return the randomness of one film, the same whoever draws it and when."""
        return _stream(seed, _FILMS, self.index, film)


def draw_patient(seed: int, index: int) -> Patient:
    """Draw patient number ``index`` of the dataset ``seed``; no other patient is needed for it."""
    rng = _stream(seed, _FACTS, index)
    block = _stream(seed, _LABELS, index // len(_BLOCK))
    label: Label = _BLOCK[int(block.permutation(len(_BLOCK))[index % len(_BLOCK)])]
    centre = CENTRES[int(rng.choice(len(CENTRES), p=_CENTRE_SHARE[label]))]
    limb = LIMBS[int(rng.integers(len(LIMBS)))]
    # Bone tumours of both kinds prefer the young, but age alone must not decide.
    age = int(rng.triangular(6, 16, 60)) if rng.random() < 0.6 else int(rng.integers(6, 86))
    if label == "no_tumour" and rng.random() < 0.35:
        age = int(rng.integers(6, 86))
    photometric = centre.photometric
    if photometric == "mixed":
        photometric = "MONOCHROME1" if rng.random() < 0.5 else "MONOCHROME2"
    subtype = "" if label == "no_tumour" else str(rng.choice(TUMOURS[label]))
    other = _other_finding(rng, label)
    return Patient(
        patient_id=f"PH{seed}-{index:05d}",
        study_id=f"PH{seed}-{index:05d}-S1",
        index=index,
        label=label,
        subtype=subtype,
        other_finding=other,
        age=age,
        sex="F" if rng.random() < 0.5 else "M",
        side="L" if rng.random() < 0.5 else "R",
        acquired_on=date(2020, 1, 1) + timedelta(days=int(rng.integers(0, 1800))),
        centre=centre,
        photometric=photometric,
        limb=limb,
        views=_views(rng),
        size=float(rng.normal(1.0, 0.04)) * min(1.0, 0.55 + 0.45 * (age / 17)),
        physique=_physique(rng, age),
        findings=_findings(rng, limb, age, subtype, other),
    )


def _stream(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


def _views(rng: np.random.Generator) -> tuple[ViewName, ...]:
    choices: tuple[tuple[ViewName, ...], ...] = (
        ("frontal",),
        ("lateral",),
        ("frontal", "lateral"),
        ("frontal", "lateral", "frontal"),
    )
    return choices[int(rng.choice(4, p=(0.28, 0.15, 0.49, 0.08)))]


def _other_finding(rng: np.random.Generator, label: Label) -> str:
    share = 0.4 if label == "no_tumour" else 0.1
    if rng.random() >= share:
        return ""
    return "fracture" if rng.random() < 0.6 else "bone_island"


def _physique(rng: np.random.Generator, age: int) -> Physique:
    ageing = max(0.0, age - 50) / 100.0
    return Physique(
        width=float(rng.normal(1.0, 0.05)),
        bow_mm=float(rng.normal(0.0, 2.0)),
        cortex=float(np.clip(rng.normal(1.0 - ageing, 0.1), 0.55, 1.25)),
        density=float(np.clip(rng.normal(1.0 - ageing, 0.15), 0.5, 1.4)),
        jitter=rng.normal(0.0, 0.5, (11, 2)),
    )


def _findings(
    rng: np.random.Generator, limb: Limb, age: int, subtype: str, other: str
) -> tuple[Finding, ...]:
    """Draw the growth plates, the incidental findings and, last, the tumour."""
    scale = limb.height_mm / 255.0
    found: list[Finding] = []
    if age < 18:
        strength = float(np.clip((18.5 - age) / 8.0, 0.15, 0.8))
        for bone in limb.views["frontal"].bones:
            if bone.physis is not None:
                found.append(
                    Finding(
                        "growth_plate", bone.name, bone.physis, 0.0, 0.0, 2.2 * scale, strength, 1.0
                    )
                )
    if rng.random() < 0.3:
        found.append(_place(rng, limb, "nutrient_canal", rng.uniform(10, 18) * scale))
    if other:
        found.append(_place(rng, limb, other, rng.uniform(9, 16) * scale))
    if subtype:
        low, high = _SIZES_MM[subtype]
        found.append(_place(rng, limb, subtype, rng.uniform(low, high) * scale))
    return tuple(found)


_SIZES_MM = {
    "geographic_lytic": (7.0, 17.0),
    "osteochondroma": (15.0, 32.0),
    "permeative": (12.0, 24.0),
    "sunburst": (13.0, 25.0),
}


def _place(rng: np.random.Generator, limb: Limb, kind: str, size_mm: float) -> Finding:
    bone, first, last = limb.sites[int(rng.integers(len(limb.sites)))]
    y = float(rng.uniform(first, last))
    shaft = next(b.shaft for b in limb.views["frontal"].bones if b.name == bone)
    away = 1.0 if shaft is not None and shaft[1] > shaft[0] else -1.0
    # Near one of the four sides: then one view shows the finding in profile.
    azimuth = float(rng.integers(4) * np.pi / 2 + rng.normal(0.0, 0.3))
    return Finding(
        kind=kind,
        bone=bone,
        y=y,
        azimuth=azimuth,
        eccentricity=float(rng.uniform(0.0, 0.6)),
        size_mm=float(size_mm),
        strength=float(rng.uniform(0.25, 1.0)),
        away=away,
    )
