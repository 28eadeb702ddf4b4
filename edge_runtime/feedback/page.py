"""The weekly report as one HTML file: no script, nothing from elsewhere, readable in print.

In English, like the files that operators write; a template engine would be a dependency of the
device for this one page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from edge_runtime.drift.reference import BLOCK
from edge_runtime.drift.status import drift_line
from edge_runtime.drift.table import in_words
from edge_runtime.feedback.charts import bars, legend, shares, stacked_weeks
from edge_runtime.feedback.figures import DECISIONS, READINGS, VERDICTS, Agreement
from edge_runtime.feedback.intervals import Share
from edge_runtime.feedback.recall import Case, Cases
from edge_runtime.feedback.report import FeedbackReport
from edge_runtime.phrases import Phrase, say
from edge_runtime.reports.wording import RESEARCH

WORDS = {
    "urgent_review": "urgent review",
    "routine_review": "routine review",
    "not_flagged": "not flagged",
    "unable": "unable to check",
    "no_tumour": "no tumour",
    "benign": "benign tumour",
    "malignant": "malignant tumour",
    "agree": "agree",
    "disagree": "disagree",
    "not_sure": "not sure",
}

_STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --warn: #8a3b00; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, "Noto Sans", sans-serif; color: var(--ink); background: #f6f8fa;
       margin: 0; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 0 0 .75rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .4rem 0 .8rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: 8px;
          padding: 1.1rem 1.25rem; margin: 1rem 0; }
.soft { color: var(--soft); }
.notice { font-weight: 600; }
.warn { border-left: 4px solid var(--warn); padding: .1rem 0 .1rem .75rem; color: var(--warn); }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem;
           margin: 0 0 1rem; }
.numbers div { border: 1px solid var(--line); border-radius: 6px; padding: .55rem .7rem; }
.numbers dt { color: var(--soft); font-size: .85rem; }
.numbers dd { margin: 0; font-size: 1.55rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 0 0 1.2rem;
        font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: .9rem; padding-bottom: .3rem; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line);
         vertical-align: top; }
thead th { border-bottom: 2px solid var(--ink); font-size: .88rem; }
td.n, th.n { text-align: right; }
tr.urgent td:first-child { box-shadow: inset 4px 0 0 #d55e00; }
svg { display: block; max-width: 100%; height: auto; }
.scroll > svg { min-width: 40rem; }
svg text { font: 12px system-ui, "Noto Sans", sans-serif; fill: var(--ink); }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; margin: .5rem 0 0;
       padding: 0; font-size: .9rem; }
.key svg { display: inline-block; vertical-align: -1px; margin-right: .4rem; }
@media print { .scroll { overflow: visible; } .scroll > svg { min-width: 0; }
  body { background: #fff; font-size: 11pt; } main { max-width: none; padding: 0; }
  section { border: 0; padding: 0; } table, svg { break-inside: avoid; } }
"""


def html_page(report: FeedbackReport) -> str:
    """Return the report as a page."""
    title = f"Week {report.week}, unit {report.unit}"
    parts = (
        _head(report), _recall(report), _week(report), _drift(report), _agreement(report),
        _rest(report),
    )  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(report: FeedbackReport) -> str:
    last = report.ends.date().toordinal() - 1
    sunday = report.begins.date().fromordinal(last)
    names = (
        "It holds patients' names, patient IDs and accession numbers"
        if report.names
        else "It holds patient IDs and accession numbers, no names"
    )
    running = "" if report.whole else '<p class="warn">The week is not over.</p>'
    return (
        f"<header><h1>Bone-tumour check: week {escape(report.week)}</h1>"
        f'<p class="soft">Unit {escape(report.unit)}, {report.begins:%a %d %b} to '
        f"{sunday:%a %d %b %Y}. Made {report.made_at:%Y-%m-%d %H:%M}.</p>"
        f'<p class="notice">{escape(report.notice)}. {RESEARCH}.</p>'
        f'<p class="warn">{names}: keep this file where the films are kept.</p>{running}</header>'
    )


def _recall(report: FeedbackReport) -> str:
    cases = report.recall.cases
    told = (
        f"<p>{_count(len(cases), 'study', 'studies')} to follow up, of all weeks, at the time of "
        "this report: flagged and not read by a radiologist yet, or read as a tumour though not "
        "flagged. A radiologist's read takes a flagged study off this list; "
        "<code>osteoedge feedback close</code> takes off any.</p>"
        if cases
        else "<p>Nothing is open: each flagged study was read by a radiologist or closed.</p>"
    )
    return (
        f"<section><h2>To recall or follow up: {len(cases)}</h2>{told}"
        f"{_cases(report.recall, 'The oldest first; marked: urgent or missed', report.names)}"
        "</section>"
    )


