"""A spool of studies that were decided on, without a model: for what is read of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from edge_runtime.spool import FilmState, Spool
from edge_runtime.spool.admission import FilmHeader, FilmIdentity, Received, admit
from edge_runtime.spool.studies import claim_study, report_study
from edge_runtime.spool.work import NewResult, claim_film, finish

BUNDLE = "b" * 64
# A Monday, noon, local time.
MONDAY = datetime(2026, 11, 16, 12).timestamp()
WEEK = "2026-W47"
DAY = 86400.0


@dataclass
class Ward:
    """A spool, and what happens to it.

    Attributes
    ----------
    now
        Of its clock.
    """

    spool: Spool
    now: float = MONDAY
    films: int = field(default=0)

    def mode(self, *, live: bool, bundle: str = BUNDLE) -> None:
        with self.spool.transaction() as execute:
            execute(
                "INSERT INTO mode (live, bundle_sha256, person, reason, at) VALUES (?,?,?,?,?)",
                live, bundle, "Dr Test", "a test", self.now,
            )  # fmt: skip

    def receive(
        self,
        study: str,
        *,
        accession: str = "",
        patient: str = "",
        part: str = "KNEE",
        view: str = "AP",
        data: bytes | None = None,
    ) -> None:
        self.films += 1
        uid = f"{study}.{self.films}"
        content = data if data is not None else uid.encode()
        path = self.spool.folder / "incoming" / f"{uid}.dcm"
        path.write_bytes(content)
        header = FilmHeader(accession, patient, "20261116", part, "L", view)
        admit(
            self.spool,
            Received(path, hashlib.sha256(content).hexdigest(), len(content), "test"),
            FilmIdentity(
                "1.2.840.10008.5.1.4.1.1.1.1", uid, f"{study}.0", study,
                hashlib.sha256(patient.encode()).hexdigest(), 2, header,
            ),
        )  # fmt: skip

    def screen(self, decision: str, *, reasons: tuple[str, ...] = (), refusing: str = "") -> None:
        film = claim_film(self.spool)
        assert film is not None
        quality = [{"finding": refusing, "action": "retake", "refuses": True}] if refusing else []
        document = json.dumps(
            {"bundle": {"sha256": BUNDLE, "site": None}, "reasons": reasons, "quality": quality}
        )
        state = FilmState.UNABLE if decision == "unable" else FilmState.REPORTED
        assert finish(self.spool, film, NewResult(state, decision, 0.5, 0.5, document, "w"), [])

    def report(self, decision: str) -> None:
        study = claim_study(self.spool)
        assert study is not None
        assert report_study(self.spool, study, decision, "[]", None)

    def study(
        self,
        study: str,
        decision: str,
        *,
        accession: str = "",
        patient: str = "",
        refusing: str = "",
        part: str = "KNEE",
        view: str = "AP",
        data: bytes | None = None,
    ) -> None:
        """Let a study of one film come and be decided on; a minute passes."""
        self.receive(study, accession=accession, patient=patient, part=part, view=view, data=data)
        self.screen(decision, refusing=refusing)
        self.report(decision)
        self.now += 60.0


@contextmanager
def ward(folder: Path, *, live: bool = True) -> Iterator[Ward]:
    """Open a new spool that is live, or in shadow mode."""
    clock: list[Ward] = []
    with Spool(folder, lambda: clock[0].now if clock else MONDAY) as spool:
        made = Ward(spool)
        clock.append(made)
        made.mode(live=live)
        yield made


def csv(*lines: str) -> str:
    """Return a reads.csv; each line is study, accession, reading, reader, read_at, comment."""
    heading = "study_instance_uid,accession_number,reading,reader,read_at,comment"
    return "\n".join((heading, *lines)) + "\n"
