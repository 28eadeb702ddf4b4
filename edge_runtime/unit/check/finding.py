"""What a check found, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table
from rich.text import Text

from edge_runtime.errors import OsteoedgeError

Level = Literal["ok", "note", "warning", "failure"]

_COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "failure": "bold red"}


class Finding(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Level
    about: str = Field(description="what was looked at")
    what: str = Field(description="what was found")
    remedy: str = Field("", description="what to do; empty where there is nothing to do")
    gate: bool = Field(False, description="a failure of safety or privacy, not of configuration")


def failure_of(about: str, error: OsteoedgeError, *, gate: bool = False) -> Finding:
    """Return the failure that an error tells."""
    where = f"{error.source}: " if error.source else ""
    return Finding(
        level="failure", about=about, what=f"{where}{error.what}", remedy=error.remedy, gate=gate
    )


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 3 where a gate refuses, else 2 where anything fails, else 0."""
    failures = [finding for finding in findings if finding.level == "failure"]
    if any(finding.gate for finding in failures):
        return 3
    return 2 if failures else 0


def report(findings: Iterable[Finding]) -> Table:
    """Return findings as a table for people."""
    table = Table("", "about", "found", "do")
    for finding in findings:
        # Sections of unit.toml in brackets are no markup.
        told = (Text(text) for text in (finding.about, finding.what, finding.remedy))
        table.add_row(Text(finding.level, _COLOURS[finding.level]), *told)
    return table
