"""UIDs of results: the same work gives the same UID, other work another.

A unit that is switched off in the middle of its work does it again, and a PACS must not get two
results for it. So no UID is drawn at random: each is the SHA-256 of what the work was done with.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass
from typing import Literal

from edge_runtime.policy import Language
from edge_runtime.screening import Screening

ResultKind = Literal["sr", "sc", "seg", "ko"]


@dataclass(frozen=True)
class WorkIdentity:
    """What one film's result is made of.

    Attributes
    ----------
    content_sha256
        Of the film's file, 64 hexadecimal digits.
    bundle_sha256
        Of the model bundle.
    site_sha256
        Of the site file; None where there is none.
    software
        Name and version, as a screening has it.
    revision
        1 for a film that is new, one more for each film that superseded it.
    """

    content_sha256: str
    bundle_sha256: str
    site_sha256: str | None
    software: str
    revision: int


def result_uid(
    kind: ResultKind,
    *identities: WorkIdentity,
    study_revision: int | None = None,
    language: Language | None = None,
) -> str:
    """Return the SOP Instance UID of a result.

    Parameters
    ----------
    identities
        Of all films that the result speaks of, in any order.
    study_revision
        For a result of a study: its revision. A study whose late view was withdrawn speaks of the
        films of an earlier report again, and is another report all the same.
    language
        Of a result that has words of one.
    """
    work = sorted(json.dumps(astuple(identity)) for identity in identities)
    told = () if language is None else (language,)
    return derived_uid("result", kind, study_revision, *told, *work)


def series_uid(kind: ResultKind, study_instance_uid: str, identity: WorkIdentity) -> str:
    """Return the Series Instance UID of a study's results of one kind.

    A series is of one piece of equipment (PS3.3 A.1.2.4), so another bundle, site file or software
    version has another series.
    """
    equipment = (identity.bundle_sha256, identity.site_sha256, identity.software)
    return derived_uid("series", kind, study_instance_uid, *equipment)


def tracking_uid(screening: Screening, what: str) -> str:
    """Return the Tracking UID of what was observed on a film.

    The same film by the same bundle, the same area, has the same in every report.
    """
    work = (screening.source.sha256, screening.bundle.sha256, screening.software)
    return derived_uid("tracking", *work, what)


def derived_uid(*parts: str | int | None) -> str:
    """Return a UID of ``parts``: 2.25 and a UUID (PS3.5 B.2) of version 8 (RFC 9562, 5.8).

    122 bits of the UUID are of the SHA-256 of the parts, so two UIDs are equal by chance as good as
    never.
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return f"2.25.{number}"
