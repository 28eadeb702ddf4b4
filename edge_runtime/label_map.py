"""A hospital's own words -> `no_tumour`, `benign`, `malignant`, or no label and another finding.

The map is data (TOML). The one that comes with osteoedge holds common English words; a file of
one's own adds to it and, where both know a word, wins. A word that neither knows is an error.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_runtime.bundle import LABELS
from edge_runtime.errors import ConfigError, DatasetError

DEFAULT_MAP = Path(__file__).with_name("label_map.toml")
# Several words in one cell: "osteosarcoma; pathological fracture".
WORD_SEPARATOR = ";"
SHOWN_UNKNOWN_WORDS = 20


@dataclass(frozen=True)
class Meaning:
    """What a word, or all words about one film together, say.

    Attributes
    ----------
    label
        One of `LABELS`, or blank where nothing is said about a tumour.
    subtype, other_finding
        Terms of the map joined by ``;``, or blank.
    """

    label: str = ""
    subtype: str = ""
    other_finding: str = ""


class DatasetWords(BaseModel):
    """The section `[dataset]`: what dataset.toml shall say of a hospital's films."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    source: str = ""
    licence: str = ""
    may_ship_weights: bool = False


class _MapFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    no_tumour: list[str] = Field(default_factory=list)
    unknown: list[str] = Field(default_factory=list)
    benign: dict[str, list[str]] = Field(default_factory=dict)
    malignant: dict[str, list[str]] = Field(default_factory=dict)
    other_finding: dict[str, list[str]] = Field(default_factory=dict)
    columns: dict[str, str] = Field(default_factory=dict)
    dataset: DatasetWords = DatasetWords()

    def meanings(self, name: str) -> dict[str, Meaning]:
        """Return the meaning of each word, or refuse a word that is given two."""
        found: dict[str, Meaning] = {}
        for words, meaning in self._sections():
            for word in words:
                key = normalise(word)
                if not key:
                    raise ConfigError("a word is blank", "Remove it from the label map", name)
                if found.setdefault(key, meaning) != meaning:
                    raise ConfigError(
                        f"the word {word!r} is given two meanings", "Keep one of them", name
                    )
        return found

    def _sections(self) -> Iterable[tuple[Sequence[str], Meaning]]:
        yield self.no_tumour, Meaning("no_tumour")
        yield self.unknown, Meaning()
        for subtype, words in self.benign.items():
            yield words, Meaning("benign", subtype)
        for subtype, words in self.malignant.items():
            yield words, Meaning("malignant", subtype)
        for finding, words in self.other_finding.items():
            yield words, Meaning(other_finding=finding)


@dataclass(frozen=True)
class LabelMap:
    """What words mean, and how a hospital's CSV names its columns.

    Attributes
    ----------
    meanings
        Normalised word -> meaning.
    columns
        osteoedge's name of a CSV column -> the hospital's.
    dataset
        For dataset.toml.
    """

    meanings: Mapping[str, Meaning]
    columns: Mapping[str, str]
    dataset: DatasetWords

    def find_columns(
        self, known: Sequence[str], headings: Collection[str], source: str
    ) -> dict[str, str]:
        """Return osteoedge's name of each column that a table has -> its heading there.

        Raises
        ------
        ConfigError
            `[columns]` names a column that is not known, or a heading that is not there.
        """
        unknown = set(self.columns) - set(known)
        if unknown:
            raise ConfigError(
                f"[columns] knows no {', '.join(sorted(unknown))}",
                f"Use {', '.join(known)}",
                "label map",
            )
        named: dict[str, str] = {}
        for column in known:
            heading = self.columns.get(column, column)
            if heading in headings:
                named[column] = heading
            elif column in self.columns:
                raise ConfigError(
                    f"no column is called {heading!r}, which [columns] names as {column}",
                    "Correct the label map or the heading",
                    source,
                )
        return named

    def require(self, words: Iterable[str], source: str) -> None:
        """Check that every word is known, before anything is written.

        Raises
        ------
        ConfigError
            Lists the unknown words with their counts and says how to add them.
        """
        unknown = Counter(word for word in words if normalise(word) not in self.meanings)
        if not unknown:
            return
        shown = [f"{word!r} ({count})" for word, count in unknown.most_common(SHOWN_UNKNOWN_WORDS)]
        more = len(unknown) - len(shown)
        listed = ", ".join(shown) + (f" and {more} more" if more else "")
        first = next(iter(unknown))
        raise ConfigError(
            f"the label map does not know these words: {listed}",
            "Put each in a TOML file under no_tumour, unknown, [benign], [malignant] or "
            f"[other_finding], for example [other_finding] fracture = [{first!r}], and give the "
            "file with --map",
            source,
        )

    def meaning(self, words: Iterable[str], source: str) -> Meaning:
        """Return what all words about one film say together.

        Raises
        ------
        DatasetError
            They contradict each other: two labels for one film.
        """
        found = [self.meanings[normalise(word)] for word in words]
        labels = {meaning.label for meaning in found} - {""}
        if len(labels) > 1:
            stated = " and ".join(label for label in LABELS if label in labels)
            raise DatasetError(
                f"its words say {stated} at once",
                "Decide for one, or leave the label blank",
                source,
            )
        return Meaning(
            label=next(iter(labels), ""),
            subtype=joined(meaning.subtype for meaning in found),
            other_finding=joined(meaning.other_finding for meaning in found),
        )


def load_label_map(path: Path | None) -> LabelMap:
    """Read the map that comes with osteoedge, and over it a hospital's own.

    Parameters
    ----------
    path
        TOML: the keys `no_tumour` and `unknown` hold lists of words; the tables `[benign]`,
        `[malignant]` (subtype -> words, the subtype may be "") and `[other_finding]` (finding ->
        words); `[columns]` names the CSV's columns; `[dataset]` fills dataset.toml. None for the
        defaults alone.

    Raises
    ------
    ConfigError
        The file cannot be read, has a key that is not known, or gives a word two meanings.
    """
    default = _read(DEFAULT_MAP)
    meanings = default.meanings(DEFAULT_MAP.name)
    if path is None:
        return LabelMap(meanings, default.columns, default.dataset)
    own = _read(path)
    return LabelMap(meanings | own.meanings(path.name), own.columns, own.dataset)


def normalise(word: str) -> str:
    """Return a word as it is compared: case, blanks, hyphens and British spelling do not count."""
    folded = " ".join(re.sub(r"[\s_\-]+", " ", word.casefold()).split())
    return re.sub(r"tumor", "tumour", folded)


def split_words(cell: str) -> list[str]:
    """Return the words of a cell, parted by semicolons."""
    return [word.strip() for word in cell.split(WORD_SEPARATOR) if word.strip()]


def joined(terms: Iterable[str]) -> str:
    """Join distinct terms, in the order of their first mention."""
    return WORD_SEPARATOR.join(dict.fromkeys(term for term in terms if term))


def _read(path: Path) -> _MapFile:
    try:
        return _MapFile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(
            f"the label map cannot be read ({error.strerror})", "Check the path", str(path)
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid TOML ({error})", "Correct the map", path.name) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{key}: {first['msg']}",
            "Known keys: no_tumour, unknown, [benign], [malignant], [other_finding], [columns], "
            "[dataset] (name, source, licence, may_ship_weights)",
            path.name,
        ) from None
