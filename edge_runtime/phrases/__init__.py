"""What osteoedge says to people: fixed phrases, in the languages of the places where it works.

A phrase is a key and values; a catalogue, one TOML file a language, has the words. A table of a
catalogue is a subject, `{name}` in a template stands for a value, and English is the reference for
keys and placeholders alike. `{name:1}` tells a number with so many decimals, `{name:percent}` a
share, `{name:date}` an ISO date, each as the language writes it. A value may be the key of another
phrase, such as a part of the body: it is told with the same values.

`NAME_do` beside a phrase `NAME` says what to do about it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from string import Formatter
from typing import get_args

from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.policy import Language

__all__ = [
    "LANGUAGES",
    "Catalogue",
    "Language",
    "Phrase",
    "Value",
    "catalogue",
    "remedy",
    "say",
    "words",
]

LANGUAGES: tuple[Language, ...] = get_args(Language)
Value = str | int | float

# First strong isolate, and pop directional isolate (UAX 9): between them a value keeps its own
# direction, and the punctuation around it that of the sentence.
FSI, PDI = "\u2068", "\u2069"
# Tables of which the page asks for the words themselves.
_OF_THE_PAGE = ("page.", "notice.", "side.", "body.")
# No probability is told as certainty.
_LEAST, _MOST = 0.001, 0.999


class Phrase(BaseModel):
    """Something to say, in no language yet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(description="subject.name, as the catalogues have it")
    values: dict[str, Value] = Field(
        default_factory=dict, description="by placeholder; a value may be a phrase's key"
    )


@dataclass(frozen=True)
class Catalogue:
    """The phrases of a language.

    Attributes
    ----------
    phrases
        Templates by `subject.name`.
    decimal
        The decimal mark.
    percent
        Template of a share, with `{number}`.
    date
        As of :meth:`datetime.date.strftime`.
    right_to_left
        Whether values are isolated: among Arabic words the parts of a number or of a Latin name
        would change places.
    """

    phrases: Mapping[str, str]
    decimal: str
    percent: str
    date: str
    right_to_left: bool


@cache
def catalogue(language: Language) -> Catalogue:
    """Return the phrases of a language."""
    content = (
        resources.files("edge_runtime.phrases").joinpath(f"{language}.toml").read_text("utf-8")
    )
    tables = tomllib.loads(content)
    return Catalogue(
        **tables.pop("format"),
        phrases={
            f"{subject}.{name}": template
            for subject, table in tables.items()
            for name, template in table.items()
        },
    )


def say(phrase: Phrase, language: Language = "en") -> str:
    """Return a phrase in words.

    Raises
    ------
    KeyError
        No catalogue has the phrase, or a value of it is missing.
    """
    return _render(catalogue(language), phrase.key, phrase.values)


def percent(share: float, language: Language = "en") -> str:
    """Return a share, 0..1, in words that round it neither to none nor to all."""
    return _percent(catalogue(language), share)


def remedy(phrase: Phrase) -> Phrase:
    """Return what to do about that which a phrase says."""
    return Phrase(key=f"{phrase.key}_do", values=phrase.values)


def words(language: Language) -> dict[str, str]:
    """Return what the page says itself.

    Its own labels by name; notices, sides and parts of the body by key; and of the language its
    `language` code and its `direction`, ltr or rtl.
    """
    told = catalogue(language)
    labels = {
        key.removeprefix("page."): template
        for key, template in told.phrases.items()
        if key.startswith(_OF_THE_PAGE)
    }
    direction = "rtl" if told.right_to_left else "ltr"
    return {**labels, "language": language, "direction": direction}


def _render(told: Catalogue, key: str, values: Mapping[str, Value]) -> str:
    said = []
    for literal, name, how, _ in Formatter().parse(told.phrases[key]):
        said.append(literal)
        if name is None:
            continue
        value = values[name]
        if isinstance(value, str) and value in told.phrases:
            # Without itself, so that no phrase goes on for ever.
            others = {other: values[other] for other in values if other != name}
            said.append(_render(told, value, others))
        else:
            words = _in_words(told, value, how or "")
            said.append(f"{FSI}{words}{PDI}" if told.right_to_left else words)
    return "".join(said)


def _in_words(told: Catalogue, value: Value, how: str) -> str:
    if how == "percent":
        return _percent(told, float(value))
    if how == "date":
        return date.fromisoformat(str(value)).strftime(told.date)
    if how:
        return f"{float(value):.{int(how)}f}".replace(".", told.decimal)
    return str(value)


def _percent(told: Catalogue, share: float) -> str:
    bound = "<" if share < _LEAST else ">" if share > _MOST else ""
    number = f"{100 * min(max(share, _LEAST), _MOST):.1f}".replace(".", told.decimal)
    return told.percent.format(number=f"{bound}{number}")
