"""Fixed screenings whose summaries lie in `tests/data/summaries.json`, to be read by people.

Write them anew, and look at what changed: python -m tests.edge_runtime.summaries
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge_runtime.bundle import OperatingPoint
from edge_runtime.phrases import Phrase
from edge_runtime.quality import unfit
from edge_runtime.screening import Film, Lesion, OutOfDistribution, Screening
from edge_runtime.summary import film_summary, in_words, study_summary
from tests.edge_runtime.screenings import screening, triage

FILE = Path(__file__).parent.parent / "data" / "summaries.json"
FIGURES: dict[str, Any] = dict.fromkeys(
    ("probabilities", "tumour_probability", "prediction_set", "mask")
)


def points(level: str) -> tuple[OperatingPoint, ...]:
    """Malignant at 0.6, tumour at 0.25."""
    (malignant,) = screening().operating_points
    return tuple(
        malignant.model_copy(
            update={"name": score, "score": score, "action": action, "threshold": threshold,
                    "level": level}
        )
        for score, action, threshold in (
            ("malignant", "urgent_review", 0.6), ("tumour", "routine_review", 0.25),
        )
    )  # fmt: skip


def film(number: int = 1, **parts: Any) -> Screening:
    """A film screened by a bundle with rules of films and of studies."""
    rules = {"operating_points": points("image"), "study_operating_points": points("study")}
    return screening(number, **(rules | parts))


def routine(number: int = 1, **parts: Any) -> Screening:
    """Looks benign, without pixel spacing, five areas."""
    told: dict[str, Any] = {
        "decision": "routine_review",
        "reasons": ("tumour probability 0.66 is at or above 0.25 (tumour)",),
        "probabilities": {"no_tumour": 0.34, "benign": 0.57, "malignant": 0.09},
        "tumour_probability": 0.66,
        "prediction_set": ("no_tumour", "benign"),
        "film": Film(rows=90, columns=60, body_part="upper_limb", side=None),
        "lesions": tuple(
            Lesion(box=(x, y, x + 9.0, y + 9.0), box_mm=None, score=0.9 - x / 100,
                   area_fraction=0.01)
            for x, y in ((1.0, 40.0), (25.0, 40.0), (50.0, 80.0), (1.0, 1.0), (50.0, 1.0))
        ),
    }  # fmt: skip
    return film(number, **(told | parts))


def quiet(number: int = 1, **parts: Any) -> Screening:
    """Not flagged."""
    told: dict[str, Any] = {
        "decision": "not_flagged",
        "reasons": ("no operating point was reached",),
        "probabilities": {"no_tumour": 0.99995, "benign": 0.00003, "malignant": 0.00002},
        "tumour_probability": 0.00005,
        "prediction_set": ("no_tumour",),
        "lesions": (),
    }
    return film(number, **(told | parts))


def blurred(number: int = 1, **parts: Any) -> Screening:
    """Cannot be checked for its quality."""
    finding = unfit("blurred", part="body.knee")
    reasons = (f"{finding.finding}: {finding.action}",)
    told = {"decision": "unable", "quality": (finding,), "reasons": reasons, "lesions": ()}
    return film(number, **(told | parts))


def refused(number: int = 1, **parts: Any) -> Screening:
    """Cannot be read."""
    told: dict[str, Any] = {
        "decision": "unable",
        "reasons": ("modality CT, not a radiograph: send plain films only (CR, DX, RG)",),
        "refusal": Phrase(key="refused.modality", values={"modality": "CT"}),
        "film": None,
        "lesions": (),
    }
    return film(number, **(FIGURES | told | parts))


def cases() -> dict[str, tuple[Phrase, ...]]:
    """Summaries by what they are of."""
    sized = Lesion(
        box=(10.0, 2.0, 40.0, 20.0), box_mm=(2.0, 0.4, 34.4, 41.0), score=0.7, area_fraction=0.1
    )
    unfamiliar = OutOfDistribution(status="unfamiliar", reason="far")
    films = {
        "urgent review, one area in millimetres": film(lesions=(sized,)),
        "routine review, many areas": routine(),
        "routine review, nothing marked": routine(lesions=(), prediction_set=("benign",)),
        "not flagged": quiet(),
        "not flagged, unfamiliar film, degraded unit": quiet(
            out_of_distribution=unfamiliar, degraded=("slower",), prediction_set=()
        ),
        "unable for its quality": blurred(),
        "unable, not a radiograph": refused(),
        "triage, urgent review": triage(),
        "synthetic": film(synthetic=True, prediction_set=("benign", "malignant")),
    }
    told = {name: film_summary(screened) for name, screened in films.items()}
    told["study, urgent review of three films"] = study_summary(
        "urgent_review", [film(1, lesions=(sized,)), quiet(2), blurred(3)]
    )
    told["study, unable"] = study_summary("unable", [quiet(1), refused(2)])
    told["study, not flagged though a film is"] = study_summary("not_flagged", [routine(1)])
    told["study, triage"] = study_summary("urgent_review", [triage(), triage()])
    return told


def golden() -> str:
    """The file's content."""
    told = {name: in_words(phrases).model_dump(mode="json") for name, phrases in cases().items()}
    return json.dumps(told, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(golden(), encoding="utf-8")
