"""The spool's folder and its SQLite file: open, migrate, one transaction a step."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from types import TracebackType

from edge_runtime.errors import SpoolError, SpoolFullError
from edge_runtime.files import write_atomically
from edge_runtime.spool.states import FOLLOWERS

DATABASE = "spool.db"
INCOMING, FILMS, RESULTS, QUARANTINE = "incoming", "films", "results", "quarantine"
OUTGOING = "outgoing"
# schema.sql is version 1; what each later version adds is schema_2.sql and so on.
SCHEMA_VERSION = 3
# The longest that a writer waits for another: their transactions take milliseconds.
_BUSY_S = 30.0
# The write-ahead log is cut back to this once it is written into the database.
_WAL_LIMIT = 16 << 20

Execute = Callable[..., sqlite3.Cursor]


class Spool:
    """The durable job store of a unit.

    A folder with the database, the films as they came (named by their content), results, what could
    not be understood, and what is being received. Every process opens its own; not thread-safe.

    Parameters
    ----------
    folder
        Made where it is missing. All of it is one file system, so that a rename is atomic.
    clock
        UTC seconds since 1970.

    Raises
    ------
    SpoolError
        The folder cannot be used, or a newer osteoedge wrote the database.
    SpoolFullError
        No space is left.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.clock = clock
        with self._explained():
            # What lies here are patients' films: for the service's own user alone.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in (INCOMING, FILMS, RESULTS, QUARANTINE, OUTGOING):
                (folder / name).mkdir(mode=0o700, exist_ok=True)
            self._connection = sqlite3.connect(
                folder / DATABASE, timeout=_BUSY_S, isolation_level=None
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            # A commit is on the disk when it returns: success is answered on the strength of it.
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
        self._migrate()

    def __enter__(self) -> Spool:
        """Return this spool."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def now(self) -> float:
        """Return UTC seconds since 1970."""
        return self.clock()

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Return what a query finds."""
        with self._explained():
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        """Return the first row that a query finds."""
        with self._explained():
            found: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return found

    def setting(self, key: str) -> str | None:
        """Return what was last set, None where nothing was."""
        found = self.row("SELECT value FROM setting WHERE key = ?", key)
        return None if found is None else str(found["value"])

    def write(self, path: Path, content: bytes) -> None:
        """Write a file below the spool's folder; it is durable, or not there, when this returns.

        Raises
        ------
        SpoolFullError, SpoolError
            The disk does not hold it.
        """
        with self._explained():
            write_atomically(path, content)
            sync_folder(path.parent)

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """Give a function that executes SQL; all of it is durable at the end, or none of it.

        The writers' lock is held from the start: what is read in here stays true until the end.
        """
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield lambda sql, *values: self._connection.execute(sql, values)
                self._connection.execute("COMMIT")
            except BaseException:
                # Where the disk was full, SQLite may have rolled back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _migrate(self) -> None:
        # Nothing is written where nothing changed: a full disk can still be opened, and looked at.
        version = self.rows("PRAGMA user_version")[0][0]
        if version == SCHEMA_VERSION and {*map(tuple, self.rows("SELECT * FROM transition"))} == {
            (old, new) for old, followers in FOLLOWERS.items() for new in followers
        }:
            return
        with self.transaction() as execute:
            version = execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise SpoolError(
                    f"was written by a newer osteoedge (schema {version})",
                    "Install that version, or give another folder",
                    str(self.folder),
                )
            for newer in range(version + 1, SCHEMA_VERSION + 1):
                for statement in _statements(_schema(newer)):
                    execute(statement)
            execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            execute("DELETE FROM transition")
            for old, followers in FOLLOWERS.items():
                for new in sorted(followers):
                    execute("INSERT INTO transition VALUES (?, ?)", old, new)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            # The second: no space for the index of the write-ahead log, made by the first to open.
            if error.sqlite_errorcode in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE):
                raise self._full() from None
            raise SpoolError(
                f"the database cannot be used ({error})",
                "Check the disk and the permissions of the spool",
                str(self.folder),
            ) from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            raise SpoolError(
                f"the database is damaged ({error})",
                "Move the spool aside and send its films again",
                str(self.folder),
            ) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._full() from None
            raise SpoolError(
                f"cannot be used ({error.strerror})",
                "Check the disk and the permissions",
                str(self.folder),
            ) from error

    def _full(self) -> SpoolFullError:
        return SpoolFullError("the disk is full", "Make space on it", str(self.folder))


def set_settings(execute: Execute, told: Mapping[str, str]) -> None:
    """Set what :meth:`Spool.setting` returns, within a transaction."""
    for key, value in told.items():
        execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", key, value)


def utc(seconds: float) -> datetime:
    """Return a time as rows have it, seconds since 1970, with its zone."""
    return datetime.fromtimestamp(seconds, UTC)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _schema(version: int) -> str:
    """Return the script that makes a version of the one before it."""
    name = "schema.sql" if version == 1 else f"schema_{version}.sql"
    return resources.files("edge_runtime.spool").joinpath(name).read_text("utf-8")


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script, each whole: a trigger has semicolons inside."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
