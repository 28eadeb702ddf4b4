"""What the headers of stored films say of patient and view, remembered for those asked for last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from edge_runtime.dicom_file import parse_header
from edge_runtime.dicom_header import body_part, integer, person, text
from edge_runtime.errors import RadiographError

_TAGS = [
    Tag(keyword)
    for keyword in (
        "SpecificCharacterSet", "PatientName", "PatientID", "AccessionNumber", "BodyPartExamined",
        "AnatomicRegionSequence", "ViewPosition", "ImageLaterality", "Laterality", "Rows",
        "Columns",
    )
]  # fmt: skip
# Of a month of films; each takes some hundred bytes.
_MOST = 5000


@dataclass(frozen=True)
class FilmHeader:
    """What a header says; None for what it does not."""

    patient_name: str | None = None
    patient_id: str | None = None
    accession_number: str | None = None
    body_part: str | None = None
    view: str | None = None
    laterality: str | None = None
    rows: int | None = None
    columns: int | None = None


class FilmHeaders:
    """Reads headers once. For several threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, FilmHeader] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, film_id: int, path: Path) -> FilmHeader:
        """Return what a film's header says; nothing where its file is gone.

        Parameters
        ----------
        film_id
            Its row in the spool: another content is another film.
        """
        with self._lock:
            if (known := self._known.get(film_id)) is not None:
                self._known.move_to_end(film_id)
                return known
        try:
            header, _ = parse_header(path, _TAGS, path.name)
        except (OSError, RadiographError):
            return FilmHeader()
        found = _facts(header)
        with self._lock:
            self._known[film_id] = found
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return found


def _facts(header: Dataset) -> FilmHeader:
    return FilmHeader(
        patient_name=person(header, "PatientName"),
        patient_id=text(header, "PatientID"),
        accession_number=text(header, "AccessionNumber"),
        body_part=body_part(header),
        view=text(header, "ViewPosition"),
        laterality=text(header, "ImageLaterality") or text(header, "Laterality"),
        rows=integer(header, "Rows"),
        columns=integer(header, "Columns"),
    )
