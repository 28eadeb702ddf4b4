"""The report of a study: a Comprehensive 3D SR by template TID 1500 (PS3.16 annex A)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import highdicom.sr as sr
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from edge_runtime import dicom_header
from edge_runtime.phrases import say
from edge_runtime.policy import Language
from edge_runtime.reports import codes as own
from edge_runtime.reports.device import MANUFACTURER, equipment, observer
from edge_runtime.reports.header import (
    FilmSource,
    complete,
    read_source,
    requested_procedures,
    series_description,
)
from edge_runtime.reports.instance import Instance
from edge_runtime.reports.study import Predecessor, ReportedFilm, StudySummary
from edge_runtime.reports.uids import tracking_uid
from edge_runtime.reports.wording import HEADLINES, RESEARCH, SYNTHETIC
from edge_runtime.screening import Lesion, Screening

# High, so that a viewer that sorts by number shows the films first.
SERIES_NUMBER = 9901
# PS3.16 TID 1500, row 12.
_QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
_CONTAINS = sr.RelationshipTypeValues.CONTAINS


def study_report(
    films: Sequence[ReportedFilm],
    study: StudySummary,
    instance: Instance,
    *,
    predecessors: Sequence[Predecessor] = (),
    language: Language = "en",
) -> Dataset:
    """Return the report of all current films of a study.

    Each film is a measurement group (TID 1501), and so is each marked area (TID 1410), with its box
    as a closed polyline in pixels of the film. Films whose intended use is `triage` have decision
    and reasons alone.

    Parameters
    ----------
    films
        At least one; all of one study. The report's own equipment is that of the first.
    predecessors
        Delivered reports that this one supersedes.
    language
        Of the summary. All else is in English, as the meanings of codes are.

    Returns
    -------
    pydicom.Dataset
        With its file meta information, ready to be written or sent.

    Raises
    ------
    ResultError
        A DICOM object cannot refer to one of the films.
    """
    films = sorted(films, key=_place)
    sources = [read_source(film.header, film.screening.source.file) for film in films]
    if len({source.image.StudyInstanceUID for source in sources}) != 1:
        raise ValueError("a report is of the films of one study")
    first = films[0].screening
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=observer(first.software, first.bundle.sha256)
        ),
        procedure_reported=codes.cid100.XRUnspecifiedBodyRegion,
        title=codes.DCM.ImagingMeasurementReport,
        imaging_measurements=[
            group
            for place, (film, source) in enumerate(zip(films, sources, strict=True), 1)
            for group in _groups(film.screening, source, f"film {place}")
        ],
    )
    content = report[0].ContentSequence
    # Before the figures: what nobody may miss.
    remarks = [
        *(_text(codes.DCM.Comment, remark) for remark in _remarks(films, study, predecessors)),
        _summary(study, language),
    ]
    for place, remark in enumerate(remarks, len(content) - 1):
        content.insert(place, remark)
    content.append(_conclusion(study))
    document = sr.Comprehensive3DSR(
        evidence=[source.image for source in sources],
        content=report[0],
        series_instance_uid=instance.series_uid,
        series_number=SERIES_NUMBER,
        series_description=series_description(any(film.screening.synthetic for film in films)),
        sop_instance_uid=instance.uid,
        instance_number=instance.number,
        is_complete=True,
        is_final=False,
        is_verified=False,
        requested_procedures=requested_procedures(sources) or None,
        previous_versions=[_predecessor(before) for before in predecessors] or None,
        coding_schemes=[own.scheme_identification()],
        **equipment(first),
    )
    complete(document, sources[0], instance.made_at)
    return document


def _place(film: ReportedFilm) -> tuple[float, float, str]:
    """Order films as their unit took them, so that the same films give the same report."""
    series, instance = (
        dicom_header.number(film.header, f"{what}Number") or 0.0 for what in ("Series", "Instance")
    )
    return series, instance, dicom_header.text(film.header, "SOPInstanceUID") or ""


def _remarks(
    films: Sequence[ReportedFilm], study: StudySummary, predecessors: Sequence[Predecessor]
) -> Iterator[str]:
    yield HEADLINES[study.decision]
    yield f"{films[0].screening.notice}. {RESEARCH}."
    if any(film.screening.synthetic for film in films):
        yield SYNTHETIC
    for before in predecessors:
        yield (
            f"Revision {study.revision}. Supersedes report revision {before.revision} of "
            f"{before.made_at:%Y-%m-%d %H:%M}"
        )
    for what in _once(what for film in films for what in film.screening.degraded):
        yield f"Degraded: {what}"


def _summary(study: StudySummary, language: Language) -> sr.TextContentItem:
    """Return the summary, a phrase a line, and which language it is in (TID 1204)."""
    words = "\r\n".join(say(phrase, language) for phrase in study.summary)
    summary = _text(codes.DCM.Summary, words)
    summary.ContentSequence = sr.ContentSequence(
        sr.LanguageOfContentItemAndDescendants(sr.CodedConcept.from_code(own.LANGUAGES[language]))
    )
    return summary


def _once(words: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(words)


def _conclusion(study: StudySummary) -> sr.ContainerContentItem:
    """Return the decision on the study (TID 1500, row 12)."""
    container = sr.ContainerContentItem(name=_QUALITATIVE_EVALUATIONS, relationship_type=_CONTAINS)
    container.ContentSequence = sr.ContentSequence(
        [
            sr.CodeContentItem(own.DECISION, own.DECISIONS[study.decision], _CONTAINS),
            *(_text(own.REASON, reason) for reason in study.reasons),
            _text(own.FILMS, str(study.films)),
        ]
    )
    return container


def _groups(
    screening: Screening, source: FilmSource, name: str
) -> Iterator[
    sr.MeasurementsAndQualitativeEvaluations | sr.PlanarROIMeasurementsAndQualitativeEvaluations
]:
    algorithm = _algorithm(screening)
    yield _film_group(screening, source, name, algorithm)
    if screening.intended_use == "localise":
        for place, lesion in enumerate(screening.lesions, 1):
            yield _lesion_group(screening, lesion, source, f"{name}, area {place}", algorithm)


def _film_group(
    screening: Screening, source: FilmSource, name: str, algorithm: sr.AlgorithmIdentification
) -> sr.MeasurementsAndQualitativeEvaluations:
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(screening, name, "film"),
        algorithm_id=algorithm,
        measurements=list(_probabilities(screening)),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(own.DECISION, own.DECISIONS[screening.decision])
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(source.image.SOPClassUID, source.image.SOPInstanceUID)
        ],
    )
    familiarity = screening.out_of_distribution
    for concept, said in (
        (own.REASON, screening.reasons),
        (own.QUALITY, [f"{found.finding}: {found.action}" for found in screening.quality]),
        (own.FAMILIARITY, [f"{familiarity.status.replace('_', ' ')}: {familiarity.reason}"]),
        (own.DEGRADED, screening.degraded),
    ):
        group[0].ContentSequence.extend(_text(concept, words) for words in said)
    return group


def _lesion_group(
    screening: Screening,
    lesion: Lesion,
    source: FilmSource,
    name: str,
    algorithm: sr.AlgorithmIdentification,
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    x0, y0, x1, y1 = lesion.box
    image = source.image
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(screening, name, name.rpartition(", ")[2]),
        referenced_region=sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            # 0, 0 is the outer corner of the first pixel, as it is of the boxes (PS3.3 C.18.6.1.1).
            graphic_data=np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]),
            source_image=sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID),
        ),
        geometric_purpose=codes.cid219.BoundedBy,
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_type=codes.SCT.Lesion,
        algorithm_id=algorithm,
        measurements=[
            sr.Measurement(own.LESION_SCORE, lesion.score, codes.UCUM.NoUnits),
            sr.Measurement(own.AREA_SHARE, lesion.area_fraction, codes.UCUM.NoUnits),
        ],
    )


def _probabilities(screening: Screening) -> Iterator[sr.Measurement]:
    if screening.intended_use == "triage" or screening.probabilities is None:
        return
    for label, concept in own.PROBABILITIES.items():
        yield sr.Measurement(concept, screening.probabilities[label], codes.UCUM.NoUnits)
    if screening.tumour_probability is not None:
        yield sr.Measurement(own.P_TUMOUR, screening.tumour_probability, codes.UCUM.NoUnits)


def _tracking(screening: Screening, name: str, what: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(uid=tracking_uid(screening, what), identifier=name)


def _algorithm(screening: Screening) -> sr.AlgorithmIdentification:
    """Return bundle, runtime and operating points (TID 4019)."""
    bundle, delegate = screening.bundle, screening.delegate
    return sr.AlgorithmIdentification(
        name=bundle.name,
        version=bundle.version,
        manufacturer=MANUFACTURER,
        family=codes.cid7162.ArtificialIntelligence,
        parameters=[
            f"bundle sha256 {bundle.sha256}",
            *(
                []
                if bundle.site is None
                else [f"site file {bundle.site.name} {bundle.site.sha256}"]
            ),
            f"purpose {bundle.purpose}",
            f"software {screening.software}",
            f"delegate {delegate.name} {delegate.version}",
            *(
                f"operating point {point.name}: {point.score} probability >= {point.threshold:g} "
                f"asks for {point.action.replace('_', ' ')}"
                for point in screening.operating_points
            ),
        ],
    )


def _text(concept: Code, words: str) -> sr.TextContentItem:
    return sr.TextContentItem(concept, words, _CONTAINS)


def _predecessor(before: Predecessor) -> Dataset:
    document = Dataset()
    document.SOPClassUID = Comprehensive3DSRStorage
    document.SOPInstanceUID = before.sop_instance_uid
    document.SeriesInstanceUID = before.series_instance_uid
    document.StudyInstanceUID = before.study_instance_uid
    return document