def _week(report: FeedbackReport) -> str:
    week = report.figures
    flagged = week.studies_by_decision["urgent_review"] + week.studies_by_decision["routine_review"]
    numbers = _numbers(
        (
            ("Films", week.films),
            ("Studies", week.studies),
            ("Studies flagged", flagged),
            ("Films unable to check", week.unable.films),
            ("of those, retaken", week.unable.retaken),
            ("Studies unread", sum(week.studies_unread.values())),
        )
    )
    rows: list[tuple[object, ...]] = [
        (
            WORDS[one],
            week.films_by_decision[one],
            week.studies_by_decision[one],
            week.studies_unread[one],
        )
        for one in DECISIONS
    ]
    rows.append(("no decision yet", week.films_waiting, week.studies_waiting, ""))
    taken_back = (
        f'<p class="soft">{_count(week.films_taken_back, "film", "films")} more came and '
        f"{'was' if week.films_taken_back == 1 else 'were'} replaced or withdrawn.</p>"
        if week.films_taken_back
        else ""
    )
    unable = week.unable
    retakes = (
        f"<h3>Why films could not be checked</h3>"
        f"{bars([(reason.reason, reason.films) for reason in unable.reasons])}"
        f"<p>{unable.retaken} of {unable.films} were retaken within a day (a later film of the "
        "same study or patient, of the same body part, side and view); "
        f"{unable.retaken_and_checked} of those could then be checked.</p>"
        if unable.films
        else ""
    )
    return (
        f"<section><h2>Films and studies of the week</h2>{numbers}"
        f"{_table('By decision', ('decision', 'films', 'studies', 'studies unread'), rows)}"
        f"{taken_back}<h3>Films of the last {len(report.weeks)} weeks</h3>"
        f"{stacked_weeks(report.weeks)}{legend([(one, WORDS[one]) for one in DECISIONS])}"
        f"{retakes}</section>"
    )


def _agreement(report: FeedbackReport) -> str:
    so_far, week = report.agreement_so_far, report.agreement_week
    if not so_far.studies:
        body = "<p>No radiologist's read has come yet: osteoedge feedback import reads.csv</p>"
    else:
        body = (
            _intervals(report)
            + _bias(report)
            + _cross("So far: studies by decision and reading", so_far)
            + _cross("Of readings that came in the week", week)
            + _differing(so_far)
        )
    return (
        "<section><h2>Against radiologists' reads</h2>"
        '<p class="soft">One reading a study, the newest that says whether there is a tumour, '
        "against what the unit had decided when the reading came.</p>"
        f"{body}{_lists(report)}</section>"
    )


def _intervals(report: FeedbackReport) -> str:
    shown, told = [], []
    for name, agreement in (("so far", report.agreement_so_far), ("week", report.agreement_week)):
        for what, found, blind in (
            ("Sensitivity", agreement.sensitivity, report.coverage.only_flagged),
            ("Specificity", agreement.specificity, False),
        ):
            label = f"{what}, {name}"
            if blind:
                told.append(f"<li>{label}: cannot be told, no study that was not flagged was read")
            elif found.of < report.enough_reads:
                told.append(
                    f"<li>{label}: {found.count} of {found.of}, too few for a share "
                    f"(fewer than {report.enough_reads})"
                )
            else:
                shown.append((label, found))
                told.append(f"<li>{label}: {_share(found)}")
    return (
        (shares(shown) if shown else "")
        + f"<ul>{'</li>'.join(told)}</li></ul>"
        + '<p class="soft">Sensitivity: flagged, of the studies read as tumour. Specificity: not '
        "flagged, of those read as no tumour. Studies that could not be checked are in neither: "
        f"{report.agreement_so_far.tumours_unable} of them read as tumour so far. Intervals: "
        "Wilson, 95 %.</p>"
    )


def _bias(report: FeedbackReport) -> str:
    coverage = report.coverage
    read = ", ".join(
        f"{WORDS[one]} {found.count} of {found.of}"
        for one, found in coverage.read_by_decision.items()
    )
    told = f"<p>Studies read so far: {read}.</p>"
    if coverage.only_flagged:
        return told + (
            '<p class="warn">Only flagged studies were read: tumours that the unit missed are not '
            "seen, and specificity comes out too low. Have a sample of the studies that were not "
            "flagged read as well.</p>"
        )
    if coverage.selective:
        return told + (
            '<p class="warn">Flagged studies are read more often than others (verification bias): '
            "sensitivity comes out too high and specificity too low.</p>"
        )
    return told


def _cross(caption: str, agreement: Agreement) -> str:
    rows = [
        (WORDS[one], *(agreement.table[one][reading] for reading in READINGS)) for one in DECISIONS
    ]
    return _table(caption, ("decision", *(WORDS[reading] for reading in READINGS)), rows)


