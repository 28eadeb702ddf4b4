"""A film from a request's body, or from a path, into the spool: by the admission of all films.

Nothing is answered before the film and its place in the queue are on the disk.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from edge_runtime.console.documents import Submitted
from edge_runtime.console.problems import RefusedError
from edge_runtime.errors import RadiographError
from edge_runtime.intake.receiving import ChangedError, IncomingFile, copy_whole
from edge_runtime.intake.understanding import Arrival, enter, understand
from edge_runtime.rejection import RejectionNote
from edge_runtime.spool import FilmState, Spool
from edge_runtime.spool.admission import FilmIdentity, Outcome
from edge_runtime.spool.audit import hashed
from edge_runtime.spool.database import INCOMING

log = logging.getLogger(__name__)

SLOT = "console"
"""The console's own folder among those of files that are coming in."""

# Pieces of a body are put together to this before they are written, bytes.
_CHUNK = 1 << 20


class Submitter:
    """Takes films.

    Parameters
    ----------
    folder
        Of the spool.
    reserve
        Bytes of it that stay free for everything else.
    limit
        Bytes of the largest film.
    submit_from
        Folders from which a film may be taken by its path.
    """

    def __init__(self, folder: Path, reserve: int, limit: int, submit_from: Sequence[Path]) -> None:
        self._folder = folder
        self._incoming = folder / INCOMING / SLOT
        self._reserve = reserve
        self._limit = limit
        self._submit_from = submit_from

    async def take_body(
        self, pieces: AsyncIterator[bytes], said_size: int | None, caller: str
    ) -> Submitted:
        """Take a film from a request's body.

        Parameters
        ----------
        said_size
            Bytes that the body is to have; None: it does not say.

        Raises
        ------
        RefusedError
            It is neither film nor rejection note; it is kept in quarantine.
        SpoolFullError, SpoolError
            Nothing was taken.
        """
        file = await run_in_threadpool(self._reserved, said_size or self._limit)
        try:
            waiting = bytearray()
            async for piece in pieces:
                waiting += piece
                if len(waiting) >= _CHUNK:
                    await run_in_threadpool(file.write, bytes(waiting))
                    waiting.clear()

            def finish() -> Submitted:
                file.write(bytes(waiting))
                file.finish()
                return self._enter(file, caller)

            return await run_in_threadpool(finish)
        finally:
            file.discard()

    def take_path(self, path: Path, caller: str) -> Submitted:
        """Take a film that lies on the disk; it stays where it is.

        Raises
        ------
        RefusedError
            It may not be taken from there, or is neither film nor rejection note.
        SpoolFullError, SpoolError
            Nothing was taken.
        """
        try:
            # The file that was looked at is the one that is read, whatever happens to its name.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (OSError, ValueError):
            raise self._not_from_there() from None
        with ExitStack() as held:
            held.callback(os.close, descriptor)
            status = os.fstat(descriptor)
            really = Path(f"/proc/self/fd/{descriptor}").readlink()
            if not stat.S_ISREG(status.st_mode) or not any(
                really.is_relative_to(folder.resolve()) for folder in self._submit_from
            ):
                raise self._not_from_there()
            if status.st_size > self._limit:
                raise RefusedError(
                    413, f"a file of more than {self._limit >> 20} MiB", "Send single films"
                )
            file = self._reserved(status.st_size)
            held.callback(file.discard)
            try:
                copy_whole(descriptor, file, status.st_size, status.st_mtime_ns, path.name)
            except ChangedError as error:
                raise RefusedError(409, error.what, error.remedy) from None
            return self._enter(file, caller)

    def _reserved(self, size: int) -> IncomingFile:
        return IncomingFile(self._incoming, size, self._reserve)

    def _enter(self, file: IncomingFile, caller: str) -> Submitted:
        arrival = understand(file.path, f"console:{caller}")
        with Spool(self._folder) as spool:
            outcome = enter(spool, arrival)
            submitted = _submitted(spool, arrival, outcome)
        film = submitted.sop_instance_uid
        log.info(
            "received",
            extra={
                "source": arrival.received.source, "size": arrival.received.size,
                "outcome": outcome, "film": None if film is None else hashed(film),
            },
        )  # fmt: skip
        return submitted

    def _not_from_there(self) -> RefusedError:
        # The same for what is not there: nobody is to learn which files are.
        return RefusedError(
            403,
            "no film that may be taken by its path",
            "Put the file below a folder of [console] submit_from, or send its bytes",
        )


def _submitted(spool: Spool, arrival: Arrival, outcome: str) -> Submitted:
    match arrival.content:
        case RadiographError() as error:
            raise RefusedError(422, error.what, error.remedy)
        case RejectionNote():
            return Submitted(sop_instance_uid=None, study_instance_uid=None, state=None, new=True)
        case FilmIdentity() as film:
            row = spool.row(
                "SELECT state FROM film WHERE sop_instance_uid = ? AND content_sha256 = ?",
                film.sop_instance_uid, arrival.received.content_sha256,
            )  # fmt: skip
            assert row is not None
            return Submitted(
                sop_instance_uid=film.sop_instance_uid,
                study_instance_uid=film.study_instance_uid,
                state=FilmState(row["state"]),
                new=outcome != Outcome.DUPLICATE,
            )
