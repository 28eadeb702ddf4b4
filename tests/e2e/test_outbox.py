"""The outbox with real archives at the other end."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.spool import Spool
from edge_runtime.spool.delivery import bytes_sent
from tests.e2e.orthanc import Orthanc, free_port, orthanc, until
from tests.edge_runtime.outgoing import (
    capture,
    dicom,
    object_uid,
    outbox_at_work,
    queue_objects,
    report,
    states,
    unit,
)

__all__ = ["orthanc"]


def fill(folder: Path, destinations: list[str], films: int = 3) -> list[str]:
    """Queue a report and a picture for each of some films; return their UIDs."""
    uids = []
    with Spool(folder) as spool:
        for number in range(films):
            objects = [
                ("sr", report(object_uid("sr", number))),
                ("sc", capture(object_uid("sc", number))),
            ]
            uids += queue_objects(spool, number, destinations, objects)
    return uids


def test_objects_arrive_by_c_store_and_by_stow_beside_a_dead_destination(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    config = unit(
        folder,
        dicom("dead", free_port()),
        dicom("pacs", orthanc.port),
        {"name": "web", "kind": "stow", "url": orthanc.dicomweb},
    )
    uids = fill(folder, ["dead", "pacs", "web"])
    with outbox_at_work(config):
        for name in ("pacs", "web"):
            until(lambda name=name: set(states(folder, name).values()) == {"sent"}, name)
    assert orthanc.uids() == set(uids)
    assert set(states(folder, "dead").values()) == {"waiting"}
    with Spool(folder) as spool:
        sent = bytes_sent(spool, 0.0)
    assert sent == {"pacs": sent["pacs"], "web": sent["pacs"]}
    assert sent["pacs"] > 3 * 270_000
