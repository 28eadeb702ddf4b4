"""The durable store of a unit: films as they came, what came of them, and what is still to be sent.

One folder on one file system, with a SQLite database in WAL mode. Every step is one transaction, on
the disk when it returns; a kill or a power cut at any instant loses nothing that was acknowledged
and does nothing twice::

    admission    intake: a film, a rejection note, or what cannot be understood
    work         worker: the next film, its result
    studies      worker: the next study, its report
    notes        worker: rejection notes to write
    documents    objects that were made, and who is to be sent them
    delivery     outbox: the next object for a destination, storage commitment
    withdrawal   corrected, rejected or withdrawn films, and what was made of them
    retention    what is done with and may be deleted
    drift        figures of films, and how blocks of them compared with a reference
    seen         files of watched folders that were dealt with
    states       of a film, and which may follow which
    database     the folder, the SQLite file (schema*.sql), transactions
"""

from edge_runtime.spool.database import Spool
from edge_runtime.spool.states import FilmState

__all__ = ["FilmState", "Spool"]
