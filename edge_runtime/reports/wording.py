"""What results say to people in English, once for all formats."""

from __future__ import annotations

from typing import get_args

from edge_runtime.decision import Decision
from edge_runtime.phrases import Phrase, say

HEADLINES: dict[Decision, str] = {
    decision: say(Phrase(key=f"decision.{decision}")) for decision in get_args(Decision)
}
RESEARCH = say(Phrase(key="notice.research"))
SYNTHETIC = say(Phrase(key="notice.synthetic"))
# Series Description is of at most 64 characters.
SERIES = "osteoedge bone-tumour check, not a normal report"