def _differing(agreement: Agreement) -> str:
    readers = _count(agreement.readers, "reader", "readers")
    if not agreement.studies_with_differing_readers:
        return f'<p class="soft">{readers}.</p>'
    studies = _count(agreement.studies_with_differing_readers, "study", "studies")
    return f"<p>{readers}; on {studies} they differ between tumour and none.</p>"


def _drift(report: FeedbackReport) -> str:
    found = report.drift
    alarms = "".join(
        f'<p class="warn">Since {alarm.since.astimezone():%Y-%m-%d} {escape(alarm.finding)}. '
        f"To do: {escape(alarm.action)}.</p>"
        for alarm in found.alarms
    )
    table = (
        _table(
            f"The newest {BLOCK} studies that were compared",
            ("figure", "reference", "now", "p", ""),
            [
                (
                    say(Phrase(key=f"drift.{one.figure}")),
                    in_words(one.figure, one.then),
                    in_words(one.figure, one.now),
                    f"{one.p:.2g}",
                    "changed" if one.alarm else "",
                )
                for one in found.figures
            ],
        )
        if found.figures
        else ""
    )
    told = alarms or f"<p>Drift: {escape(drift_line(found))}.</p>"
    return (
        f"<section><h2>Do films still look like those of the reference?</h2>{told}{table}</section>"
    )


def _lists(report: FeedbackReport) -> str:
    week = report.agreement_week
    return (
        f"<h3>Misses that came to light in the week: {week.misses + week.tumours_unable}</h3>"
        + _cases(report.misses, "Read as tumour, not flagged", report.names)
        + f"<h3>False alarms that came to light in the week: {week.false_alarms}</h3>"
        + _cases(report.false_alarms, "Flagged, read as no tumour", report.names)
    )


def _rest(report: FeedbackReport) -> str:
    rows = [
        (WORDS[one], *(report.verdicts[one][verdict] for verdict in VERDICTS)) for one in DECISIONS
    ]
    given = sum(sum(row.values()) for row in report.verdicts.values())
    verdicts = (
        _table(
            "Verdicts of the week on the unit's decisions",
            ("decision", *(WORDS[verdict] for verdict in VERDICTS)),
            rows,
        )
        if given
        else "<p>Nobody gave a verdict at the unit in the week.</p>"
    )
    return (
        "<section><h2>At the unit</h2>"
        f"{verdicts}"
        '<p class="soft">They are not counted as reads: whoever gives one has seen what the unit '
        "says.</p></section>"
        "<section><h2>What is not in these figures</h2><ul>"
        f"<li>{_count(report.reads_unlinked, 'read is', 'reads are')} of studies that this unit "
        "does not have, or has not decided on.</li>"
        f"<li>{_count(report.reads_superseded, 'read was', 'reads were')} superseded by a later "
        "one of the same reader; all are kept.</li>"
        "<li>Reads that say neither tumour nor none (a fracture alone, not sure).</li>"
        "</ul></section>"
    )


def _cases(cases: Cases, caption: str, names: bool) -> str:
    shadow = (
        f'<p class="soft">{_count(cases.in_shadow, "study", "studies")} decided in shadow mode '
        f"{'is' if cases.in_shadow == 1 else 'are'} not listed.</p>"
        if cases.in_shadow
        else ""
    )
    if not cases.cases:
        return shadow
    headings = ("accession number", "patient ID", *(("patient",) if names else ()),
                "study date", "days", "unit", "radiologist")  # fmt: skip
    rows = "".join(_case_row(case, names) for case in cases.cases)
    return _frame(caption, headings, rows) + shadow


def _case_row(case: Case, names: bool) -> str:
    name = () if not names else (case.patient_name or "(film deleted)",)
    cells = (
        case.accession_number or "(none)",
        case.patient_id or "(none)",
        *name,
        _date(case.study_date),
        case.age_days,
        WORDS.get(case.decision, case.decision),
        WORDS[case.reading] if case.reading else "not read",
    )
    return _row(cells, urgent=case.decision == "urgent_review" or case.reading is not None)


def _table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return _frame(caption, headings, "".join(_row(row) for row in rows))


def _frame(caption: str, headings: Sequence[str], body: str) -> str:
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    return (
        # Scrolls on narrow screens: by keyboard as well.
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(cells: Sequence[object], *, urgent: bool = False) -> str:
    told = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
    return f'<tr class="urgent">{told}</tr>' if urgent else f"<tr>{told}</tr>"


def _numbers(pairs: Iterable[tuple[str, int]]) -> str:
    told = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{number:,}</dd></div>" for name, number in pairs
    )
    return f'<dl class="numbers">{told}</dl>'


def _share(found: Share) -> str:
    if found.value is None or found.low is None or found.high is None:
        return "0 of 0"
    return f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%}), {found.count} of {found.of}"


def _date(text: str) -> str:
    """Return YYYY-MM-DD of a DICOM date, or what stands there."""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else text


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
