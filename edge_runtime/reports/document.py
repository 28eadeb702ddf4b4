"""The JSON document of a screening, schema `osteoedge.screening/1`."""

from __future__ import annotations

from edge_runtime.screening import Screening


def screening_json(screening: Screening) -> bytes:
    """Return the document as UTF-8, indented, with a final newline."""
    return (screening.model_dump_json(by_alias=True, indent=2) + "\n").encode()
