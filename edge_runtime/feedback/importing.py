"""`osteoedge feedback import`: a table or reports of radiologists into the spool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.errors import ConfigError, FeedbackError, NotARadiographError, OsteoedgeError
from edge_runtime.feedback.headers import keep_missing_headers
from edge_runtime.feedback.reads import Entered, Read, enter_read, link_reads
from edge_runtime.feedback.structured import read_report
from edge_runtime.feedback.table import read_table
from edge_runtime.label_map import LabelMap, load_label_map
from edge_runtime.spool import Spool

# PS3.10 7.1: after 128 bytes of anything.
_DICOM = slice(128, 132)
_MAX_REPORT_BYTES = 16 << 20
# How many reads are entered before the lock is let go.
_AT_ONCE = 200


@dataclass
class Imported:
    """What came of an import.

    Attributes
    ----------
    entered
        How many reads were new and linked to a study, new and unlinked, or known before.
    failures
        One for each line or file that was left out.
    linked_before
        Reads of earlier imports whose study has come since.
    """

    entered: Counter[Entered] = field(default_factory=Counter)
    failures: list[OsteoedgeError] = field(default_factory=list)
    linked_before: int = 0


def import_reads(spool: Spool, path: Path, map_file: Path | None = None) -> Imported:
    """Enter what a file or a folder of reports says, and link what can be.

    Parameters
    ----------
    path
        A CSV (:mod:`.table`), a DICOM SR (:mod:`.structured`) or a folder of those.
    map_file
        A label map of the hospital's own, over the one that comes with osteoedge.

    Raises
    ------
    ConfigError
        The file, its columns or the label map cannot be used. Nothing was entered.
    """
    label_map = load_label_map(map_file)
    keep_missing_headers(spool)
    result = Imported(linked_before=link_reads(spool))
    # All are parsed before the writers' lock is taken, and it is let go in between: intake is not
    # to wait for a hospital's whole list. After a kill, the same import again enters the rest.
    said = list(_said(path, label_map, spool.now()))
    for first in range(0, len(said), _AT_ONCE):
        _enter(spool, said[first : first + _AT_ONCE], result)
    return result


def _enter(
    spool: Spool, said: Sequence[tuple[str, Read | OsteoedgeError]], result: Imported
) -> None:
    with spool.transaction() as execute:
        for where, read in said:
            if isinstance(read, OsteoedgeError):
                result.failures.append(read)
                continue
            try:
                result.entered[enter_read(spool, execute, read)] += 1
            except FeedbackError as error:
                result.failures.append(type(error)(error.what, error.remedy, where))


def _said(
    path: Path, label_map: LabelMap, now: float
) -> Iterator[tuple[str, Read | OsteoedgeError]]:
    if path.is_dir():
        files = sorted(
            file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")
        )
        return _reports(files, label_map)
    try:
        with path.open("rb") as file:
            is_dicom = file.read(_DICOM.stop)[_DICOM] == b"DICM"
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})", "Check the path", str(path)
        ) from None
    return _reports([path], label_map) if is_dicom else read_table(path, label_map, now)


def _reports(
    files: Iterable[Path], label_map: LabelMap
) -> Iterator[tuple[str, Read | OsteoedgeError]]:
    for file in files:
        try:
            if file.stat().st_size > _MAX_REPORT_BYTES:
                raise NotARadiographError(
                    "larger than any report", "Leave it out: reports only", file.name
                )
            yield file.name, read_report(file.read_bytes(), file.name, label_map)
        except OsteoedgeError as error:
            yield file.name, error
        except OSError as error:
            yield (
                file.name,
                FeedbackError(
                    f"cannot be read ({error.strerror})", "Check the permissions", file.name
                ),
            )
