"""The results of one film as DICOM objects and files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

from pydicom.dataset import Dataset

from edge_runtime.dicom_header import text
from edge_runtime.policy import Language
from edge_runtime.preprocess import InputSpec
from edge_runtime.radiograph import Radiograph
from edge_runtime.reports.capture import secondary_capture
from edge_runtime.reports.instance import Instance
from edge_runtime.reports.segmentation import lesion_segmentation
from edge_runtime.reports.structured import study_report
from edge_runtime.reports.study import ReportedFilm, StudySummary
from edge_runtime.reports.uids import WorkIdentity, result_uid, series_uid
from edge_runtime.screening import Screening
from edge_runtime.summary import film_summary

# What is made of one film alone; a report is of a study.
FilmKind = Literal["sc", "seg"]
FILM_KINDS: tuple[FilmKind, ...] = ("sc", "seg")


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
    study = text(header, "StudyInstanceUID") or ""
    made_at = datetime.now().astimezone()
    if "sr" in formats:
        study_of_one = StudySummary(
            screening.decision,
            screening.reasons,
            revision=1,
            films=1,
            # By the rule of films, which decided here; studies have thresholds of their own.
            summary=film_summary(screening),
        )
        instance = Instance(
            result_uid("sr", work, study_revision=1, language=language),
            series_uid("sr", study, work),
            number=1,
            made_at=made_at,
        )
        report = study_report(
            [ReportedFilm(header, screening)], study_of_one, instance, language=language
        )
        yield ".sr.dcm", file_bytes(report)
    for kind in FILM_KINDS:
        if kind in formats:
            made = film_object(
                kind, header, radiograph, screening, spec, work, number=1, made_at=made_at
            )
            if made is not None:
                yield f".{kind}.dcm", file_bytes(made)


def film_object(
    kind: FilmKind,
    header: Dataset,
    radiograph: Radiograph | None,
    screening: Screening,
    spec: InputSpec,
    work: WorkIdentity,
    *,
    number: int,
    made_at: datetime,
) -> Dataset | None:
    """Return one object that is made of a film alone.

    Parameters
    ----------
    header, radiograph
        As of :func:`film_objects`.
    work
        Which gives the object its UIDs, and its revision.
    number, made_at
        Of :class:`edge_runtime.reports.instance.Instance`.

    Returns
    -------
    pydicom.Dataset or None
        None where there is nothing to show: of a film that could not be read, or of one on which
        nothing is marked.

    Raises
    ------
    ResultError
        A DICOM object cannot refer to the film.
    """
    study = text(header, "StudyInstanceUID") or ""
    instance = Instance(result_uid(kind, work), series_uid(kind, study, work), number, made_at)
    if kind == "seg":
        return lesion_segmentation(header, screening, spec, instance)
    if radiograph is None:
        return None
    return secondary_capture(header, radiograph, screening, spec, instance, revision=work.revision)


def file_bytes(result: Dataset) -> bytes:
    """Return a result as a DICOM file."""
    buffer = io.BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
