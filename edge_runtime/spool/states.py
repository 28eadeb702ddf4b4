"""The states of a film on the unit, and which may follow which."""

from __future__ import annotations

from enum import StrEnum


class FilmState(StrEnum):
    """Where a film is."""

    RECEIVED = "received"  # durable, waits to be screened
    SCREENING = "screening"  # the worker has it
    REPORTED = "reported"  # has a result that the network gave
    UNABLE = "unable"  # has a result that says: a person must look
    DELIVERED = "delivered"  # its results are where they were to go
    FAILED = "failed"  # something but the film is at fault; tried again
    QUARANTINED = "quarantined"  # ended the worker three times; has a result that says `unable`
    SUPERSEDED = "superseded"  # the same instance came with other content
    WITHDRAWN = "withdrawn"  # rejected by the console or a person


# A film that was begun this often, and never ended, ends the worker; it is set aside.
MAX_STARTS = 3

_S = FilmState
ENDED = (_S.REPORTED, _S.UNABLE, _S.QUARANTINED)
"""Has a result that is not delivered yet."""
TAKEN_BACK = (_S.SUPERSEDED, _S.WITHDRAWN)
"""Is not a film of its study any more."""

FOLLOWERS: dict[FilmState, frozenset[FilmState]] = {
    _S.RECEIVED: frozenset({_S.SCREENING, *TAKEN_BACK}),
    # Back to received: the worker was ended in the middle of it.
    _S.SCREENING: frozenset({_S.RECEIVED, _S.FAILED, *ENDED, *TAKEN_BACK}),
    _S.FAILED: frozenset({_S.SCREENING, *TAKEN_BACK}),
    # Back to received: another bundle or software is to screen it.
    _S.REPORTED: frozenset({_S.DELIVERED, _S.RECEIVED, *TAKEN_BACK}),
    _S.UNABLE: frozenset({_S.DELIVERED, _S.RECEIVED, *TAKEN_BACK}),
    _S.QUARANTINED: frozenset({_S.DELIVERED, _S.RECEIVED, *TAKEN_BACK}),
    _S.DELIVERED: frozenset({_S.RECEIVED, *TAKEN_BACK}),
    _S.SUPERSEDED: frozenset({_S.WITHDRAWN}),
    _S.WITHDRAWN: frozenset(),
}
