"""Charts as SVG inside a page: no other file, and the same bytes for the same figures."""

from __future__ import annotations

import io

import matplotlib as mpl
from matplotlib.figure import Figure


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element."""
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "osteoedge"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def plain(text: str) -> str:
    """Return text that matplotlib takes as it is, not as a formula."""
    return text.replace("$", r"\$")
