"""A table that somebody wrote by hand or exported: UTF-8; comma, semicolon or tab."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import ConfigError


@dataclass(frozen=True)
class CsvLine:
    """One line that holds something.

    Attributes
    ----------
    number
        In the file, the heading being line 1; of a line with breaks in its cells, the last.
    cells
        By heading, without blanks around; empty ones are left out.
    """

    number: int
    cells: dict[str, str]


@dataclass(frozen=True)
class CsvTable:
    """Headings, without blanks around, and lines."""

    headings: tuple[str, ...]
    lines: tuple[CsvLine, ...]


def read_csv(path: Path, what: str) -> CsvTable:
    """Read a table.

    Parameters
    ----------
    what
        What it holds, in the plural, for errors.

    Raises
    ------
    ConfigError
        It cannot be read, or is not UTF-8, or no CSV.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"the {what} cannot be read ({error.strerror})", "Check the path", str(path)
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"the {what} are not UTF-8", "Save as CSV UTF-8", path.name) from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    # Multi-line cells would shift line numbers; csv counts them right.
    table = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    lines = []
    try:
        headings = [heading.strip() for heading in next(table, [])]
        for values in table:
            cells = {
                heading: value.strip()
                for heading, value in zip(headings, values, strict=False)
                if value.strip()
            }
            if cells:
                lines.append(CsvLine(table.line_num, cells))
    except csv.Error as error:
        raise ConfigError(
            f"line {table.line_num} is no CSV ({error})", "Save it as CSV anew", path.name
        ) from None
    return CsvTable(tuple(headings), tuple(lines))
