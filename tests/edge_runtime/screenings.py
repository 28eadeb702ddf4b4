"""Screenings made by hand, so that a test controls every word and figure of a result."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import generate_uid

from edge_runtime.bundle.manifest import Interval, OperatingPoint
from edge_runtime.engine import DelegateUse
from edge_runtime.policy import Language
from edge_runtime.preprocess import InputSpec
from edge_runtime.reports.instance import Instance
from edge_runtime.reports.study import Predecessor, ReportedFilm, StudySummary
from edge_runtime.reports.uids import WorkIdentity, result_uid, series_uid
from edge_runtime.screening import (
    STANDING_SENTENCE,
    BundleUse,
    Context,
    Film,
    Lesion,
    OutOfDistribution,
    Screening,
    Source,
)
from edge_runtime.summary import film_summary, in_words, study_summary
from tests.conftest import need
from tests.edge_runtime.films import film

MADE_AT = datetime(2026, 11, 22, 9, 30, 15, tzinfo=UTC)
SPEC = InputSpec()
STUDY = generate_uid(entropy_srcs=["study"])
SERIES = generate_uid(entropy_srcs=["series"])
BUNDLE = "b" * 64


def hospital_film(number: int = 1, **attributes: Any) -> Dataset:
    """A film with the header of a hospital's own; ``attributes`` override or, with None, remove."""
    told: dict[str, Any] = {
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "SOPInstanceUID": generate_uid(entropy_srcs=["film", str(number)]),
        "SeriesNumber": 1,
        "InstanceNumber": number,
        "PatientName": "Doe^Jane",
        "PatientID": "4711",
        "PatientBirthDate": "20090131",
        "PatientSex": "F",
        "PatientAge": "017Y",
        "StudyDate": "20261121",
        "StudyTime": "101500",
        "StudyID": "S1",
        "AccessionNumber": "A123",
        "ReferringPhysicianName": "House^Gregory",
        "Manufacturer": "Rays",
        "PatientOrientation": ["L", "F"],
        "BurnedInAnnotation": "NO",
    }
    told |= attributes
    made = film(**{keyword: value for keyword, value in told.items() if value is not None})
    for keyword in [keyword for keyword, value in told.items() if value is None]:
        made.pop(keyword, None)
    return made


def with_raw(header: Dataset, keyword: str, value: bytes) -> Dataset:
    """Put bytes into a header as they may stand in a file, whatever their rules say."""
    tag = BaseTag(tag_for_keyword(keyword) or 0)
    header[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    return header


def screening(number: int = 1, **parts: Any) -> Screening:
    """A film that is flagged, with one marked area; ``parts`` override."""
    told: dict[str, Any] = {
        "notice": STANDING_SENTENCE,
        "synthetic": False,
        "intended_use": "localise",
        "source": Source(
            file=f"film-{number}.dcm", sha256=f"{number:064x}", sop_instance_uid="1.2",
            study_instance_uid=STUDY,
        ),
        "film": Film(rows=90, columns=60, body_part="knee", side="right"),
        "decision": "urgent_review",
        "reasons": ("malignant probability 0.81 is at or above 0.60 (malignant)",),
        "probabilities": {"no_tumour": 0.071234, "benign": 0.118766, "malignant": 0.81},
        "tumour_probability": 0.928766,
        "subtype_probabilities": None,
        "region_probabilities": None,
        "prediction_set": ("malignant",),
        "operating_points": (
            OperatingPoint(
                name="malignant", score="malignant", action="urgent_review", threshold=0.6,
                target="sensitivity 0.9", positives=10, negatives=90,
                sensitivity=Interval(value=0.9, low=0.8, high=1.0),
                specificity=Interval(value=0.9, low=0.8, high=1.0),
            ),
        ),
        "lesions": (
            Lesion(box=(10.0, 20.5, 40.2, 60.0), box_mm=None, score=0.7, area_fraction=0.1),
        ),
        "quality": (),
        "out_of_distribution": OutOfDistribution(status="familiar", reason="as near as most"),
        "context": Context(used=(), missing=()),
        "notes": (),
        "delegate": DelegateUse(name="cpu", version="ai-edge-litert 2.3.0", threads=1, rejected={}),
        "degraded": (),
        "bundle": BundleUse(
            name="knee", version="7", sha256=BUNDLE, purpose="research", data_licence="CC0-1.0"
        ),
        "software": "osteoedge 0.1.0",
        "timings_ms": {"total": 1.0},
        "mask": np.pad(np.ones((10, 8), np.uint8), ((20, 26), (30, 18))),
    }  # fmt: skip
    made = Screening(**(told | parts))
    return made.model_copy(update={"summary": in_words(film_summary(made))})


def triage(**parts: Any) -> Screening:
    """What :class:`edge_runtime.screener.Screener` tells for triage."""
    silent: dict[str, Any] = dict.fromkeys(
        ("probabilities", "tumour_probability", "prediction_set", "mask")
    )
    reasons = ("malignant probability is at or above 0.60 (malignant)",)
    told = {"intended_use": "triage", "lesions": (), "reasons": reasons}
    return screening(**(silent | told | parts))


def identity(of: Screening, **changes: Any) -> WorkIdentity:
    told: dict[str, Any] = {
        "content_sha256": of.source.sha256,
        "bundle_sha256": of.bundle.sha256,
        "site_sha256": None,
        "software": of.software,
        "revision": 1,
    }
    return WorkIdentity(**(told | changes))


def named(kind: Any, of: Screening) -> Instance:
    work = identity(of)
    return Instance(result_uid(kind, work), series_uid(kind, STUDY, work), 1, MADE_AT)


def summary(*of: Screening, **changes: Any) -> StudySummary:
    told: dict[str, Any] = {
        "decision": of[0].decision, "reasons": of[0].reasons, "revision": 1, "films": len(of),
    }  # fmt: skip
    told |= changes
    return StudySummary(**told, summary=study_summary(told["decision"], of))


def report(
    *films: ReportedFilm,
    instance: Instance | None = None,
    predecessors: Sequence[Predecessor] = (),
    language: Language = "en",
    **changes: Any,
) -> Dataset:
    """The study's report, with ``changes`` of the summary."""
    from edge_runtime.reports.structured import study_report

    first = films[0].screening
    study = summary(*(film.screening for film in films), **changes)
    return study_report(
        films, study, instance or named("sr", first), predecessors=predecessors, language=language
    )


def reread(result: Dataset, folder: Path) -> Dataset:
    """Write a result as a file, have `dciodvfy` check it, and read it again."""
    path = folder / "result.dcm"
    result.save_as(path, enforce_file_format=True)
    check(path)
    return dcmread(path)


def check(path: Path) -> list[str]:
    """Return what `dciodvfy` warns of in a file in which it finds no error."""
    tool = shutil.which("dciodvfy")
    need(tool, "dciodvfy (dicom3tools)")
    said = subprocess.run(
        [str(tool), path], capture_output=True, text=True, errors="replace", check=False
    )
    lines = (said.stdout + said.stderr).splitlines()
    assert not [line for line in lines if "Error" in line]
    return [line for line in lines if "Warning" in line]


def texts(result: Dataset) -> list[str]:
    """Every text of a result that a viewer may show."""
    return [
        str(value)
        for element in result.iterall()
        if element.VR in {"LO", "SH", "ST", "LT", "UT", "UC", "PN", "CS"}
        for value in (element.value if element.VM > 1 else [element.value])
    ]
