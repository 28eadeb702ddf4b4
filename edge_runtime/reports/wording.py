"""What results say to people, once for all formats."""

from __future__ import annotations

from edge_runtime.decision import Decision

HEADLINES: dict[Decision, str] = {
    "urgent_review": "URGENT REVIEW: a radiologist should look now",
    "routine_review": "ROUTINE REVIEW: a radiologist should look",
    "not_flagged": "NOT FLAGGED by the bone-tumour check",
    "unable": "UNABLE TO CHECK: a person must look",
}
RESEARCH = "Research software, not a medical device"
SYNTHETIC = "SYNTHETIC: the model learned from drawings, not patients"
# Series Description is of at most 64 characters.
SERIES = "osteoedge bone-tumour check, not a normal report"
