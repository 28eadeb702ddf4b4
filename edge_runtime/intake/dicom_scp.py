"""The DICOM service of the unit: C-STORE, C-ECHO, and answers on storage commitment."""

from __future__ import annotations

import gc
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pynetdicom
from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from edge_runtime import __version__
from edge_runtime.dicom_codecs import PLUGIN_OF
from edge_runtime.dicom_file import IMPLEMENTATION_CLASS_UID, RADIOGRAPH_CLASSES
from edge_runtime.dicom_tls import server_context
from edge_runtime.errors import (
    ConfigError,
    ContradictionError,
    RadiographError,
    SpoolError,
    SpoolFullError,
)
from edge_runtime.intake.messages import DataSet
from edge_runtime.intake.receiving import IncomingFile
from edge_runtime.intake.server import IntakeServer
from edge_runtime.intake.understanding import Arrival, enter, understand
from edge_runtime.outbox.commitment import take_report
from edge_runtime.spool import Spool
from edge_runtime.spool.admission import sweep
from edge_runtime.spool.audit import hashed
from edge_runtime.spool.database import INCOMING
from edge_runtime.unit.config import DicomIntake, UnitConfig
from edge_runtime.unit.life import Life

log = logging.getLogger(__name__)

# Raw detector data cannot be screened, but a result says so; the console's refusal says nothing.
_CLASSES = (
    *sorted(RADIOGRAPH_CLASSES),
    uid.DigitalXRayImageStorageForProcessing,
    uid.KeyObjectSelectionDocumentStorage,
)
# What every sender can do comes first: where one offers several, the first is chosen.
_SYNTAXES = sorted(PLUGIN_OF, key=lambda syntax: syntax != uid.ExplicitVRLittleEndian)

_SUCCESS = 0x0000
_PROCESSING_FAILURE = 0x0110
_INVALID_ARGUMENT = 0x0115
_OUT_OF_RESOURCES = 0xA700
_DATA_SET_DOES_NOT_MATCH = 0xA900
_CANNOT_UNDERSTAND = 0xC210

_LAST_WORDS_S = 3.0


def run(unit: UnitConfig, listener: socket.socket, slot: int, life: Life) -> None:
    """Receive until asked to stop.

    Parameters
    ----------
    listener
        Listens already; other receivers accept from the same.
    slot
        Which of the receivers this is, from 0: it alone writes to ``incoming/slot``.

    Raises
    ------
    SpoolError, ConfigError
        It cannot start.
    """
    settings = unit.intake.dicom
    if settings is None:
        raise ConfigError("there is no section [intake.dicom]", "Add it")
    # Its own handlers would build their text all the same.
    pynetdicom._config.LOG_HANDLER_LEVEL = "none"
    tls = None if settings.tls is None else server_context(settings.tls)
    with ThreadPoolExecutor(1, "spool") as spooler:
        service = _Service(unit, slot, spooler)
        server = IntakeServer(
            _application_entity(settings),
            listener, settings, tls,
            [
                (evt.EVT_C_ECHO, lambda event: _SUCCESS),
                (evt.EVT_C_STORE, service.store),
                (evt.EVT_N_EVENT_REPORT, service.commitment),
            ],
            service.allocate,
        )  # fmt: skip
        # An association is a cycle of objects: without what was imported to go through, the
        # collector comes by often enough for few of them to pile up.
        gc.freeze()
        log.info("receiving", extra={"slot": slot, "port": listener.getsockname()[1]})
        while not life.stopping:
            life.beat()
            server.handle_request()
            server.clear_ended()
        server.end_all(_LAST_WORDS_S)
        server.server_close()
        service.close()


