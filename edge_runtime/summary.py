"""The preliminary summary: what was checked, where, how sure, and what to do.

It is assembled of fixed phrases alone, once, from what the screening says; JSON, report, terminal
and page tell the same phrases, each in its language.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from edge_runtime.bundle import OperatingPoint
from edge_runtime.decision import Decision
from edge_runtime.phrases import LANGUAGES, Phrase, Value, remedy, say
from edge_runtime.screening import Film, Lesion, Screening, Summary

_FLAGGED = ("urgent_review", "routine_review")
# More areas than these are counted, not described.
_DESCRIBED = 3


def in_words(phrases: tuple[Phrase, ...]) -> Summary:
    """Return phrases with their words in every language."""
    return Summary(
        phrases=phrases,
        text={language: tuple(say(one, language) for one in phrases) for language in LANGUAGES},
    )


def film_summary(screening: Screening) -> tuple[Phrase, ...]:
    """Return the preliminary summary of one film.

    In triage there is neither a probability nor a place in it. Nor is there one where the decision
    is `unable`: a low probability would sound like an all-clear.
    """
    said = [*_opening([screening]), _sentence(f"decision.{screening.decision}")]
    if screening.intended_use == "localise" and screening.decision != "unable":
        said += _part(screening.film)
        said += _probabilities([screening], screening.operating_points)
        said += _conformal(screening)
        said += _marked(screening)
    said += [*_cautions([screening]), *_faults(screening)]
    if not faults(screening):
        said.append(_to_do(screening.decision))
    return (*said, *_closing())


def study_summary(decision: Decision, films: Sequence[Screening]) -> tuple[Phrase, ...]:
    """Return the preliminary summary of a study.

    Parameters
    ----------
    decision
        On the study.
    films
        The screenings of its films, one or more.
    """
    unable = [film for film in films if film.decision == "unable"]
    said = [*_opening(films), _phrase("films", films=len(films)), _sentence(f"decision.{decision}")]
    if unable:
        said.append(_phrase("films_unable", unable=len(unable), films=len(films)))
        said += chain.from_iterable(_faults(film) for film in unable)
    if decision != "unable" and all(film.intended_use == "localise" for film in films):
        # Without a rule of studies the most urgent film decides, by the rule of films.
        rules = {film.study_operating_points or film.operating_points for film in films}
        if len(rules) == 1:  # Films that two bundles screened have no rule in common.
            said += _probabilities(films, rules.pop())
        scored = [film for film in films if film.tumour_probability is not None]
        if scored:
            said += _conformal(max(scored, key=lambda film: film.tumour_probability or 0.0))
        if decision in _FLAGGED:
            said += chain.from_iterable((*_part(film.film), *_marked(film)) for film in films)
    return (*_once([*said, *_cautions(films), _to_do(decision)]), *_closing())


def faults(screening: Screening) -> tuple[Phrase, ...]:
    """Return why a film could not be screened; each fault has a remedy."""
    quality = (finding.phrase for finding in screening.quality if finding.refuses)
    return tuple(phrase for phrase in (screening.refusal, *quality) if phrase is not None)


def actions(decision: Decision, films: Sequence[Screening]) -> tuple[Phrase, ...]:
    """Return what is to be done about a film, or about a study of several."""
    if decision == "unable":
        remedies = _once(remedy(fault) for film in films for fault in faults(film))
        if remedies:
            return tuple(remedies)
    return (Phrase(key=f"action.{decision}"),)


def to_do(decision: Decision, films: Sequence[Screening]) -> tuple[Phrase, ...]:
    """Return what is to be done about a film, or the films of a study, in one line.

    Where it is `unable`, why is told as well, of each film that could not be checked.
    """
    reasons = chain.from_iterable(_faults(film) for film in films if decision == "unable")
    return tuple(_once(reasons)) or (Phrase(key=f"action.{decision}"),)


def _phrase(name: str, /, **values: Value) -> Phrase:
    return Phrase(key=f"summary.{name}", values=values)


def _sentence(key: str) -> Phrase:
    return _phrase("sentence", sentence=key)


def _opening(films: Sequence[Screening]) -> Iterator[Phrase]:
    yield _phrase("preliminary")
    if any(film.synthetic for film in films):
        yield _sentence("notice.synthetic")


def _closing() -> Iterator[Phrase]:
    yield _sentence("notice.research")
    yield _sentence("notice.standing")


def _part(film: Film | None) -> Iterator[Phrase]:
    if film is None or film.body_part is None:
        return
    part = f"body.{film.body_part}"
    if film.side is None:
        yield _phrase("part", part=part)
    else:
        yield _phrase("part_side", part=part, side=f"side.{film.side}")


def _probabilities(
    films: Sequence[Screening], points: Sequence[OperatingPoint]
) -> Iterator[Phrase]:
    """Tell what the points cut: of several films the highest, as the rule of studies has it."""
    told = [
        {"tumour": film.tumour_probability, "malignant": film.probabilities["malignant"]}
        for film in films
        if film.probabilities is not None and film.tumour_probability is not None
    ]
    for point in points if told else ():
        highest = max(scores[point.score] for scores in told)
        yield _phrase(point.score, probability=highest, threshold=point.threshold)


def _conformal(screening: Screening) -> Iterator[Phrase]:
    if screening.prediction_set is not None:
        yield _phrase("_".join(("set", *(screening.prediction_set or ("empty",)))))


def _marked(screening: Screening) -> Iterator[Phrase]:
    if screening.decision not in _FLAGGED:
        return
    described: tuple[Lesion, ...] = ()
    if screening.film is not None:
        described = screening.lesions[:_DESCRIBED]
        for lesion in described:
            yield _place(lesion, screening.film)
    if more := len(screening.lesions) - len(described):
        yield _phrase("more_marked", count=more)
    if not screening.lesions:
        yield _phrase("unmarked")


def _place(lesion: Lesion, film: Film) -> Phrase:
    """Say in which of nine fields the middle of an area lies, and its size where that is known."""
    x0, y0, x1, y1 = lesion.box
    row, column = (
        min(max(int(3 * middle / side), 0), 2)
        for middle, side in (((y0 + y1) / 2, film.rows), ((x0 + x1) / 2, film.columns))
    )
    name = f"{('upper', 'middle', 'lower')[row]}_{('left', 'middle', 'right')[column]}"
    if lesion.box_mm is None:
        return _phrase("marked", place=f"place.{name}")
    left, top, right, bottom = lesion.box_mm
    return _phrase("marked_size", place=f"place.{name}", width=right - left, height=bottom - top)


def _cautions(films: Sequence[Screening]) -> Iterator[Phrase]:
    if any(film.out_of_distribution.status == "unfamiliar" for film in films):
        yield _phrase("unfamiliar")
    if any(film.degraded for film in films):
        yield _phrase("degraded")


def _faults(screening: Screening) -> Iterator[Phrase]:
    for fault in faults(screening):
        yield _phrase("because", finding=fault.key, **fault.values)
        yield _phrase("do", action=remedy(fault).key, **fault.values)


def _to_do(decision: Decision) -> Phrase:
    return _phrase("do", action=f"action.{decision}")


def _once(phrases: Iterable[Phrase]) -> list[Phrase]:
    """Leave out what was said already: two views of a knee show one knee."""
    said: list[Phrase] = []
    for phrase in phrases:
        if phrase not in said:
            said.append(phrase)
    return said
