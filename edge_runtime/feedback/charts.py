"""Charts as inline SVG, each with its figures as text for those who do not see it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edge_runtime.feedback.figures import DECISIONS, WeekFilms
from edge_runtime.feedback.intervals import Share

# Okabe and Ito, "Color Universal Design", 2008; told apart by the colour-blind, and in print.
COLOURS = {
    "urgent_review": "#d55e00",
    "routine_review": "#e69f00",
    "not_flagged": "#56b4e9",
    "unable": "#6e7781",
}
_INK, _LINE = "#1b1f24", "#d0d7de"
_WIDTH = 880
_ROW = 26


def stacked_weeks(weeks: Sequence[WeekFilms]) -> str:
    """Return a column a week, of films by decision, urgent at the bottom."""
    height, top, bottom, left = 220, 18, 24, 44
    most = max((sum(week.films_by_decision.values()) for week in weeks), default=0)
    scale = (height - top - bottom) / max(most, 1)
    step = (_WIDTH - left) / max(len(weeks), 1)
    parts = [_line(left, height - bottom, _WIDTH, height - bottom)]
    for place, week in enumerate(weeks):
        x, y = left + place * step, float(height - bottom)
        for decision in DECISIONS:
            tall = week.films_by_decision[decision] * scale
            y -= tall
            if tall:
                parts.append(
                    f'<rect x="{x + step * 0.15:.1f}" y="{y:.1f}" width="{step * 0.7:.1f}" '
                    f'height="{tall:.1f}" fill="{COLOURS[decision]}"/>'
                )
        total = sum(week.films_by_decision.values())
        middle = x + step / 2
        parts.append(_text(middle, y - 5, f"{total}", "middle"))
        parts.append(_text(middle, height - 7, week.week.partition("-")[2], "middle"))
    told = "; ".join(
        f"{week.week}: "
        + ", ".join(f"{number} {name}" for name, number in week.films_by_decision.items())
        for week in weeks
    )
    return _svg(_WIDTH, height, "Films of each week by decision", told, parts)


def bars(pairs: Sequence[tuple[str, int]]) -> str:
    """Return a bar for each reason with its number."""
    left, right = 330, 60
    most = max((number for _, number in pairs), default=1)
    parts = []
    for place, (name, number) in enumerate(pairs):
        y = place * _ROW
        wide = (_WIDTH - left - right) * number / most
        shown = name if len(name) <= 52 else f"{name[:51]}…"
        parts.append(_text(left - 10, y + 17, shown, "end"))
        parts.append(
            f'<rect x="{left}" y="{y + 4}" width="{wide:.1f}" height="{_ROW - 9}" '
            f'fill="{COLOURS["unable"]}"/>'
        )
        parts.append(_text(left + wide + 8, y + 17, str(number)))
    told = "; ".join(f"{name}: {number}" for name, number in pairs)
    return _svg(_WIDTH, _ROW * len(pairs) + 4, "Films by reason", told, parts)


def shares(pairs: Sequence[tuple[str, Share]]) -> str:
    """Return a dot with its interval for each share, on a scale of 0 to 100 %."""
    left, right, top = 170, 30, 22
    wide = _WIDTH - left - right
    height = top + _ROW * len(pairs) + 6
    parts = []
    for tenth in range(0, 11, 2):
        x = left + wide * tenth / 10
        parts.append(_line(x, top - 4, x, height))
        parts.append(_text(x, 12, f"{tenth * 10} %", "middle"))
    for place, (name, found) in enumerate(pairs):
        if found.value is None or found.low is None or found.high is None:
            continue
        y = top + place * _ROW + 13
        low, value, high = (left + wide * part for part in (found.low, found.value, found.high))
        parts.append(_text(left - 12, y + 4, name, "end"))
        parts.append(
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{_INK}" '
            'stroke-width="3"/>'
        )
        parts.append(f'<circle cx="{value:.1f}" cy="{y}" r="6" fill="#0072b2"/>')
    told = "; ".join(
        f"{name}: {found.count} of {found.of}, {found.low or 0:.0%} to {found.high or 0:.0%}"
        for name, found in pairs
    )
    return _svg(_WIDTH, height, "Shares with 95 % intervals", told, parts)


def legend(names: Sequence[tuple[str, str]]) -> str:
    """Return what the colours mean."""
    return (
        '<ul class="key">'
        + "".join(
            f'<li><svg width="12" height="12" aria-hidden="true"><rect width="12" height="12" '
            f'fill="{COLOURS[key]}"/></svg>{escape(name)}</li>'
            for key, name in names
        )
        + "</ul>"
    )


def _svg(width: int, height: float, title: str, told: str, parts: Sequence[str]) -> str:
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">'
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" width="{width}" '
        f'height="{height:.0f}"><title>{escape(title)}</title><desc>{escape(told)}</desc>'
        + "".join(parts)
        + "</svg></div>"
    )


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{_LINE}"/>'
