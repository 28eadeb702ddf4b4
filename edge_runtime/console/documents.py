"""What the API answers and takes: version 1, described in openapi.json."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.bundle import OperatingPoint
from edge_runtime.decision import Decision
from edge_runtime.drift.reference import Figure
from edge_runtime.feedback.reads import Verdict
from edge_runtime.quality import QualityFinding
from edge_runtime.screening import BundleUse, Context, Lesion, OutOfDistribution, Screening
from edge_runtime.spool import FilmState
from edge_runtime.unit.machine import Battery
from edge_runtime.unit.status import DestinationStatus, DiskStatus

ModeName = Literal["live", "shadow"]
StudyState = Literal["waiting", "checking", "done"]
# What intake lets pass as a UID, but for the slash, which no path can hold.
Uid = Annotated[str, Field(pattern=r"^[!-.0-\[\]-~]{1,64}$")]
ShortText = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(_Part):
    """Why a request was refused."""

    error: str = Field(description="what happened")
    remedy: str = Field(description="what to do about it")


class DriftNote(_Part):
    """Something that changed about the films that come."""

    figure: Figure
    since: datetime
    text: str
    action_text: str = Field(description="what to do about it")


class ConsoleDrift(_Part):
    """Whether films still look like those of the reference."""

    available: bool
    reason: str | None = Field(description="why it is not known; in English")
    alarms: tuple[DriftNote, ...]


class ConsoleStatus(_Part):
    """How the unit does, for one quiet line."""

    notice: str
    unit: str
    at: datetime
    mode: ModeName
    films: dict[str, int] = Field(
        description="by state; in shadow mode all that have a result count as `reported`"
    )
    oldest_waiting_s: float | None = Field(description="seconds; null: no film waits")
    quarantined: int = Field(description="files and films that were set aside")
    destinations: dict[str, DestinationStatus]
    disk: DiskStatus
    battery: Battery | None = Field(description="null: the system does not tell")
    temperature_c: float | None = Field(description="highest; null: the system does not tell")
    delegate: str | None = Field(description="what runs the model; null: not known yet")
    degraded: tuple[str, ...] = Field(description="what is slower or weaker than it should be")
    drift: ConsoleDrift | None = Field(description="null in shadow mode: it tells of results")


class StudyFacts(_Part):
    """One study: whose it is, how far its check is, and what came of it.

    What the films' headers do not say, or is not told, is null.
    """

    study_instance_uid: str
    patient_name: str | None
    patient_id: str | None
    accession_number: str | None
    body_parts: tuple[str, ...] = Field(description="as the headers of its films say")
    received_at: datetime = Field(description="of its newest film")
    state: StudyState
    decision: Decision | None = Field(
        description="null: none yet, or one made in shadow mode, which is not told"
    )
    decision_text: str | None
    action_text: str | None = Field(description="what to do now")
    synthetic: bool = Field(description="the model learned from drawings, not patients")
    degraded: bool = Field(description="something was slower or weaker than it should be")
    read: Verdict | None = Field(description="what somebody said last of the decision")


class StudyLine(StudyFacts):
    """One line of the list of studies."""

    films: int


class StudyList(_Part):
    """The studies of a day, newest first; in shadow mode none is told."""

    mode: ModeName
    notice: str
    at: datetime
    day: date = Field(description="local time of the unit")
    studies: tuple[StudyLine, ...]


class FilmView(_Part):
    """One film of a study: what its header says, and its result where it has one that is told."""

    sop_instance_uid: str
    state: FilmState
    received_at: datetime
    reason: str | None = Field(description="of failed, quarantined and withdrawn")
    body_part: str | None
    view: str | None
    laterality: str | None
    rows: int | None
    columns: int | None
    decision: Decision | None
    decision_text: str | None
    action_text: str | None
    summary: tuple[str, ...]
    reasons: tuple[str, ...]
    quality: tuple[QualityFinding, ...]
    probabilities: dict[str, float] | None
    tumour_probability: float | None
    operating_points: tuple[OperatingPoint, ...] = Field(description="thresholds that were asked")
    lesions: tuple[Lesion, ...]
    out_of_distribution: OutOfDistribution | None
    context: Context | None
    degraded: tuple[str, ...]
    delegate: str | None
    bundle: BundleUse | None
    screening: Screening | None = Field(description="the whole document `osteoedge.screening/1`")


class DeliveryView(_Part):
    """Where an object made of the study is to go, and whether it went."""

    destination: str
    kind: str = Field(description="sr, sc, seg, ko (a rejection note) or original")
    state: str
    sent_at: datetime | None
    error: str | None = Field(description="of the last try")


class Study(StudyFacts):
    """One study, with its films."""

    notice: str
    summary: tuple[str, ...]
    reasons: tuple[str, ...]
    revision: int | None = Field(description="of its decision; null: none yet")
    films: tuple[FilmView, ...]
    deliveries: tuple[DeliveryView, ...]


class FilmResult(_Part):
    """How far a film is, and its result once it has one that is told."""

    sop_instance_uid: str
    study_instance_uid: str
    state: FilmState
    reason: str | None
    received_at: datetime
    screening: Screening | None


class FilmPath(_Part):
    """A film that lies on the unit's own disk; on the Unix socket only."""

    path: str = Field(min_length=1, max_length=4096)


class Submitted(_Part):
    """A film, or a rejection note, is on the disk and in the spool: nothing loses it any more."""

    sop_instance_uid: str | None = Field(description="null: a rejection note")
    study_instance_uid: str | None = Field(description="null: a rejection note")
    state: FilmState | None = Field(description="null: a rejection note")
    new: bool = Field(description="false: the unit had it, and does nothing more with it")


class Withdrawal(_Part):
    """Who takes a film back, and why."""

    person: ShortText = Field(description="for the audit log")
    reason: Literal["quality", "patient-safety", "worklist"] = Field(
        description="what is wrong: the film, the patient, or the worklist entry"
    )


class Withdrawn(_Part):
    """What a withdrawal came to."""

    films: int = Field(description="0: it was withdrawn before")


class StudyRead(_Part):
    """What somebody says of the unit's decision on a study."""

    verdict: Verdict
    reason: str = Field("", max_length=500, description="in their own words")
    reader: ShortText = Field(description="who says it")


class ReadAdded(_Part):
    """What was said is kept."""

    id: int


class TokenSignIn(_Part):
    """Sign in with the token, on loopback."""

    token: str = Field(min_length=1, max_length=200)


class AccountSignIn(_Part):
    """Sign in by name."""

    name: str = Field(min_length=1, max_length=32)
    password: str = Field(min_length=1, max_length=200)


class SignedIn(_Part):
    """Who is signed in, until when; the cookie comes beside it."""

    name: str
    until: datetime


class StudyEvent(_Part):
    """The data of an event `study`: what changed, without anything of the patient."""

    study_instance_uid: str
    state: Literal["waiting", "checking", "done", "withdrawn"] = Field(
        description="withdrawn: no film of it is left"
    )
    decision: Decision | None
