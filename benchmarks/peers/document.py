"""`peers.json`: who was measured against osteoedge, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from rich import box
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
    """Return the rows as a table: how many times osteoedge's, and how many steps off."""
    synthetic = ", SYNTHETIC: model trained on drawings" if peers.synthetic else ""
    rows, columns = peers.input
    title = f"{peers.backbone} {rows} x {columns}, ms on {peers.host.cpu}{synthetic}"
    result = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False,
        collapse_padding=True,
    )  # fmt: skip
    for heading in ("what", "system"):
        result.add_column(heading, no_wrap=True)
    for heading in ("thr.", "p50", "95 %", "times", "off"):
        result.add_column(heading, justify="right")
    for row in peers.rows:
        off = "" if row.max_steps is None else _steps(row.max_steps)
        median, spread = _p50(row)
        result.add_row(
            row.what, row.system, str(row.threads), median, spread, _times(row.times), off
        )
    return result


def sentences(peers: Peers) -> Iterator[str]:
    """Yield why systems have no figures, a line each."""
    for row in peers.rows:
        if row.reason is not None:
            yield f"{row.what}, {row.system}: {row.reason}"


def _p50(row: PeerRow) -> tuple[str, str]:
    if row.p50_ms is None:
        return row.status, ""
    high = "?" if row.p50_high_ms is None else f"{row.p50_high_ms:.3g}"
    return f"{row.p50_ms:.3g}", f"{row.p50_low_ms:.3g}-{high}"


def _steps(steps: float) -> str:
    return f"{steps:.0f}" if steps >= 1.0 else f"{steps:.1g}"


def _times(found: Interval | None) -> str:
    return "" if found is None else f"{found.value:.2f}"
