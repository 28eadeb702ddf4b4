"""A day on a unit that never was: drawn films and results written by hand, always the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

import cv2
import numpy as np

from edge_runtime.bundle import LABELS, Interval, OperatingPoint, ScoreName
from edge_runtime.bundle.manifest import Action
from edge_runtime.console.documents import (
    ConsoleDrift,
    ConsoleStatus,
    DeliveryView,
    FilmView,
    ModeName,
    Study,
    StudyLine,
    StudyList,
    StudyState,
)
from edge_runtime.decision import Decision
from edge_runtime.phrases import Language, Phrase, remedy, say
from edge_runtime.quality import QualityFinding
from edge_runtime.screening import (
    STANDING_SENTENCE,
    Context,
    Film,
    Lesion,
    OutOfDistribution,
    Screening,
)
from edge_runtime.spool import FilmState
from edge_runtime.summary import study_summary, to_do
from edge_runtime.unit.machine import Battery
from edge_runtime.unit.status import DestinationStatus, DiskStatus
from tests.edge_runtime.screenings import screening
from train.dataset.phantom.draw import draw_film
from train.dataset.phantom.patient import Patient, draw_patient

NOW = datetime(2026, 11, 22, 14, 40, 30, tzinfo=UTC)
SEED = 7
# Patients of that seed: two with a tumour, two without, all with two views.
_PROBABILITIES: dict[Decision, tuple[float, float, float]] = {
    "urgent_review": (0.06, 0.13, 0.81),
    "routine_review": (0.31, 0.61, 0.08),
    "not_flagged": (0.93, 0.05, 0.02),
    "unable": (0.55, 0.25, 0.20),
}


@dataclass(frozen=True)
class MadeUpStudy:
    """What a test says of a study; the rest follows.

    Attributes
    ----------
    number
        Makes its UIDs, and draws its films.
    decision
        None: not checked yet.
    retake
        A phrase of the table `quality` that made it `unable`.
    """

    number: int
    name: str
    decision: Decision | None
    state: StudyState = "done"
    received_at: datetime = NOW
    body_part: str = "KNEE"
    views: tuple[str, ...] = ("AP",)
    synthetic: bool = False
    degraded: tuple[str, ...] = ()
    retake: str = "blurred"
    revision: int = 1
    read: str | None = None
    unfamiliar: bool = False
    withdrawn: bool = False
    deliveries: tuple[str, ...] = ("sent",)

    @property
    def uid(self) -> str:
        """Study Instance UID."""
        return f"2.25.{90_000 + self.number}"

    def film_uid(self, view: int) -> str:
        """SOP Instance UID of one of its films."""
        return f"{self.uid}.{view + 1}"

    def line(self, language: Language) -> StudyLine:
        """Return its line on the list."""
        facts = self._facts(language)
        return StudyLine.model_validate({**facts, "films": len(self.views)})

    def study(self, language: Language) -> Study:
        """Return all of it."""
        return Study.model_validate(
            {
                **self._facts(language),
                "notice": say(Phrase(key="notice.standing"), language),
                "summary": self._summary(language),
                "reasons": (),
                "revision": self.revision if self.decision else None,
                "films": [self._film(view, language) for view in range(len(self.views))],
                "deliveries": [self._delivery(state) for state in self.deliveries],
            }
        )

    def _facts(self, language: Language) -> dict[str, object]:
        return {
            "study_instance_uid": self.uid,
            "patient_name": self.name,
            "patient_id": f"P-{4700 + self.number}",
            "accession_number": f"A{1200 + self.number}",
            "body_parts": (self.body_part,),
            "received_at": self.received_at,
            "state": self.state,
            "decision": self.decision,
            "decision_text": self._decision_text(language),
            "action_text": self._action_text(language),
            "synthetic": self.synthetic,
            "degraded": bool(self.degraded),
            "read": self.read,
        }

    def _decision_text(self, language: Language) -> str | None:
        return self.decision and say(Phrase(key=f"decision.{self.decision}"), language)

    def _action_text(self, language: Language) -> str | None:
        if self.decision is None:
            return None
        words = " ".join(say(one, language) for one in to_do(self.decision, [self._screening(0)]))
        return words[:1].upper() + words[1:]

    def _summary(self, language: Language) -> list[str]:
        if self.decision is None:
            return []
        films = [self._screening(view) for view in range(len(self.views))]
        return [say(one, language) for one in study_summary(self.decision, films)]

    def _film(self, view: int, language: Language) -> FilmView:
        told = self._screening(view) if self.decision and not self.withdrawn else None
        film = film_of(self.number, view)
        rows, columns = film.picture.shape
        state = FilmState.WITHDRAWN if self.withdrawn else _state(self)
        return FilmView(
            sop_instance_uid=self.film_uid(view),
            state=state,
            received_at=self.received_at,
            reason=None,
            body_part=self.body_part,
            view=self.views[view],
            laterality="L",
            rows=rows,
            columns=columns,
            decision=told and told.decision,
            decision_text=self._decision_text(language),
            action_text=self._action_text(language),
            summary=tuple(self._summary(language)),
            reasons=told.reasons if told else (),
            quality=told.quality if told else (),
            probabilities=told.probabilities if told else None,
            tumour_probability=told.tumour_probability if told else None,
            operating_points=told.operating_points if told else (),
            lesions=told.lesions if told else (),
            out_of_distribution=told.out_of_distribution if told else None,
            context=told.context if told else None,
            degraded=told.degraded if told else (),
            delegate=told.delegate.name if told else None,
            bundle=told.bundle if told else None,
            screening=told,
        )

    def _screening(self, view: int) -> Screening:
        assert self.decision is not None
        none, benign, malignant = _PROBABILITIES[self.decision]
        flagged = self.decision in ("urgent_review", "routine_review")
        film, part = film_of(self.number, view), self.body_part.lower()
        rows, columns = film.picture.shape
        fault = Phrase(key=f"quality.{self.retake}", values={"part": f"body.{part}"})
        refused = QualityFinding(
            phrase=fault, finding=say(fault), action=say(remedy(fault)), refuses=True
        )
        points = (
            _point("tumour", "routine_review", 0.3), _point("malignant", "urgent_review", 0.6)
        )  # fmt: skip
        return screening(
            self.number,
            decision=self.decision,
            reasons=(),
            synthetic=self.synthetic,
            probabilities={"no_tumour": none, "benign": benign, "malignant": malignant},
            tumour_probability=1 - none,
            prediction_set=(max(zip((none, benign, malignant), LABELS, strict=True))[1],),
            operating_points=points,
            study_operating_points=points,
            film=Film(rows=rows, columns=columns, body_part=part, side="left"),
            lesions=film.lesions if flagged else (),
            quality=(refused,) if self.decision == "unable" else (),
            out_of_distribution=OutOfDistribution(
                status="unfamiliar" if self.unfamiliar else "familiar", reason="made up"
            ),
            context=Context(used=("age", "region"), missing=("sex",)),
            degraded=self.degraded,
            timings_ms={"total": 212.0},
        )

    def _delivery(self, state: str) -> DeliveryView:
        error = "the network is unreachable" if state == "waiting" else None
        return DeliveryView(destination="pacs", kind="sr", state=state, sent_at=None, error=error)


@dataclass
class MadeUpUnit:
    """A unit whose studies a test adds to, changes and takes away; the newest is the first."""

    studies: list[MadeUpStudy] = field(default_factory=list)
    yesterday: list[MadeUpStudy] = field(default_factory=list)
    mode: ModeName = "live"
    error: str | None = None
    drift: ConsoleDrift | None = None
    battery: Battery | None = field(
        default_factory=lambda: Battery(percent=80, status="Discharging")
    )

    def add(self, study: MadeUpStudy) -> None:
        """Let a study arrive."""
        self.studies.insert(0, study)

    def change(self, uid: str, **facts: object) -> None:
        """Change what is known of a study."""
        at = next(i for i, study in enumerate(self.studies) if study.uid == uid)
        self.studies[at] = replace(self.studies[at], **facts)  # type: ignore[arg-type]

    def find(self, uid: str) -> MadeUpStudy | None:
        """Return the study with this UID, or that of one of its films."""
        found = (one for one in self.studies + self.yesterday if uid.startswith(one.uid))
        return next(found, None)

    def list(self, day: date | None, language: Language) -> StudyList:
        """Return the studies of a day."""
        today = NOW.date()
        shown: Sequence[MadeUpStudy] = ()
        if self.mode == "live":
            days = {today: self.studies, today - timedelta(days=1): self.yesterday}
            shown = days.get(day or today, ())
        return StudyList(
            mode=self.mode,
            notice=STANDING_SENTENCE,
            at=NOW,
            day=day or today,
            studies=tuple(study.line(language) for study in shown if not study.withdrawn),
        )

    def status(self) -> ConsoleStatus:
        """Return how it does."""
        waiting = sum(study.state != "done" for study in self.studies)
        return ConsoleStatus(
            notice=STANDING_SENTENCE,
            unit="xray-3",
            at=NOW,
            mode=self.mode,
            films={"received": waiting, "reported": len(self.studies) - waiting},
            oldest_waiting_s=14.0 if waiting else None,
            quarantined=0,
            destinations={"pacs": DestinationStatus(waiting=3, last_error=self.error)},
            disk=DiskStatus(free=12_400_000_000, total=64_000_000_000, reserve=500 << 20),
            battery=self.battery,
            temperature_c=47.0,
            delegate="cpu",
            degraded=(),
            drift=self.drift,
        )


@dataclass(frozen=True)
class _Drawing:
    """A drawn film: its picture, uint8 (rows, columns), bone bright; and what is marked on it."""

    picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    lesions: tuple[Lesion, ...]


def film_of(number: int, view: int) -> _Drawing:
    """Return one of a few drawn films, the same for the same study and view."""
    patients = _patients()
    return _drawn(patients[number % len(patients)].index, view % 2)


@cache
def _patients() -> tuple[Patient, ...]:
    drawn = (draw_patient(SEED, index) for index in range(40))
    two_views = [one for one in drawn if one.views == ("frontal", "lateral")]
    ill = [one for one in two_views if one.label == "malignant"][:2]
    return (*ill, *[one for one in two_views if one.label == "no_tumour"][:2])


@cache
def _drawn(index: int, view: int) -> _Drawing:
    patient = draw_patient(SEED, index)
    film = draw_film(patient, patient.views[view], patient.film_rng(SEED, view))
    centre, width = film.window
    display = np.clip((film.pixels - centre) / width + 0.5, 0.0, 1.0)
    if patient.photometric == "MONOCHROME1":
        display = 1.0 - display
    left, top, wide, high = cv2.boundingRect(film.mask)
    rows, columns = film.mask.shape
    if wide == 0:
        left, top, wide, high = columns // 3, rows // 3, columns // 5, rows // 6
    box = (float(left), float(top), float(left + wide), float(top + high))
    mm = tuple(round(side * film.spacing_mm, 1) for side in box)
    lesion = Lesion.model_validate(
        {"box": box, "box_mm": mm, "score": 0.87, "area_fraction": wide * high / rows / columns}
    )
    return _Drawing((display * 255).astype(np.uint8), (lesion,))


@cache
def png_of(number: int, view: int, width: int) -> bytes:
    """Return the film as a PNG of this width."""
    picture = film_of(number, view).picture
    rows, columns = picture.shape
    size = (width, round(rows * width / columns))
    done, png = cv2.imencode(".png", cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    assert done
    return png.tobytes()


def a_day() -> MadeUpUnit:
    """Return a day with one study of each kind."""
    at = [NOW - timedelta(minutes=minutes) for minutes in (1, 2, 9, 31, 64, 118, 149)]
    return MadeUpUnit(
        studies=[
            MadeUpStudy(1, "Njeri Wambui", None, "waiting", at[0], "ANKLE", deliveries=()),
            MadeUpStudy(2, "Otieno Grace", None, "checking", at[1], "HAND", deliveries=()),
            MadeUpStudy(4, "Achieng Mary", "urgent_review", "done", at[2], "KNEE", ("AP", "LAT")),
            MadeUpStudy(
                3, "Mwangi Peter", "unable", "done", at[3], "FOREARM", deliveries=("waiting",)
            ),
            MadeUpStudy(
                5, "Kamau Joseph", "routine_review", "done", at[4], "TIBIA", ("AP", "LAT"),
                degraded=("the delegate gpu failed, cpu took over",), revision=2, unfamiliar=True,
            ),
            MadeUpStudy(6, "Hassan Amina", "not_flagged", "done", at[5], "FOOT", read="agree"),
            MadeUpStudy(8, "SYNTHETIC PHANTOM", "urgent_review", "done", at[6], synthetic=True),
        ],
        yesterday=[
            MadeUpStudy(
                9, "Barasa John", "not_flagged", "done", NOW - timedelta(days=1), "ELBOW"
            )
        ],
    )  # fmt: skip


def _point(score: ScoreName, action: Action, threshold: float) -> OperatingPoint:
    told = Interval(value=0.9, low=0.8, high=1.0)
    return OperatingPoint(
        name=score, score=score, action=action, threshold=threshold, target="sensitivity 0.9",
        positives=10, negatives=90, sensitivity=told, specificity=told,
    )  # fmt: skip


def _state(study: MadeUpStudy) -> FilmState:
    if study.decision is None:
        return FilmState.RECEIVED if study.state == "waiting" else FilmState.SCREENING
    return FilmState.UNABLE if study.decision == "unable" else FilmState.REPORTED
