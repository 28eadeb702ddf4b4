"""Probes of pixels that cannot show a tumour: what they predict, a model may learn instead.

The border of a film shows collimation, markers and the unit it was taken on; the histogram and the
sharpness show exposure, digitisation and compression; the size of the file shows its origin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from train.dataset.check.films import Films
from train.dataset.check.findings import Finding
from train.dataset.check.separability import Question, Separability, boosted_trees

# A lower end of the interval above this is more than chance and habit of one hospital.
WARN_LOW = 0.60


@dataclass(frozen=True)
class ProbeResult:
    """What one probe scored on one question."""

    probe: str
    question: str
    found: Separability


def probe_pixels(
    films: Films, asked: Sequence[Question], advance: Callable[[], None]
) -> list[ProbeResult]:
    """Run every probe on every question; ``advance`` is called after each."""
    features = {
        "border": films.border,
        "grey histogram and sharpness": films.grey,
        "file size and shape": films.file_facts,
    }
    results = []
    for probe, values in features.items():
        for question in asked:
            found = question.measure(boosted_trees(values[question.rows]))
            results.append(ProbeResult(probe, question.name, found))
            advance()
    return results


PROBES = 3


def probe_findings(results: Sequence[ProbeResult]) -> list[Finding]:
    """Return a finding for each probe that knows too much."""
    found = []
    for result in results:
        strongest = result.found.strongest
        if strongest.low <= WARN_LOW:
            continue
        found.append(
            Finding(
                "warning",
                "pixel_probe",
                f"{_NAMES[result.probe]} tells {result.question} with AUC "
                f"{strongest.value:.2f} ({strongest.low:.2f}-{strongest.high:.2f}), though it "
                "cannot show a lesion",
                _REMEDIES[result.probe],
            )
        )
    return found


_NAMES = {
    "border": "The outer border of the film alone",
    "grey histogram and sharpness": "The grey histogram with the sharpness alone",
    "file size and shape": "The size and shape of the file alone",
}
_REMEDIES = {
    "border": "Crop to the collimated field, and report the model on another centre, where this "
    "habit does not hold",
    "grey histogram and sharpness": "Take films of both classes from the same units and the same "
    "export, vary contrast and sharpness in training, and report the model on another centre",
    "file size and shape": "Export the films of both classes in the same way",
}
