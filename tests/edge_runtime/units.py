"""Units for tests: settings, and a spool with films that were screened and sent."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edge_runtime.spool import FilmState, Spool
from edge_runtime.spool.admission import FilmIdentity, Received, admit
from edge_runtime.spool.delivery import claim_delivery, delivered, not_delivered
from edge_runtime.spool.documents import NewDocument
from edge_runtime.spool.work import NewResult, claim_film, finish
from edge_runtime.unit.config import UnitConfig

SR = "1.2.840.10008.5.1.4.1.1.88.34"
WORK = "w" * 64


def settings(folder: Path, bundle: Path, keys: Path, **sections: object) -> UnitConfig:
    """Return settings of a unit whose spool lies in ``folder``, with some sections replaced."""
    (folder / "watched").mkdir(parents=True, exist_ok=True)
    return UnitConfig.model_validate(
        {
            "bundle": {"path": bundle, "trusted_keys": keys},
            "spool": {
                "directory": folder / "spool",
                "reserve_mib": 10,
                "unencrypted_because": "a test",
            },
            "intake": {"folders": [{"path": folder / "watched"}]},
            "destinations": [
                {"kind": "dicom", "name": "pacs", "host": "localhost", "port": 104,
                 "ae_title": "PACS"}
            ],
            "health": None,
            **sections,
        }
    )  # fmt: skip


def receive(spool: Spool, uid: str, study: str = "1.2.3") -> None:
    """Let a film be received."""
    data = uid.encode()
    path = spool.folder / "incoming" / f"{uid}.dcm"
    path.write_bytes(data)
    content = hashlib.sha256(data).hexdigest()
    admit(
        spool,
        Received(path, content, len(data), "dicom:CONSOLE"),
        FilmIdentity("1.2.840.10008.5.1.4.1.1.1.1", uid, f"{study}.1", study, "p" * 64, 2),
    )


def screen(spool: Spool, decision: str) -> None:
    """Let the worker finish the next film, with one object for the destination `pacs`."""
    film = claim_film(spool)
    assert film is not None
    path = spool.folder / "results" / f"{film.id}.dcm"
    path.write_bytes(b"report")
    report = NewDocument("sc", SR, f"2.25.{film.id}", "2.25.1", path, 6, ("pacs",))
    state = FilmState.UNABLE if decision == "unable" else FilmState.REPORTED
    assert finish(spool, film, NewResult(state, decision, 0.5, 0.5, "{}", WORK), [report])


def send(spool: Spool, error: str | None = None) -> None:
    """Let the outbox send the next object, or fail to."""
    delivery = claim_delivery(spool, "pacs")
    assert delivery is not None
    if error is None:
        delivered(spool, delivery, delivery.size)
    else:
        not_delivered(spool, delivery, error, 60.0)
