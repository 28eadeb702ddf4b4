"""Logs without protected health information: one JSON object a line, on stderr, for journald.

Our own code logs a fixed sentence and facts in ``extra``, of which only those in ``FIELDS`` are
written. What other libraries log is written as its place alone: values of headers in it can be
names. So can the messages of exceptions; they are written as type and place.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from edge_runtime.errors import OsteoedgeError, RadiographError
from edge_runtime.spool.audit import hashed

OURS = "edge_runtime"
# Of ``extra``, what may be written. Film, study, object and file: what ``hashed`` makes of a UID,
# or of a file's path, which may hold a name. Role: which of the unit's processes. Request: its
# method and route, without what was filled in.
FIELDS = (
    "film", "study", "object", "kind", "outcome", "source", "destination", "status", "reason",
    "attempts", "size", "freed_bytes", "wait_s", "seconds", "role", "exit_code", "port", "audit",
    "slot", "peer", "file", "files", "folder", "request",
)  # fmt: skip
_FOREIGN = ("pydicom", "highdicom", "dicomweb_client", "urllib3")
# It tells of all that a peer does wrong, several times: a scan of ports would fill the log. Whom we
# refuse, and why, our own code says.
_SILENT = "pynetdicom"
# A UID (PS3.5 9.1), longer than any version number or address.
_UID = re.compile(r"\b[0-2](?:\.\d+){5,}\b")
_PACKAGE = Path(__file__).resolve().parent.parent


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object, without anything that could tell of a patient."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
        }
        if _is_ours(record.name):
            # The sentence as it stands in the source, without what it was to be filled with.
            line["event"] = _without_uids(str(record.msg))
            for field in FIELDS:
                if (value := getattr(record, field, None)) is not None:
                    line[field] = _plain(value)
        else:
            line["event"] = "told by a library"
            line["place"] = f"{record.name}:{record.funcName}:{record.lineno}"
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = told(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def told(error: BaseException) -> str:
    """Return what a log may say of an exception: type, place, and no value of a film.

    Of an error of ours that is not about one film, also what happened.
    """
    words = type(error).__name__
    if isinstance(error, OsteoedgeError) and not isinstance(error, RadiographError):
        words += f" ({_without_uids(error.what)})"
    trace, place = error.__traceback__, None
    while trace is not None:
        code = trace.tb_frame.f_code
        file = Path(code.co_filename)
        # The deepest of our own frames says more than the depths of a library.
        if place is None or _PACKAGE in file.parents:
            place = f"{file.parent.name}/{file.name}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return f"{words} at {place}" if place else words


def configure_logging(level: int | str = logging.INFO) -> None:
    """Send this process's logs, warnings and uncaught exceptions to stderr, as JSON.

    Parameters
    ----------
    level
        Of our own loggers; those of libraries speak from WARNING on, pynetdicom never.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(lambda record: _is_ours(record.name) or record.levelno >= logging.WARNING)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(level)
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger(_SILENT).setLevel(logging.CRITICAL + 1)
    # A full disk or a closed pipe is no reason for logging to print the record itself.
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda hook: _uncaught(hook.exc_type, hook.exc_value, hook.exc_traceback)
    sys.unraisablehook = lambda hook: _uncaught(hook.exc_type, hook.exc_value, hook.exc_traceback)


def _uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    if error is not None and not issubclass(kind, SystemExit):
        logging.getLogger(OURS).critical("not caught", exc_info=(kind, error, trace))


def _is_ours(logger: str) -> bool:
    return logger.split(".")[0] == OURS


def _plain(value: object) -> object:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    # A value of another type, such as a header's, is not looked into.
    return _without_uids(value) if isinstance(value, str) else type(value).__name__


def _without_uids(text: str) -> str:
    return _UID.sub(lambda uid: hashed(uid[0]), text)
