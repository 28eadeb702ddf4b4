"""Objects to send: films with results, put into a spool as intake and worker do."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, uid
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, generate_uid

from edge_runtime import outbox
from edge_runtime.spool import FilmState, Spool
from edge_runtime.spool.admission import FilmIdentity, Received, admit
from edge_runtime.spool.database import INCOMING, RESULTS
from edge_runtime.spool.documents import NewDocument
from edge_runtime.spool.work import NewResult, SpooledFilm, claim_film, finish
from edge_runtime.unit.config import UnitConfig
from edge_runtime.unit.life import Life
from tests.edge_runtime.films import film, save

SR = uid.Comprehensive3DSRStorage
SC = uid.SecondaryCaptureImageStorage


def object_uid(*names: object) -> UID:
    """The same name, the same UID."""
    return generate_uid(entropy_srcs=[repr(names)])


def capture(sop_instance_uid: str, kilobytes: int = 250) -> Dataset:
    """A Secondary Capture of about a size."""
    pixels = np.zeros((kilobytes, 1000), np.uint8)
    dataset = film(pixels, Modality="OT", ConversionType="WSD", PresentationIntentType=None)
    return _named(dataset, SC, sop_instance_uid)


def report(sop_instance_uid: str, kilobytes: int = 20) -> Dataset:
    """A structured report of about a size."""
    dataset = film(Modality="SR", PresentationIntentType=None)
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(dataset, keyword)
    dataset.ValueType = "CONTAINER"
    dataset.ContentSequence = []
    for _ in range(kilobytes):
        item = Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
        item.TextValue = "." * 980
        dataset.ContentSequence.append(item)
    return _named(dataset, SR, sop_instance_uid)


def _named(dataset: Dataset, sop_class: str, sop_instance_uid: str) -> Dataset:
    dataset.PatientID = "P1"
    dataset.StudyInstanceUID = object_uid("study", sop_instance_uid)
    dataset.SeriesInstanceUID = object_uid("series", sop_instance_uid)
    for target in (dataset, dataset.file_meta):
        prefix = "MediaStorage" if target is dataset.file_meta else ""
        setattr(target, f"{prefix}SOPClassUID", sop_class)
        setattr(target, f"{prefix}SOPInstanceUID", sop_instance_uid)
    return dataset


def take_in(spool: Spool, name: object, film_file: Path | None = None) -> SpooledFilm:
    """Admit a film, and take it as the worker does."""
    file = spool.folder / INCOMING / f"{object_uid(name)}.dcm"
    if film_file is None:
        save(_named(film(), uid.DigitalXRayImageStorageForPresentation, object_uid(name)), file)
    else:
        file.write_bytes(film_file.read_bytes())
    received = Received(
        file, hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size, "test"
    )
    identity = FilmIdentity(
        uid.DigitalXRayImageStorageForPresentation,
        object_uid(name), object_uid("series", name), object_uid("study", name), "patient", 2,
    )  # fmt: skip
    admit(spool, received, identity)
    taken = claim_film(spool)
    assert taken is not None and taken.sop_instance_uid == object_uid(name)
    return taken


def queue_objects(
    spool: Spool,
    name: object,
    destinations: Sequence[str],
    objects: Sequence[tuple[str, Dataset | Path]],
    decision: str = "not_flagged",
) -> list[str]:
    """Give a film results that are to be sent; return their SOP Instance UIDs.

    An object is a kind ('sr', 'sc', 'original') and a data set; or a file that lies in the spool.
    """
    taken = take_in(spool, name)
    documents = []
    for kind, given in objects:
        path = (
            given
            if isinstance(given, Path)
            else spool.folder / RESULTS / f"{given.SOPInstanceUID}.dcm"
        )
        if isinstance(given, Dataset):
            save(given, path)
        meta = read_file_meta_info(path)
        documents.append(
            NewDocument(
                kind,
                meta.MediaStorageSOPClassUID,
                meta.MediaStorageSOPInstanceUID,
                object_uid("series", path.stem),
                path,
                path.stat().st_size,
                tuple(destinations),
            )
        )
    result = NewResult(FilmState.REPORTED, decision, 0.5, 0.5, "{}", "work")
    assert finish(spool, taken, result, documents)
    return [str(document.sop_instance_uid) for document in documents]


def unit(folder: Path, *destinations: dict[str, Any]) -> UnitConfig:
    """Settings of a unit whose spool lies in a folder."""
    return UnitConfig.model_validate(
        {
            "bundle": {"path": "none.osteo", "trusted_keys": "keys"},
            "spool": {"directory": folder},
            "intake": {"folders": [{"path": "inbox"}]},
            "destinations": destinations,
        }
    )


def dicom(name: str, port: int, ae_title: str = "ORTHANC", **more: Any) -> dict[str, Any]:
    """Settings of a C-STORE destination on loopback."""
    return {
        "name": name, "kind": "dicom", "host": "127.0.0.1", "port": port, "ae_title": ae_title,
        **more,
    }  # fmt: skip


@contextmanager
def outbox_at_work(config: UnitConfig, live: bool = True) -> Iterator[Life]:
    """Run the outbox in a thread, as its process does."""
    life = Life()
    thread = threading.Thread(target=outbox.run, args=(config, life, lambda spool: live))
    thread.start()
    try:
        yield life
    finally:
        life.stop()
        thread.join(10)
        assert not thread.is_alive(), "the outbox does not stop"


def states(folder: Path, destination: str) -> dict[str, str]:
    """State of each object for a destination, by SOP Instance UID."""
    with Spool(folder) as spool:
        return {
            row["sop_instance_uid"]: row["state"]
            for row in spool.rows(
                "SELECT d.sop_instance_uid, x.state FROM delivery x JOIN document d "
                "ON d.id = x.document_id WHERE x.destination = ?",
                destination,
            )
        }
