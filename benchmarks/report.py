"""`bench.json`, and the table that a person reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from edge_runtime.files import write_atomically

_COLUMNS = (
    ("p50", "p50_ms", 2),
    ("p90", "p90_ms", 2),
    ("p99", "p99_ms", 2),
    ("film p50", "screen_p50_ms", 1),
    ("cold start", "cold_ms", 0),
    ("memory MB", "rss_mb", 0),
)


def write_bench(path: Path, host: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Write bench.json atomically and return its text."""
    text = json.dumps({"host": host, "rows": rows}, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    return text


def table(host: dict[str, Any], rows: list[dict[str, Any]]) -> Table:
    """Return the rows as a table, milliseconds unless it says otherwise."""
    synthetic = ", SYNTHETIC: model trained on drawings" if rows[0]["synthetic"] else ""
    title = f"ms on {host['cpu']}, {host['cores']} cores{synthetic}"
    result = Table(title=title, title_justify="left")
    result.add_column("delegate")
    result.add_column("threads", justify="right")
    for heading, _, _ in _COLUMNS:
        result.add_column(heading, justify="right")
    result.add_column("status")
    for row in rows:
        figures = (
            "-" if row[key] is None else f"{row[key]:.{digits}f}" for _, key, digits in _COLUMNS
        )
        words = "; ".join(filter(None, [row["status"], row["reason"], *row["degraded"]]))
        result.add_row(row["delegate"], str(row["threads"]), *figures, words)
    return result
