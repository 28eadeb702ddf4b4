"""The CSV that says what each film shows, and which film each of its lines is about.

A line names its film by one or more of `sop_instance_uid`, `accession_number`, `file` and
`patient_id`; all that are filled in must hold. `accession_number` speaks of every film of that
order, and `patient_id` of every film of the patient, where they show the same part of the body: of
films of both knees, or of two studies, nobody can tell which one a line means. Lines are named by
number in messages: their content may name a patient.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.csv_table import read_csv
from edge_runtime.errors import ConfigError, DatasetError
from edge_runtime.label_map import LabelMap, split_words

FILM_COLUMNS = ("sop_instance_uid", "accession_number", "file", "patient_id")
WORD_COLUMNS = ("label", "subtype", "other_finding")
FACT_COLUMNS = ("centre", "region", "anatomy", "view", "laterality", "reference_standard", "mask")
COLUMNS = (*FILM_COLUMNS, *WORD_COLUMNS, *FACT_COLUMNS)


@dataclass(frozen=True)
class LabelRow:
    """One line of the CSV.

    Attributes
    ----------
    line
        Its number in the file, the heading being line 1.
    film
        Filled columns of `FILM_COLUMNS`.
    words
        From the columns `label`, `subtype` and `other_finding`.
    facts
        Filled columns of `FACT_COLUMNS`.
    """

    line: int
    film: Mapping[str, str]
    words: tuple[str, ...]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class LabelTable:
    """The lines that hold something, and the headings of columns that nothing was taken from."""

    rows: list[LabelRow]
    unused: list[str]


@dataclass(frozen=True)
class FoundFilm:
    """What a line can be matched against.

    Attributes
    ----------
    path
        Of the file.
    file
        Its path under the source folder, with forward slashes.
    sop_instance_uid, study_instance_uid, accession_number, patient_id
        From its header, stripped; blank where missing.
    part
        Body part and side, as the header has them.
    """

    path: Path
    file: str
    sop_instance_uid: str
    study_instance_uid: str
    accession_number: str
    patient_id: str
    part: str = ""


@dataclass
class Matched:
    """Which line each film got, and which lines got none."""

    films: dict[Path, LabelRow] = field(default_factory=dict)
    failures: list[DatasetError] = field(default_factory=list)


def read_label_rows(path: Path, label_map: LabelMap) -> LabelTable:
    """Read the CSV: UTF-8; comma, semicolon or tab between the columns.

    Raises
    ------
    ConfigError
        It cannot be read, has no column that names films or none that labels them, or holds a
        centre that is no number.
    """
    table = read_csv(path, "labels")
    named = _columns(table.headings, label_map, path.name)
    rows = []
    for line in table.lines:
        filled = {
            column: line.cells[heading]
            for column, heading in named.items()
            if heading in line.cells
        }
        if filled:
            rows.append(_row(filled, line.number, path.name))
    if not rows:
        raise ConfigError("no line holds anything", "Fill in the labels", path.name)
    return LabelTable(rows, sorted({*table.headings} - {*named.values(), ""}))


def match(rows: Sequence[LabelRow], films: Sequence[FoundFilm], source: str) -> Matched:
    """Find the films that each line is about.

    Parameters
    ----------
    source
        The CSV, for messages.

    Returns
    -------
    Matched
        Lines that fit no film, that cannot tell between films, or that contradict another line
        about the same film are failures; their films are not matched.
    """
    index = _index(films)
    studies: dict[str, set[str]] = defaultdict(set)
    owners: dict[str, set[str]] = defaultdict(set)
    for film in films:
        studies[film.patient_id].add(film.study_instance_uid)
        owners[film.accession_number].add(film.patient_id)
    matched = Matched()
    claims: dict[Path, list[LabelRow]] = defaultdict(list)
    for row in rows:
        found = _films_of(row, index)
        problem = _problem(row, found, studies, owners)
        if problem:
            matched.failures.append(_failure(row, *problem, source))
            continue
        for film in found:
            claims[film.path].append(row)
    for path, claimants in claims.items():
        first = claimants[0]
        others = [row for row in claimants if (row.words, row.facts) != (first.words, first.facts)]
        if others:
            lines = ", ".join(str(row.line) for row in claimants)
            matched.failures.append(
                DatasetError(
                    f"lines {lines} say different things about the same film",
                    "Keep one of them",
                    source,
                )
            )
        else:
            matched.films[path] = first
    return matched


def _columns(headings: Collection[str], label_map: LabelMap, source: str) -> dict[str, str]:
    """Return osteoedge's name of a column -> the heading in this file."""
    named = label_map.find_columns(COLUMNS, headings, source)
    for wanted, purpose in ((FILM_COLUMNS, "names the films"), (("label",), "labels them")):
        if not set(wanted) & set(named):
            raise ConfigError(
                f"no column {purpose}",
                f"Add {' or '.join(wanted)}, or name the hospital's own under [columns] in the "
                "label map",
                source,
            )
    return named


def _row(filled: Mapping[str, str], line: int, source: str) -> LabelRow:
    centre = filled.get("centre", "1")
    if not centre.isdecimal():
        raise ConfigError(
            f"the centre in line {line} is no number",
            "Number the hospitals: a name would identify them",
            source,
        )
    return LabelRow(
        line=line,
        film={column: filled[column] for column in FILM_COLUMNS if column in filled},
        words=tuple(
            word for column in WORD_COLUMNS for word in split_words(filled.get(column, ""))
        ),
        facts={column: filled[column] for column in FACT_COLUMNS if column in filled},
    )


def _index(films: Sequence[FoundFilm]) -> dict[tuple[str, str], list[FoundFilm]]:
    index: dict[tuple[str, str], list[FoundFilm]] = defaultdict(list)
    for film in films:
        for column in ("sop_instance_uid", "accession_number", "patient_id", "file"):
            index[column, getattr(film, column)].append(film)
        name = film.path.name
        if name != film.file:
            index["file", name].append(film)
    return index


def _films_of(
    row: LabelRow, index: Mapping[tuple[str, str], Sequence[FoundFilm]]
) -> list[FoundFilm]:
    found: list[FoundFilm] | None = None
    for column, value in row.film.items():
        named = index.get((column, value), ())
        found = list(named) if found is None else [film for film in found if film in named]
    return found or []


def _problem(
    row: LabelRow,
    found: Sequence[FoundFilm],
    studies: Mapping[str, set[str]],
    owners: Mapping[str, set[str]],
) -> tuple[str, str] | None:
    """Return what keeps a line from being used, and the remedy."""
    if not row.film:
        return "it names no film", f"Fill in {' or '.join(FILM_COLUMNS)}"
    given = " and ".join(row.film)
    if not found:
        return f"no film has its {given}", "Correct the line, or add the film to the source folder"
    if len(found) > 1:
        if "sop_instance_uid" in row.film or "file" in row.film:
            return (
                f"{len(found)} films fit its {given}",
                "Give the path under the source folder as file",
            )
        if "accession_number" in row.film:
            if len(owners[row.film["accession_number"]]) > 1 and "patient_id" not in row.film:
                return "its accession_number belongs to several patients", "Add patient_id"
        elif len(studies[row.film["patient_id"]]) > 1:
            return (
                "its patient has several studies",
                "Add accession_number, file or sop_instance_uid",
            )
        if len({film.part for film in found}) > 1:
            return (
                f"its {given} names films of several parts of the body",
                "Give each film a line of its own: file or sop_instance_uid",
            )
    return None


def _failure(row: LabelRow, what: str, remedy: str, source: str) -> DatasetError:
    return DatasetError(f"line {row.line}: {what}", remedy, source)
