"""What a check found, as text, as JSON and as one HTML file that needs no network."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_runtime.files import write_atomically
from train.dataset.check.checking import CheckResult
from train.dataset.check.duplicates import Pair
from train.dataset.check.findings import SEVERITIES
from train.dataset.check.giveaways import ColumnResult
from train.dataset.check.probes import ProbeResult
from train.dataset.check.separability import Auc
from train.svg import svg

FORMAT = "osteoedge.check/1"
LIMITS = (
    "What these checks cannot see: two films of one patient that show different views under "
    "different patient_ids, copies cropped by more than a few per cent, and give-aways inside the "
    "field of view, such as markers on tumour films only. That nothing was found proves nothing."
)
_COLOURS = {"leak": "red", "warning": "yellow", "info": "cyan"}
# Pictures of a pair: six rows of four keep the report under 1 MB.
_PAIRS_SHOWN = 24


def to_json(result: CheckResult) -> str:
    """Return everything as JSON, schema ``osteoedge.check/1``.

    Keys: format, dataset, sha256, films, patients, groups (patients after joining duplicates),
    unreadable, findings, splits (overlaps of parts), duplicates, columns, untested_columns,
    probes, composition.
    """
    names = result.dataset.films["image_id"].tolist()
    document = {
        "format": FORMAT,
        "dataset": result.dataset.card.name,
        "sha256": result.dataset.sha256,
        "films": len(names),
        "patients": int(result.dataset.films["patient_id"].nunique()),
        "groups": int(result.groups.nunique()),
        "unreadable": [str(error) for error in result.errors],
        "findings": [asdict(finding) for finding in result.findings],
        "splits": {
            split.name: [asdict(each) for each in result.overlaps if each.split == split.name]
            for split in result.splits
        },
        "duplicates": [
            {**asdict(pair), "first": names[pair.first], "second": names[pair.second]}
            for pair in result.pairs
        ],
        "columns": [asdict(column) for column in result.columns],
        "untested_columns": [asdict(each) for each in result.untested],
        "probes": [asdict(probe) for probe in result.probes],
        "composition": [asdict(row) for row in result.composition],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def print_report(result: CheckResult, console: Console | None = None) -> None:
    """Print the findings and the tables behind them."""
    console = console or Console()
    for finding in result.findings:
        console.print(
            f"[bold {_COLOURS[finding.severity]}]{finding.severity}[/] {escape(finding.what)}.",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
        if finding.films:
            console.print(f"    Films: {escape(finding.first_films())}", soft_wrap=True,
                          highlight=False)  # fmt: skip
        console.print(f"    {escape(finding.remedy)}.", soft_wrap=True, highlight=False)
    table = Table(title="AUC without looking at the bone", title_justify="left")
    for heading in ("from", "question", "grouped folds (95 %)", "learnt elsewhere, at centre"):
        table.add_column(heading)
    for name, scored in _scored(result):
        across = ", ".join(f"{c}: {a.value:.3f}" for c, a in scored.found.across.items())
        table.add_row(escape(name), scored.question, _interval(scored.found.within),
                      escape(across) or "-")  # fmt: skip
    if table.row_count:
        console.print(table)
    else:
        console.print("Too few patients of each class for AUCs: nothing was scored.")
    for each in result.untested:
        console.print(f"Not tested: {escape(each.column)} ({each.why})", highlight=False)
    centres = list(result.composition[0].cells)
    table = Table(title="Films by centre (with tumour)", title_justify="left")
    table.add_column("")
    table.add_column("")
    for centre in centres:
        table.add_column(f"centre {escape(centre)}", justify="right")
    variable = None
    for row in result.composition:
        heading = row.variable if row.variable != variable else ""
        variable = row.variable
        cells = [f"{row.cells[c].films} ({row.cells[c].tumours})" for c in centres]
        table.add_row(heading, escape(row.value), *cells)
    console.print(table)
    console.print(_summary(result))
    console.print(LIMITS)


def write_reports(result: CheckResult, out: Path) -> None:
    """Write ``report.html``, ``report.txt`` and ``check.json`` into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "check.json", (to_json(result) + "\n").encode())
    stream = io.StringIO()
    print_report(result, Console(file=stream, width=120))
    write_atomically(out / "report.txt", stream.getvalue().encode())
    environment = Environment(
        loader=PackageLoader("train.dataset.check", "."),
        autoescape=True,
        undefined=StrictUndefined,
    )
    films = result.dataset.films
    shown = _pairs_to_show(result)
    html = environment.get_template("report.html.j2").render(
        title=f"Check of {result.dataset.card.name}",
        synthetic=result.dataset.card.synthetic,
        facts={
            "Dataset": f"{result.dataset.card.name}, {result.dataset.card.source}",
            "Data licence": result.dataset.card.licence,
            "Films": len(films),
            "Patients": f"{films['patient_id'].nunique()}, {result.groups.nunique()} after joining "
            "those whose films are duplicates",
            "Splits": ", ".join(split.name for split in result.splits) or "none",
        },
        summary=_summary(result),
        findings=result.findings,
        overlaps=result.overlaps,
        charts=_charts(result),
        scored=_scored(result),
        interval=_interval,
        untested=result.untested,
        pairs=[(_caption(result, pair), _picture(result, pair)) for pair in shown],
        pair_count=len(result.pairs),
        composition=result.composition,
        centres=list(result.composition[0].cells),
        errors=[str(error) for error in result.errors],
        limits=LIMITS,
    )
    write_atomically(out / "report.html", html.encode())


