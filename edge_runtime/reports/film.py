"""The results of one film as DICOM files, for `osteoedge screen`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypedDict

from pydicom.dataset import Dataset

from edge_runtime.policy import Language
from edge_runtime.preprocess import InputSpec
from edge_runtime.radiograph import Radiograph
from edge_runtime.reports.capture import secondary_capture
from edge_runtime.reports.segmentation import lesion_segmentation
from edge_runtime.reports.structured import study_report
from edge_runtime.reports.study import ReportedFilm, StudySummary
from edge_runtime.reports.uids import ResultKind, WorkIdentity, result_uid, series_uid
from edge_runtime.screener import Screening
from edge_runtime.summary import study_summary


class _Instance(TypedDict):
    uid: str
    series_uid: str
    number: int
    made_at: datetime


def film_objects(
    header: Dataset,
    radiograph: Radiograph | None,
    screening: Screening,
    spec: InputSpec,
    formats: Sequence[str],
    language: Language = "en",
) -> Iterator[tuple[str, bytes]]:
    """Yield the ending of each file's name, and the file.

    The report is that of a study of this one film.

    Parameters
    ----------
    header
        Of :func:`edge_runtime.radiograph.read_header`.
    radiograph
        None where the film could not be read: it has a report alone.
    formats
        Of `sr`, `sc` and `seg`.
    language
        Of the summary in the report.

    Raises
    ------
    ResultError
        A DICOM object cannot refer to the film.
    """
    site = None if screening.bundle.site is None else screening.bundle.site.sha256
    work = WorkIdentity(
        screening.source.sha256, screening.bundle.sha256, site, screening.software, 1
    )
    study = screening.source.study_instance_uid or ""
    made_at = datetime.now().astimezone()

    def named(kind: ResultKind, revision: int | None = None) -> _Instance:
        return _Instance(
            uid=result_uid(kind, work, study_revision=revision),
            series_uid=series_uid(kind, study, work),
            number=1,
            made_at=made_at,
        )

    if "sr" in formats:
        study_of_one = StudySummary(
            screening.decision,
            screening.reasons,
            revision=1,
            films=1,
            summary=study_summary(screening.decision, [screening]),
        )
        report = study_report(
            [ReportedFilm(header, screening)], study_of_one, language=language, **named("sr", 1)
        )
        yield ".sr.dcm", file_bytes(report)
    if "sc" in formats and radiograph is not None:
        capture = secondary_capture(header, radiograph, screening, spec, **named("sc"))
        yield ".sc.dcm", file_bytes(capture)
    if "seg" in formats:
        marked = lesion_segmentation(header, screening, spec, **named("seg"))
        if marked is not None:
            yield ".seg.dcm", file_bytes(marked)


def file_bytes(result: Dataset) -> bytes:
    """Return a result as a DICOM file."""
    buffer = io.BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