def _application_entity(settings: DicomIntake) -> AE:
    entity = AE(settings.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = f"OSTEOEDGE_{__version__}"[:16]
    entity.maximum_pdu_size = settings.pdu_kib << 10
    entity.acse_timeout = settings.pdu_s
    entity.dimse_timeout = entity.network_timeout = settings.idle_s
    # Refusals are ours: they are logged, and count connections that are no association yet.
    entity.maximum_associations = 10_000
    entity.add_supported_context(Verification)
    for sop_class in _CLASSES:
        entity.add_supported_context(sop_class, _SYNTAXES)
    # A destination that calls to answer is the SCP of storage commitment; some do not say so.
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    return entity


class _Service:
    """What is done with requests. SQLite's thread is its own; all others receive."""

    def __init__(self, unit: UnitConfig, slot: int, spooler: ThreadPoolExecutor) -> None:
        settings = unit.intake.dicom
        assert settings is not None
        self._incoming = unit.spool.directory / INCOMING / str(slot)
        self._limit = settings.film_mib << 20
        self._reserve = unit.spool.reserve_mib << 20
        self._spooler = spooler
        self._spool = spooler.submit(Spool, unit.spool.directory).result()
        self._incoming.mkdir(mode=0o700, exist_ok=True)
        swept = spooler.submit(sweep, self._spool, self._incoming).result()
        if swept:
            log.info("unfinished files deleted", extra={"files": swept})

    def allocate(self) -> IncomingFile:
        """Reserve a file for a film."""
        return IncomingFile(self._incoming, self._limit, self._reserve)

    def close(self) -> None:
        """Close the spool."""
        self._spooler.submit(self._spool.close).result()

    def store(self, event: evt.Event) -> Dataset:
        """Answer a C-STORE request: with success once the film and its place are durable."""
        started = time.monotonic()
        request = cast(C_STORE, event.request)
        data_set = cast(DataSet, request.DataSet)
        claimed = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        source = f"dicom:{event.assoc.requestor.ae_title.strip()}"
        facts: dict[str, object] = {
            "film": hashed(claimed[1]), "source": source,
        }  # fmt: skip
        try:
            if data_set.failure is not None:
                raise data_set.failure
            if data_set.film is None:
                return _answer(_CANNOT_UNDERSTAND, "no data set")
            data_set.film.finish()
            arrival = understand(data_set.film.path, source, claimed)
            outcome = self._spooler.submit(enter, self._spool, arrival).result()
        except SpoolError as error:
            full = isinstance(error, SpoolFullError)
            log.error("not received", extra={**facts, "reason": error.what})
            return _answer(_OUT_OF_RESOURCES if full else _PROCESSING_FAILURE, error.what)
        except Exception as error:
            # A disk that gives nothing back, or a fault of ours: the next film may fare better.
            log.error("not received", extra={**facts, "reason": type(error).__name__})
            return _answer(_PROCESSING_FAILURE, "internal error")
        finally:
            data_set.discard()
        log.info(
            "received",
            extra={
                **facts, "outcome": outcome, "size": arrival.received.size,
                "seconds": round(time.monotonic() - started, 3),
            },
        )  # fmt: skip
        return _verdict(arrival)

    def commitment(self, event: evt.Event) -> tuple[int, None]:
        """Take a destination's answer on storage commitment (PS3.4 J.3.3)."""
        try:
            self._spooler.submit(take_report, self._spool, event.event_information).result()
        except SpoolError as error:
            log.error("commitment not recorded", extra={"reason": error.what})
            return _PROCESSING_FAILURE, None
        except Exception as error:
            # pydicom raises whatever it trips over.
            log.warning("commitment not understood", extra={"reason": type(error).__name__})
            return _INVALID_ARGUMENT, None
        log.info("commitment answered")
        return _SUCCESS, None


def _verdict(arrival: Arrival) -> Dataset:
    """Return the status of PS3.4 table B.2-1 for what the spool now has."""
    match arrival.content:
        case ContradictionError() as error:
            return _answer(_DATA_SET_DOES_NOT_MATCH, error.what)
        case RadiographError() as error:
            return _answer(_CANNOT_UNDERSTAND, error.what)
    return _answer(_SUCCESS)


def _answer(status: int, why: str = "") -> Dataset:
    answer = Dataset()
    answer.Status = status
    if why:
        answer.ErrorComment = why[:64]
    return answer