def _summary(result: CheckResult) -> str:
    counts = {
        severity: sum(finding.severity == severity for finding in result.findings)
        for severity in SEVERITIES
    }
    named = ", ".join(f"{severity}: {count}" for severity, count in counts.items())
    return (
        f"{len(result.dataset.films)} films checked, {len(result.errors)} unreadable, "
        f"{len(result.splits)} split(s). Findings: {named}."
    )


def _scored(result: CheckResult) -> list[tuple[str, ColumnResult | ProbeResult]]:
    columns: list[tuple[str, ColumnResult | ProbeResult]] = [
        (each.column, each) for each in result.columns
    ]
    return columns + [(f"pixels: {each.probe}", each) for each in result.probes]


def _interval(found: Auc) -> str:
    return f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})"


def _charts(result: CheckResult) -> list[tuple[str, str]]:
    """Return caption and SVG of what each column and probe scored, a chart a question."""
    scored = _scored(result)
    asked = dict.fromkeys(each.question for _, each in scored)
    return [
        (
            f"{question}: AUC without looking at the bone, grouped folds, 95 %; crosses: learnt "
            "at the other centres",
            _chart([(name, each) for name, each in scored if each.question == question]),
        )
        for question in asked
    ]


def _chart(scored: Sequence[tuple[str, ColumnResult | ProbeResult]]) -> str:
    figure = Figure(figsize=(6.4, 0.8 + 0.3 * len(scored)), layout="constrained")
    axes = figure.add_subplot()
    for height, (_, each) in enumerate(reversed(scored)):
        within = each.found.within
        axes.plot([within.low, within.high], [height, height], color="#0072B2")
        axes.plot(within.value, height, "o", color="#0072B2")
        for across in each.found.across.values():
            axes.plot(across.value, height, "x", color="#D55E00")
    axes.axvline(0.5, color="#bbbbbb", linewidth=1)
    axes.set_xlim(0.2, 1.02)
    axes.set_yticks(range(len(scored)), [name[:48] for name, _ in reversed(scored)])
    for label in axes.get_yticklabels():
        # A column may be called $x$.
        label.set_parse_math(False)
    axes.spines[["top", "right"]].set_visible(False)
    return svg(figure)


def _pairs_to_show(result: CheckResult) -> list[Pair]:
    """Put first what matters most: two labels, two parts, two patients, then near pairs."""
    films = result.dataset.films
    label = films["label"].astype("string").fillna("").to_numpy(str)
    patient = films["patient_id"].to_numpy(str)

    def rank(pair: Pair) -> tuple[bool, ...]:
        a, b = pair.first, pair.second
        apart = any(split.part[a] != split.part[b] for split in result.splits)
        return (
            bool(label[a] == label[b]),
            not apart,
            bool(patient[a] == patient[b]),
            pair.kind == "exact",
        )

    return sorted(result.pairs, key=rank)[:_PAIRS_SHOWN]


def _caption(result: CheckResult, pair: Pair) -> str:
    sides = []
    for row in (pair.first, pair.second):
        film = result.dataset.films.iloc[row]
        facts = [film["label"] if isinstance(film["label"], str) else "label unknown"]
        facts += [f"patient {film['patient_id']}"]
        facts += [str(split.part[row]) for split in result.splits if split.part[row]]
        sides.append(f"{film['image_id']} ({', '.join(facts)})")
    how = f", {pair.change}" if pair.change else ""
    return f"{sides[0]} and {sides[1]}: {pair.kind}{how}, correlation {pair.correlation:.2f}"


def _picture(result: CheckResult, pair: Pair) -> str:
    """Return both thumbnails side by side as a data URI: the report is one file."""
    thumbnails = result.films.thumbnails
    both = np.hstack([thumbnails[pair.first], thumbnails[pair.second]])
    _, jpeg = cv2.imencode(".jpg", both, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
