"""The CLAIM checklist, filled in with what a run knows.

Tejani et al., "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 update",
Radiology: Artificial Intelligence 6:e240300, 2024; the items in our own short words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_AUTHORS = "for the authors of a study to state"
_MAKERS = "the dataset folder does not say; ask those who made the dataset"
_NO_RUN = "not known of this model"

# Number, section, item, and why it is not reported where a run does not know.
_ITEMS = (
    (1, "Title", "Kind of AI technology", _NO_RUN),
    (2, "Abstract", "Structured summary", _AUTHORS),
    (3, "Introduction", "Background, intended use and role", _AUTHORS),
    (4, "Introduction", "Aims and hypotheses", _AUTHORS),
    (5, "Study design", "Prospective or retrospective", _AUTHORS),
    (6, "Study design", "Goal of the study", _AUTHORS),
    (7, "Data", "Sources", _MAKERS),
    (8, "Data", "Inclusion and exclusion", _MAKERS),
    (9, "Data", "Preprocessing", _NO_RUN),
    (10, "Data", "Selection of subsets", _MAKERS),
    (11, "Data", "De-identification", _MAKERS),
    (12, "Data", "Missing data", _MAKERS),
    (13, "Data", "Image acquisition", _MAKERS),
    (14, "Reference standard", "Definition", _MAKERS),
    (15, "Reference standard", "Why this one", _MAKERS),
    (16, "Reference standard", "Who annotated, with what training", _MAKERS),
    (17, "Reference standard", "Annotation of the test films", _MAKERS),
    (18, "Reference standard", "Variability between and within raters", _MAKERS),
    (19, "Data partitions", "How films were assigned", _NO_RUN),
    (20, "Data partitions", "Level at which partitions are disjoint", _NO_RUN),
    (21, "Test data", "Intended sample size", "no calculation is part of the dataset folder"),
    (22, "Model", "Description of the network", _NO_RUN),
    (23, "Model", "Software", _NO_RUN),
    (24, "Model", "Initial weights", "the recipe says; a bundle holds its hash only"),
    (25, "Training", "Training approach", "the recipe says; a bundle holds its hash only"),
    (26, "Training", "Choice of the final model", _NO_RUN),
    (27, "Training", "Ensembles", _NO_RUN),
    (28, "Evaluation", "Metrics", _NO_RUN),
    (29, "Evaluation", "Significance and uncertainty", _NO_RUN),
    (30, "Evaluation", "Robustness", "this table of predictions came without its model"),
    (31, "Evaluation", "Explainability", "this table of predictions came without its model"),
    (32, "Evaluation", "Internal data", _NO_RUN),
    (33, "Evaluation", "External data", _NO_RUN),
    (34, "Evaluation", "Trial registration", _AUTHORS),
    (35, "Results", "Patients and films, included and left out", _NO_RUN),
    (36, "Results", "Who the patients are", "age and sex are blank in the dataset"),
    (37, "Results", "Performance", "no film has a label"),
    (38, "Results", "Diagnostic accuracy with its precision", "no film has a label"),
    (39, "Results", "Failures", "no film has a label"),
    (40, "Discussion", "Limitations", _AUTHORS),
    (41, "Discussion", "Implications for practice", _AUTHORS),
    (42, "Other", "Study protocol", _AUTHORS),
    (43, "Other", "Software, model and data: where to get them", _NO_RUN),
    (44, "Other", "Funding", _AUTHORS),
)


@dataclass(frozen=True)
class ClaimItem:
    """One item of the checklist and what there is to say of it."""

    number: int
    section: str
    item: str
    answer: str
    reported: bool


def fill(known: Mapping[int, str]) -> list[ClaimItem]:
    """Return all 44 items; those not in ``known`` say `not reported` and why.

    Raises
    ------
    KeyError
        There is no item of that number.
    """
    if strange := set(known) - {number for number, *_ in _ITEMS}:
        raise KeyError(f"CLAIM has no item {min(strange)}")
    return [
        ClaimItem(number, section, item, known.get(number, f"not reported: {why}"), number in known)
        for number, section, item, why in _ITEMS
    ]
