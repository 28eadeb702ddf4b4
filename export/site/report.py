"""The report of a site's calibration: before and after, one HTML page beside the site file."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.markup import escape
from rich.table import Table

from edge_runtime.bundle import Change, Interval, Manifest, OperatingPoint, SiteFile, SiteFit
from edge_runtime.files import write_atomically
from edge_runtime.screening import STANDING_SENTENCE
from export.card import to_page
from export.site.measure import REFERRED
from train.evaluate.charts import reliability_png

PAGE, CHART = "report.html", "reliability.png"
# What Markdown would take for a table, a link or emphasis.
_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]|#~<>"})


@dataclass(frozen=True)
class Reported:
    """What a report tells.

    Attributes
    ----------
    manifest
        Of the bundle, with its own calibration.
    warnings
        What whoever uses the file should know, as sentences without a full stop.
    frames
        Predictions with the bundle's own probabilities and with the site's, cross-validated.
    """

    site: SiteFile
    fitted: SiteFit
    manifest: Manifest
    warnings: tuple[str, ...]
    frames: tuple[pd.DataFrame, pd.DataFrame]


@dataclass(frozen=True)
class Row:
    """One operating point, or all of a level together, before and after.

    ``own`` and ``new`` are None where all points are taken together.
    """

    name: str
    own: OperatingPoint | None
    new: OperatingPoint | None
    change: Change


def rows(reported: Reported) -> Iterator[Row]:
    """Yield the operating points of films, then of studies, each level with its whole."""
    rates = reported.fitted.rates
    own = {point.name: point for point in reported.manifest.calibration.operating_points}
    for level, together in REFERRED.items():
        for point in reported.site.operating_points:
            if point.level == level:
                yield Row(point.name, own[point.name], point, rates[point.name])
        if together in rates:
            what = {"image": "films", "study": "studies"}[level]
            yield Row(f"any referral of {what}", None, None, rates[together])


def table(reported: Reported) -> Table:
    """Return before and after for the terminal."""
    fitted = reported.fitted
    found = Table(
        title=f"{escape(reported.site.name)}: {fitted.films} films, {fitted.tumour_patients} "
        f"patients with a tumour; 95 % intervals by patient",
        title_justify="left",
    )
    for column in ("", "calibration", "sensitivity", "specificity", "referred"):
        found.add_column(column, overflow="fold")
    for row in rows(reported):
        for name, whose, point, rates in (
            (row.name, "bundle", row.own, row.change.before),
            ("", "site", row.new, row.change.after),
        ):
            found.add_row(
                name,
                whose if point is None else f"{whose}, {point.threshold:.3f}",
                *map(_brief, (rates.sensitivity, rates.specificity, rates.referral_rate)),
            )
    found.add_row("calibration error", "bundle", _brief(fitted.ece_before))
    found.add_row("", "site", _brief(fitted.ece_after))
    return found


def write_report(folder: Path, reported: Reported) -> None:
    """Write :data:`PAGE`, which needs no other file, and its chart as :data:`CHART`."""
    before, after = (frame[frame["p_no_tumour"].notna()] for frame in reported.frames)
    chart = reliability_png({"the bundle's own": before, "the site's, cross-validated": after})
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.globals.update(interval=_interval)
    environment.filters["plain"] = lambda text: str(text).translate(_MARKS)
    text = environment.get_template("report.md.j2").render(
        site=reported.site,
        fitted=reported.fitted,
        manifest=reported.manifest,
        synthetic=reported.fitted.synthetic or reported.manifest.purpose == "demo",
        sentence=STANDING_SENTENCE,
        warnings=reported.warnings,
        rows=list(rows(reported)),
        chart=base64.b64encode(chart).decode(),
    )
    write_atomically(folder / CHART, chart)
    write_atomically(folder / PAGE, to_page(text, f"{reported.site.name}: calibration").encode())


def _brief(figure: Interval) -> str:
    return f"{figure.value:.2f} ({figure.low:.2f}-{figure.high:.2f})"


def _interval(figure: Interval) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
