"""`peers.json`: who was measured against osteoedge, and what came of it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from benchmarks.schema import Host, Interval, Status

What = Literal["int8", "fp32", "film", "film, one core"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PeerRow(_Part):
    """One runtime, or one program, with one number of threads."""

    what: What = Field(description="the network alone by its numbers, or a film to its document")
    system: str
    version: str | None = None
    threads: int
    status: Status = "ok"
    reason: str | None = Field(None, description="why not, where the status is not ok")
    max_steps: float | None = Field(
        None, description="the farthest value from ours: in int8 steps; fp32: 255ths of the range"
    )
    mean_steps: float | None = Field(None, description="the same, the farthest mean of an output")
    malignant: float | None = Field(None, description="probability, of a film's document")
    n: int | None = None
    p50_ms: float | None = None
    p50_low_ms: float | None = Field(None, description="of its 95 % interval")
    p50_high_ms: float | None = Field(None, description="None: too few queries to bound it")
    p90_ms: float | None = None
    times: Interval | None = Field(
        None,
        description="median over that of osteoedge in the same rounds: its int8 network, or its "
        "film; above 1 it is slower than osteoedge",
    )

    def unusable(self, status: Status, reason: str) -> Self:
        """Return the row of a system that is not measured, and why."""
        return self.model_copy(update={"status": status, "reason": reason})


class Peers(_Part):
    """The whole of it."""

    schema_: Literal["osteoedge.peers/1"] = Field("osteoedge.peers/1", alias="schema")
    bundle: str
    sha256: str
    synthetic: bool = Field(description="trained on drawings")
    backbone: str
    input: tuple[int, int] = Field(description="rows, columns")
    host: Host = Field(description="`harness_us` is of a process that does nothing")
    rows: tuple[PeerRow, ...]

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def to_json(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def table(peers: Peers) -> Table:
    """Return the rows as a table."""
    synthetic = ", SYNTHETIC: model trained on drawings" if peers.synthetic else ""
    rows, columns = peers.input
    title = f"{peers.backbone} {rows} x {columns}, ms on {peers.host.cpu}{synthetic}"
    result = Table(title=title, title_justify="left")
    result.add_column("what", no_wrap=True)
    result.add_column("system", no_wrap=True)
    for heading in ("threads", "p50 (95 %)", "times osteoedge's", "steps off"):
        result.add_column(heading, justify="right")
    result.add_column("")
    for row in peers.rows:
        off = "" if row.max_steps is None else f"{row.max_steps:.2g}"
        why = "" if row.reason is None else f"{row.status}: {row.reason}"
        result.add_row(
            row.what, row.system, str(row.threads), _p50(row), _times(row.times), off, why
        )
    return result


def _p50(row: PeerRow) -> str:
    if row.p50_ms is None:
        return "-"
    high = "?" if row.p50_high_ms is None else f"{row.p50_high_ms:.2f}"
    return f"{row.p50_ms:.2f} ({row.p50_low_ms:.2f}-{high})"


def _times(found: Interval | None) -> str:
    return "-" if found is None else f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f})"
