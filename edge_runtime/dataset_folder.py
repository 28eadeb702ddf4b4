"""The folder that an importer fills: pictures, masks, table, card; killed at any time, it goes on.

Every finished film is one line in a journal, written after its picture and mask are on the disk.
The table and the card come last, from all of them. What is said twice comes out once: the same
source gives the same bytes, so a film that was half done is simply done again.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.errors import ConfigError, OsteoedgeError
from edge_runtime.files import write_atomically

# "Data on disk" in the design: the order of the columns in radiographs.csv.
COLUMNS = (
    "image_id", "patient_id", "centre", "label", "study_id", "acquired_on", "path", "subtype",
    "other_finding", "age", "sex", "region", "anatomy", "view", "laterality", "manufacturer",
    "model", "reference_standard", "mask_fraction",
)  # fmt: skip
JOURNAL = ".import.jsonl"
_FORMAT = 1

Row = dict[str, str]
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DatasetCard:
    """What dataset.toml says: it travels into every run and bundle."""

    name: str
    source: str
    licence: str
    may_ship_weights: bool
    synthetic: bool


@dataclass(frozen=True)
class StoredFilm:
    """A film whose files are on the disk.

    Attributes
    ----------
    key
        Names its source and content; the same source and content, the same key.
    path, mask
        Of the picture and the mask, relative to the folder; mask is blank where there is none.
    facts
        What the importer wants to know again: text, numbers, lists and mappings of them.
    """

    key: str
    path: str
    mask: str
    size: int
    facts: Mapping[str, Any]


@dataclass
class ImportResult:
    """What came of an import.

    Attributes
    ----------
    films
        Rows in radiographs.csv.
    failures
        One for each input that was left out.
    notes
        Sentences for the reader: what was skipped on purpose, what to look at.
    """

    films: int = 0
    failures: list[OsteoedgeError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class DatasetFolder:
    """A dataset folder in the making.

    Parameters
    ----------
    root
        New, empty, or one that the same importer began.
    importer
        Name of the importer.
    identity
        Of the secret or the settings under which films were written: another one cannot go on.

    Raises
    ------
    ConfigError
        The folder holds something else, was begun with another identity, or another process is at
        work in it.
    """

    def __init__(self, root: Path, importer: str, identity: str = "") -> None:
        self.root = root
        self._head = {"format": _FORMAT, "importer": importer, "identity": identity}
        journal = root / JOURNAL
        if root.exists() and not journal.exists() and (root.is_file() or any(root.iterdir())):
            raise ConfigError(
                "the output is not empty and holds no unfinished import",
                "Name a new folder",
                str(root),
            )
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self._journal = journal.open("a+b")
        self._films: dict[str, StoredFilm] = {}
        self._key_at: dict[str, str] = {}
        self._take_up()

    def __enter__(self) -> DatasetFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._journal.close()

    def stored(self, key: str) -> StoredFilm | None:
        """Return a film that an earlier run finished, or None where it must be done (again)."""
        film = self._films.get(key)
        if film is None:
            return None
        picture = self.root / film.path
        complete = picture.is_file() and picture.stat().st_size == film.size
        if not complete or (film.mask and not (self.root / film.mask).is_file()):
            return None
        return film

    def store(
        self,
        key: str,
        image_id: str,
        picture: bytes,
        suffix: str,
        *,
        mask: Mask | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> StoredFilm:
        """Write a picture and its mask, and remember that they are there.

        Parameters
        ----------
        picture
            The bytes of a DICOM, PNG or JPEG file; ``suffix`` goes with them.
        mask
            (rows, columns) of the picture, uint8, 0 or 255; None where it is unknown or empty by
            the label.

        Raises
        ------
        ConfigError
            The disk is full, or refuses.
        """
        path = f"images/{image_id}{suffix}"
        mask_path = "" if mask is None else f"masks/{image_id}.png"
        film = StoredFilm(key, path, mask_path, len(picture), dict(facts or {}))
        try:
            write_atomically(self.root / path, picture)
            if mask is not None:
                write_atomically(self.root / mask_path, cv2.imencode(".png", mask)[1].tobytes())
            else:
                # An earlier import of this film may have had one.
                (self.root / f"masks/{image_id}.png").unlink(missing_ok=True)
            self._append(asdict(film))
        except OSError as error:
            raise ConfigError(
                f"cannot be written ({error.strerror})",
                "Make room, then give the same command again",
                str(self.root),
            ) from None
        self._remember(film)
        return film

    def finish(self, rows: Iterable[Mapping[str, str]], card: DatasetCard) -> int:
        """Write radiographs.csv and dataset.toml, and remove what no row names any more.

        Returns
        -------
        int
            The number of rows. Without one there is no dataset, and nothing is written or removed.
        """
        listed = sorted(rows, key=lambda row: row["image_id"])
        if not listed:
            return 0
        named = {row["path"] for row in listed}
        kept = {film.mask for film in self._films.values() if film.path in named} | named
        for film in self._films.values():
            for name in {film.path, film.mask} - kept - {""}:
                (self.root / name).unlink(missing_ok=True)
        table = io.StringIO()
        columns = csv.DictWriter(table, COLUMNS, restval="", lineterminator="\n")
        columns.writeheader()
        columns.writerows(listed)
        write_atomically(self.root / "radiographs.csv", table.getvalue().encode())
        # A JSON string is a TOML basic string.
        lines = [
            f"{key} = {json.dumps(value)}"
            for key, value in (
                ("name", card.name),
                ("source", card.source),
                ("licence", card.licence),
                ("may_ship_weights", card.may_ship_weights),
                ("synthetic", card.synthetic),
            )
        ]
        write_atomically(self.root / "dataset.toml", ("\n".join(lines) + "\n").encode())
        return len(listed)

    def _take_up(self) -> None:
        """Read the journal up to the first line that a kill cut short, and go on from there."""
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._journal.close()
            raise ConfigError(
                "another process imports into this folder", "Wait for it", str(self.root)
            ) from None
        self._journal.seek(0)
        good, head = 0, None
        for line in self._journal:
            entry = None
            with suppress(ValueError):
                entry = json.loads(line)
            if entry is None or not line.endswith(b"\n"):
                break
            good += len(line)
            if head is None:
                head = entry
            else:
                self._remember(StoredFilm(**entry))
        if head is not None and head != self._head:
            self._journal.close()
            raise ConfigError(
                "the folder was begun by another importer or with another key or version",
                "Give the same key, or name a new folder",
                str(self.root),
            )
        self._journal.truncate(good)
        if head is None:
            self._append(self._head)
        for folder in ("images", "masks"):
            for part in (self.root / folder).glob(".*.part"):
                part.unlink()

    def _remember(self, film: StoredFilm) -> None:
        """Take a film up; what was at its path before is no longer there."""
        replaced = self._key_at.get(film.path)
        if replaced is not None:
            self._films.pop(replaced, None)
        self._films[film.key], self._key_at[film.path] = film, film.key

    def _append(self, entry: Mapping[str, Any]) -> None:
        self._journal.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())


def mask_fraction(mask: Mask) -> str:
    """Return the share of a mask that is lesion, as the table states it."""
    # Significant digits: a lesion of a few pixels must not be rounded to nothing.
    return f"{np.count_nonzero(mask) / mask.size:.4g}"
