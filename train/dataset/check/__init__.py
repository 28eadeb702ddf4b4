"""`osteoedge data check`: leaks, duplicates, columns and pixels that give the label away."""

from __future__ import annotations

from train.dataset.check.checking import CheckResult, check_dataset
from train.dataset.check.findings import Finding, Severity
from train.dataset.check.groups import duplicate_groups, patient_groups
from train.dataset.check.report import print_report, to_json, write_reports

__all__ = [
    "CheckResult",
    "Finding",
    "Severity",
    "check_dataset",
    "duplicate_groups",
    "patient_groups",
    "print_report",
    "to_json",
    "write_reports",
]
