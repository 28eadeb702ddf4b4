"""Storage commitment (PS3.4 annex J): the destination says that it will keep what it has.

It is asked by N-ACTION, and answers by N-EVENT-REPORT: on the same association where it is quick,
else on one of its own to the unit's service, or never, as where the unit is offline by then. So it
is asked again.
"""

from __future__ import annotations

import logging
import threading

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from edge_runtime.dicom_header import items, text
from edge_runtime.spool import Spool
from edge_runtime.spool.delivery import (
    commitment_answered,
    commitment_asked,
    commitment_overdue,
    uncommitted,
)

_log = logging.getLogger(__name__)

_REQUEST = 1  # PS3.4 J.3.2.1.1, action type
# One request names so many objects: 20 kB.
_AT_ONCE = 200
# The answer is awaited on the same association, and then elsewhere.
_LINGER_S = 10.0
_OVERDUE_S = 3600.0


class Commitment:
    """Asks one destination.

    Parameters
    ----------
    spool
        Of the thread that sends.
    destination
        Its name.
    """

    def __init__(self, spool: Spool, destination: str) -> None:
        self._spool = spool
        self._destination = destination
        self._answered = threading.Event()

    def context(self) -> PresentationContext:
        """Return what is to be negotiated."""
        return build_context(StorageCommitmentPushModel)

    def handlers(self) -> list[evt.EventHandlerType]:
        """Return what is to be bound to the association."""
        return [(evt.EVT_N_EVENT_REPORT, self._report)]

    def is_due(self) -> bool:
        """Return whether there is something to ask for."""
        commitment_overdue(self._spool, self._destination, _OVERDUE_S)
        return bool(uncommitted(self._spool, self._destination, 1))

    def ask(self, association: Association) -> None:
        """Ask, and wait a little for the answer."""
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        if StorageCommitmentPushModel not in accepted:
            _log.warning(
                "the destination gives no storage commitment: nothing of it will be deleted",
                extra={"destination": self._destination},
            )
            return
        while association.is_established and (
            sent := uncommitted(self._spool, self._destination, _AT_ONCE)
        ):
            transaction = generate_uid(None)
            request = Dataset()
            request.TransactionUID = transaction
            request.ReferencedSOPSequence = [
                _reference(one.sop_class_uid, one.sop_instance_uid) for one in sent
            ]
            # Before it is asked: the answer may be faster than we are.
            commitment_asked(self._spool, transaction, sent)
            self._answered.clear()
            status, _ = association.send_n_action(
                request, _REQUEST, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
            if getattr(status, "Status", None) != 0x0000:
                _log.warning(
                    "storage commitment refused",
                    extra={
                        "destination": self._destination,
                        "status": getattr(status, "Status", None),
                    },
                )
                return
            self._answered.wait(_LINGER_S)

    def _report(self, event: evt.Event) -> tuple[int, None]:
        # In pynetdicom's thread: with a spool of its own, and durable before it is answered.
        with Spool(self._spool.folder, self._spool.clock) as spool:
            take_report(spool, event.event_information)
        self._answered.set()
        return 0x0000, None


def take_report(spool: Spool, information: Dataset) -> None:
    """Record the event information of an N-EVENT-REPORT (PS3.4 table J.3-2).

    A report of a transaction that is not known, or was asked for anew, changes nothing.

    Raises
    ------
    ValueError
        It does not say of which transaction.
    """
    transaction = text(information, "TransactionUID")
    if transaction is None:
        raise ValueError("a report without Transaction UID")
    commitment_answered(
        spool,
        transaction,
        _instances(information, "ReferencedSOPSequence"),
        _instances(information, "FailedSOPSequence"),
    )


def _instances(information: Dataset, keyword: str) -> list[str]:
    uids = (text(item, "ReferencedSOPInstanceUID") for item in items(information, keyword))
    return [uid for uid in uids if uid is not None]


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
