"""What the importers of public data share: reading PNG and JPEG films, tables of flags."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from edge_runtime.errors import (
    CorruptRadiographError,
    DatasetError,
    OsteoedgeError,
    RadiographError,
)
from edge_runtime.radiograph import read_radiograph


@dataclass(frozen=True)
class Picture:
    """A PNG or JPEG film as it lies on the disk.

    Attributes
    ----------
    data
        The file's bytes: they are copied, not coded again.
    shape
        (rows, columns).
    """

    data: bytes
    sha256: str
    shape: tuple[int, int]


def read_picture(path: Path) -> Picture:
    """Read a picture as the device would.

    Raises
    ------
    RadiographError
        Absent, damaged, coloured, or of an implausible size.
    """
    film = read_radiograph(path)
    rows, columns = film.display.shape[:2]
    return Picture(path.read_bytes(), film.sha256, (rows, columns))


def read_bytes(path: Path, name: str) -> bytes:
    """Return the bytes of a file.

    Parameters
    ----------
    name
        How the user knows it.

    Raises
    ------
    CorruptRadiographError
        It is absent or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorruptRadiographError(
            f"cannot be read ({error.strerror})", "Check the path and the permissions", name
        ) from None


def bytes_if_there(path: Path) -> bytes:
    """Return the bytes of a file that may be absent: then none."""
    return read_bytes(path, path.name) if path.is_file() else b""


def content_key(*parts: bytes) -> str:
    """Return the name of a source and its content, for the journal."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def require_columns(table: pd.DataFrame, wanted: Sequence[str], source: str) -> None:
    """Check that a table has the columns of the publication.

    Raises
    ------
    DatasetError
        Some are missing: another version, or another dataset.
    """
    missing = [column for column in wanted if column not in table.columns]
    if missing:
        raise DatasetError(
            f"column missing: {', '.join(missing)}",
            "Use the table as it was published",
            source,
        )


def flags(row: pd.Series, columns: Sequence[str], source: str) -> list[str]:
    """Return the columns that are 1 in a row of zeros and ones.

    Raises
    ------
    DatasetError
        A cell is neither 0 nor 1.
    """
    for column in columns:
        if row[column] not in (0, 1):
            raise DatasetError(
                f"{column} is {row[column]!r}, not 0 or 1", "Correct the table", source
            )
    return [column for column in columns if row[column] == 1]


def number_text(value: object) -> str:
    """Return a number as the table states it, or blank where a cell is empty."""
    number = pd.to_numeric(str(value), errors="coerce")
    return "" if math.isnan(number) else f"{number:g}"


@contextmanager
def contained(failures: list[OsteoedgeError]) -> Iterator[None]:
    """Note the error of one film, so that the next film goes on."""
    try:
        yield
    except (RadiographError, DatasetError) as error:
        failures.append(error)


def rows_of(table: pd.DataFrame) -> Iterator[pd.Series]:
    """Yield the rows of a table."""
    for _, row in table.iterrows():
        yield row
