"""The worker: films out of the spool, results into it. A process of its own.

It may be killed at any instruction. What it was doing is done again by the next one, under the same
UIDs, and recorded once.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydicom.dataset import Dataset

from edge_runtime.drift.watch import begin_watch, judge_blocks
from edge_runtime.errors import (
    CorruptRadiographError,
    DelegateError,
    OsteoedgeError,
    RadiographError,
    SpoolFullError,
)
from edge_runtime.phrases import Phrase, say
from edge_runtime.radiograph import Radiograph, read_header, read_radiograph
from edge_runtime.reports.document import screening_json
from edge_runtime.reports.film import FILM_KINDS, file_bytes, film_object
from edge_runtime.reports.instance import Instance
from edge_runtime.reports.rejection_note import Reference, rejection_note
from edge_runtime.reports.structured import study_report
from edge_runtime.reports.study import Predecessor, ReportedFilm, StudySummary
from edge_runtime.reports.uids import WorkIdentity, derived_uid, result_uid, series_uid
from edge_runtime.screener import Screener, source_of
from edge_runtime.screening import SOFTWARE, Screening
from edge_runtime.spool import FilmState, Spool
from edge_runtime.spool.audit import hashed
from edge_runtime.spool.database import RESULTS, set_settings
from edge_runtime.spool.documents import DocumentKind, NewDocument, sweep_results
from edge_runtime.spool.drift import WatchedFilm
from edge_runtime.spool.notes import (
    WithdrawnDocument,
    give_up_withdrawal,
    next_withdrawn,
    note_withdrawal,
)
from edge_runtime.spool.studies import OpenStudy, claim_study, report_study
from edge_runtime.spool.work import (
    NewResult,
    SpooledFilm,
    begin,
    claim_film,
    fail,
    finish,
    give_back,
)
from edge_runtime.summary import study_summary
from edge_runtime.unit.config import SentKind, UnitConfig
from edge_runtime.unit.life import Life
from edge_runtime.unit.mode import is_live, load_servable
from edge_runtime.unit.screening import make_screener
from edge_runtime.unit.status import DEGRADED_SETTING, DELEGATE_SETTING
from edge_runtime.unit.study import StudyDecision, decide_study

log = logging.getLogger(__name__)

# How often an idle worker looks for work: a technologist waits for the result.
_LOOK_S = 0.2
# Where the delegate or the disk fails, a film is tried again after this, doubled each time.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 300.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_DIFFERENT_PATIENTS = say(Phrase(key="reason.patients"))


def run(unit: UnitConfig, life: Life) -> None:
    """Screen what the spool holds, until asked to stop.

    Raises
    ------
    OsteoedgeError
        The bundle may not serve, no delegate runs it, or the spool cannot be used.
    """
    bundle = load_servable(unit.bundle)
    with (
        Spool(unit.spool.directory) as spool,
        make_screener(bundle, unit.screening) as screener,
    ):
        worker = Worker(unit, spool, screener)
        begun = full = False
        while not life.stopping:
            life.beat()
            try:
                if not begun:
                    worker.begin()
                    begun = True
                worker.let_go()
                busy = worker.step()
            except SpoolFullError as error:
                # Nothing was recorded, and nothing is lost: it is done again when there is space.
                if not full:
                    log.error("no space", exc_info=error)
                full = True
                life.wait(_FIRST_WAIT_S)
                continue
            full = False
            if not busy:
                life.wait(_LOOK_S)
        with suppress(SpoolFullError):
            worker.let_go()


class Worker:
    """Does one thing at a time: a report that is due, or else a note, or else a film."""

    def __init__(self, unit: UnitConfig, spool: Spool, screener: Screener) -> None:
        self._unit = unit
        self._spool = spool
        self._screener = screener
        self._held: SpooledFilm | OpenStudy | None = None
        self._unrecorded: list[Path] = []
        self._told: dict[str, str] = {}
        self._live = False
        made_with = (
            screener.bundle.deployed_sha256, SOFTWARE,
            unit.screening.intended_use,
        )  # fmt: skip
        self._work = hashlib.sha256(json.dumps(made_with).encode()).hexdigest()

    def begin(self) -> None:
        """Put the spool in order."""
        begin(self._spool, self._work, _boot_id())
        sweep_results(self._spool)
        begin_watch(self._spool, self._screener.bundle)
        self._tell_delegate()

    def step(self) -> bool:
        """Do the next thing; return False where there is nothing to do.

        Raises
        ------
        SpoolFullError
            It was done and could not be recorded.
        """
        if study := claim_study(self._spool):
            self._hold(study)
            self._report(study)
        elif withdrawn := next_withdrawn(self._spool):
            self._note(withdrawn)
        elif film := claim_film(self._spool):
            self._hold(film)
            self._screen(film)
        else:
            return False
        self._held = None
        return True

    def let_go(self) -> None:
        """Put back what a full disk has left in our hands, and delete what was written of it.

        Raises
        ------
        SpoolFullError
            Not even that could be recorded.
        """
        self._delete_unrecorded()
        if self._held is not None:
            give_back(self._spool, self._held)
            self._held = None

    def _hold(self, work: SpooledFilm | OpenStudy) -> None:
        """Take something in hand, and ask once whether all that comes of it may go out."""
        self._held = work
        self._live = is_live(self._spool, self._screener.bundle)

    def _screen(self, film: SpooledFilm) -> None:
        radiograph: Radiograph | None = None
        try:
            if film.ends_the_worker:
                raise CorruptRadiographError.because("broke_off")
            radiograph = read_radiograph(film.path)
            screening = self._screener.screen(radiograph)
        except RadiographError as error:
            screening = self._screener.refuse(error, source_of(film.path))
        except DelegateError as error:
            wait_s = min(_FIRST_WAIT_S * 2**film.failures, _LONGEST_WAIT_S)
            log.error(
                "delegate failed", exc_info=error, extra={"film": hashed(film.sop_instance_uid)}
            )
            fail(self._spool, film, str(error), wait_s)
            self._tell_delegate()
            return
        state = FilmState.UNABLE if screening.decision == "unable" else FilmState.REPORTED
        if film.ends_the_worker:
            state = FilmState.QUARANTINED
        scores = screening.scores or {}
        result = NewResult(
            state=state,
            decision=screening.decision,
            tumour=scores.get("tumour"),
            malignant=scores.get("malignant"),
            document=screening_json(screening).decode(),
            work=self._work,
            live=self._live,
            watched=WatchedFilm(self._screener.bundle.sha256, screening.watched or {}),
        )
        documents = tuple(self._documents(film, radiograph, screening))
        recorded = self._note_recorded(finish(self._spool, film, result, documents))
        log.info(
            "screened",
            extra={
                "film": hashed(film.sop_instance_uid),
                "seconds": round(screening.timings_ms.get("total", 0.0) / 1e3, 3),
                "outcome": "recorded" if recorded else "superseded meanwhile",
            },
        )
        judge_blocks(self._spool, self._screener.bundle)
        self._tell_delegate()

    def _documents(
        self, film: SpooledFilm, radiograph: Radiograph | None, screening: Screening
    ) -> Iterator[NewDocument]:
        """Yield the objects made of one film, written."""
        header = _header(film.path)
        if header is None:
            return
        identity = self._identity(film.content_sha256, film.result_revision)
        made_at = self._now()
        spec = self._screener.bundle.manifest.input_spec
        for kind in FILM_KINDS:
            if kind not in self._unit.screening.results:
                continue
            try:
                made = film_object(
                    kind, header, radiograph, screening, spec, identity,
                    number=film.id, made_at=made_at,
                )  # fmt: skip
            except OsteoedgeError as error:
                # The decision stands without its picture; the report tells it.
                log.error(
                    "not made",
                    exc_info=error,
                    extra={"film": hashed(film.sop_instance_uid), "kind": kind},
                )
                continue
            if made is not None:
                yield self._stored(kind, made, self._destinations(kind))
        if destinations := self._destinations("original"):
            yield NewDocument(
                kind="original",
                sop_class_uid=str(header.get("SOPClassUID", "")),
                sop_instance_uid=film.sop_instance_uid,
                series_instance_uid=str(header.get("SeriesInstanceUID", "")),
                path=film.path,
                size=film.path.stat().st_size,
                destinations=destinations,
            )

    def _report(self, study: OpenStudy) -> None:
        """Decide on a study anew and write its report."""
        if not study.views:
            report_study(self._spool, study, None, "[]", None)
            return
        told = self._unit.screening.intended_use == "localise"
        calibration = self._screener.bundle.manifest.calibration
        decided = decide_study(study.views, calibration, with_figures=told)
        reasons = decided.reasons
        report = None
        if not _names_one_patient(self._spool, study):
            # One of two views was corrected, say. A report of both would bear one patient's name,
            # and nothing here tells whose. Pictures go out: each bears its own film's.
            reasons = (*reasons, _DIFFERENT_PATIENTS)
            log.warning(
                "report held back",
                extra={"study": hashed(study.study_instance_uid), "reason": _DIFFERENT_PATIENTS},
            )
        elif "sr" in self._unit.screening.results and not study.ends_the_worker:
            report = self._study_report(study, decided)
        recorded = self._note_recorded(
            report_study(self._spool, study, decided.decision, json.dumps(reasons), report)
        )
        log.info(
            "study decided",
            extra={
                "study": hashed(study.study_instance_uid),
                "outcome": "recorded" if recorded else "changed meanwhile",
            },
        )

    def _study_report(self, study: OpenStudy, decided: StudyDecision) -> NewDocument | None:
        screenings = [Screening.model_validate_json(view.document) for view in study.views]
        summary = StudySummary(
            decided.decision,
            decided.reasons,
            study.revision,
            len(screenings),
            study_summary(decided.decision, screenings),
        )
        films = []
        for view, screening in zip(study.views, screenings, strict=True):
            header = _header(view.path)
            if header is not None:
                films.append(ReportedFilm(header, screening))
        identities = [self._identity(v.content_sha256, v.result_revision) for v in study.views]
        instance = Instance(
            uid=result_uid(
                "sr",
                *identities,
                study_revision=study.revision,
                language=self._unit.language,
            ),
            series_uid=series_uid("sr", study.study_instance_uid, identities[0]),
            number=study.revision,
            made_at=self._now(),
        )
        before = study.sent_report
        predecessors = (
            ()
            if before is None
            else (
                Predecessor(
                    before.sop_instance_uid,
                    before.series_instance_uid,
                    study.study_instance_uid,
                    before.study_revision,
                    datetime.fromtimestamp(before.made_at, UTC),
                ),
            )
        )
        try:
            report = study_report(
                films,
                summary,
                instance,
                predecessors=predecessors,
                language=self._unit.language,
            )
        except (OsteoedgeError, ValueError) as error:
            log.error(
                "not made",
                exc_info=error,
                extra={"study": hashed(study.study_instance_uid), "kind": "sr"},
            )
            return None
        return self._stored("sr", report, self._destinations("sr"))

    def _note(self, withdrawn: list[WithdrawnDocument]) -> None:
        """Write the rejection note that takes back what was sent."""
        first = withdrawn[0]
        header = next((h for path in first.headers if (h := _header(path)) is not None), None)
        if header is None:
            # Its films and objects were deleted long ago: nothing is left that names the patient.
            log.error("no rejection note", extra={"study": hashed(first.study_instance_uid)})
            give_up_withdrawal(self._spool, withdrawn)
            return
        rejected = [
            Reference(
                document.study_instance_uid,
                document.series_instance_uid,
                document.sop_class_uid,
                document.sop_instance_uid,
            )
            for document in withdrawn
        ]
        uids = sorted(document.sop_instance_uid for document in withdrawn)
        instance = Instance(
            uid=derived_uid("note", *uids),
            series_uid=derived_uid("notes", first.study_instance_uid),
            number=first.id,
            made_at=self._now(),
        )
        note = rejection_note(header, first.reason, rejected, instance)
        note_withdrawal(self._spool, withdrawn, self._stored("ko", note, ()))
        self._note_recorded(True)

    def _stored(
        self, kind: DocumentKind, made: Dataset, destinations: tuple[str, ...]
    ) -> NewDocument:
        content = file_bytes(made)
        path = self._spool.folder / RESULTS / f"{made.SOPInstanceUID}.dcm"
        self._spool.write(path, content)
        self._unrecorded.append(path)
        return NewDocument(
            kind=kind,
            sop_class_uid=made.SOPClassUID,
            sop_instance_uid=made.SOPInstanceUID,
            series_instance_uid=made.SeriesInstanceUID,
            path=path,
            size=len(content),
            destinations=destinations,
        )

    def _note_recorded(self, recorded: bool) -> bool:
        """Keep what was written if it has its rows now, else delete it; return whether it has."""
        if not recorded:
            self._delete_unrecorded()
        self._unrecorded.clear()
        return recorded

    def _delete_unrecorded(self) -> None:
        while self._unrecorded:
            self._unrecorded.pop().unlink(missing_ok=True)

    def _destinations(self, kind: SentKind) -> tuple[str, ...]:
        """Return who is to be sent objects of a kind: in shadow mode, nobody."""
        if not self._live:
            return ()
        return tuple(d.name for d in self._unit.destinations if kind in d.sends)

    def _identity(self, content_sha256: str, revision: int) -> WorkIdentity:
        bundle = self._screener.bundle
        site = None if bundle.site is None else bundle.site.sha256
        return WorkIdentity(content_sha256, bundle.sha256, site, SOFTWARE, revision)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._spool.now(), UTC).astimezone()

    def _tell_delegate(self) -> None:
        """Leave in the spool what runs the model, for status and metrics."""
        told = {
            DELEGATE_SETTING: self._screener.delegate.model_dump_json(),
            DEGRADED_SETTING: json.dumps(self._screener.degraded),
        }
        if told != self._told:
            with self._spool.transaction() as execute:
                set_settings(execute, told)
            self._told = told


def _names_one_patient(spool: Spool, study: OpenStudy) -> bool:
    """Return whether all films of a study that have a result name the same patient."""
    patients = spool.rows(
        "SELECT DISTINCT patient_sha256 FROM film JOIN result r ON r.film_id = film.id "
        "AND r.current WHERE study_instance_uid = ?",
        study.study_instance_uid,
    )
    return len(patients) <= 1


def _header(path: Path) -> Dataset | None:
    """Return a DICOM file's data set; None where it cannot be read, or is gone."""
    try:
        return read_header(path)
    except RadiographError:
        return None


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
