"""reads.csv: what radiologists read, a line a study, as a RIS or a spreadsheet exports it.

Columns: `study_instance_uid` or `accession_number` or both; `reading`, in words that the label map
knows, several parted by semicolons; `reader`; `read_at`, ISO 8601, local time where it says no
other; `comment`, optional. Others are not looked at. Lines are named by number in messages: their
content may name a patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from edge_runtime.csv_table import CsvLine, read_csv
from edge_runtime.errors import ConfigError, FeedbackError, OsteoedgeError
from edge_runtime.feedback.reads import Read, Reading
from edge_runtime.label_map import LabelMap, Meaning, split_words

COLUMNS = (
    "study_instance_uid", "accession_number", "reading", "reader", "read_at", "comment",
)  # fmt: skip
# The clocks of two machines differ, and a date alone may be tomorrow's in another time zone.
_AHEAD_S = 86400.0


def read_table(
    path: Path, label_map: LabelMap, now: float
) -> Iterator[tuple[str, Read | OsteoedgeError]]:
    """Yield where each line is, and what it says or why it cannot be taken.

    Parameters
    ----------
    now
        UTC seconds since 1970.

    Raises
    ------
    ConfigError
        The file cannot be read, or a column is missing.
    """
    table = read_csv(path, "reads")
    named = label_map.find_columns(COLUMNS, table.headings, path.name)
    if not {"study_instance_uid", "accession_number"} & named.keys():
        raise ConfigError(
            "no column names the studies",
            "Add study_instance_uid or accession_number, or name the hospital's own under "
            "[columns] in the label map",
            path.name,
        )
    for column in ("reading", "reader", "read_at"):
        if column not in named:
            raise ConfigError(
                f"no column {column}",
                "Add it, or name the hospital's own under [columns] in the label map",
                path.name,
            )
    for line in table.lines:
        where = f"{path.name}, line {line.number}"
        try:
            yield where, _read(line, named, label_map, now, where)
        except OsteoedgeError as error:
            yield where, error


def reading_of(meaning: Meaning) -> Reading:
    """Return what words come to: a fracture alone says nothing of a tumour."""
    match meaning.label:
        case "no_tumour" | "benign" | "malignant":
            return meaning.label
        case _:
            return "not_sure"


def _read(
    line: CsvLine, named: dict[str, str], label_map: LabelMap, now: float, where: str
) -> Read:
    cells = {column: line.cells.get(heading, "") for column, heading in named.items()}
    study, accession = cells.get("study_instance_uid", ""), cells.get("accession_number", "")
    if not study and not accession:
        raise FeedbackError(
            "names no study", "Fill in study_instance_uid or accession_number", where
        )
    for column in ("reading", "reader", "read_at"):
        if not cells[column]:
            raise FeedbackError(f"{column} is blank", "Fill it in", where)
    words = split_words(cells["reading"])
    label_map.require(words, where)
    meaning = label_map.meaning(words, where)
    return Read(
        study_instance_uid=study,
        accession_number=accession,
        verdict=None,
        reading=reading_of(meaning),
        subtype=meaning.subtype,
        other_finding=meaning.other_finding,
        comment=cells.get("comment", ""),
        reader=cells["reader"],
        source="csv",
        read_at=_moment(cells["read_at"], now, where),
    )


def _moment(text: str, now: float, where: str) -> float:
    try:
        moment = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise FeedbackError(
            "read_at is no date", "Write 2026-11-19 or 2026-11-19T14:30", where
        ) from None
    if moment > now + _AHEAD_S:
        raise FeedbackError(
            "read_at lies in the future", "Correct it, or the clock of the unit", where
        )
    return moment
