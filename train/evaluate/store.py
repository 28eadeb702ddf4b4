"""Answers of one model, kept film by film: an evaluation that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import cast

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle import LABELS
from edge_runtime.decision import Decision

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    film TEXT, variant TEXT, decision TEXT NOT NULL,
    no_tumour REAL NOT NULL, benign REAL NOT NULL, malignant REAL NOT NULL,
    film_rows INTEGER NOT NULL, film_columns INTEGER NOT NULL,
    mask_rows INTEGER, mask_columns INTEGER, mask BLOB,
    PRIMARY KEY (film, variant)
)
"""


@dataclass(frozen=True)
class Answer:
    """What a model says of one film.

    Attributes
    ----------
    probabilities
        no_tumour, benign, malignant, 0..1.
    shape
        (rows, columns) of the film.
    mask_logits
        (rows, columns) of the mask head, float32; None where it was not kept.
    """

    decision: Decision
    probabilities: tuple[float, float, float]
    shape: tuple[int, int]
    mask_logits: npt.NDArray[np.float32] | None


class AnswerStore:
    """Answers in one SQLite file, each written as one transaction.

    Parameters
    ----------
    folder
        Where the file lies; made where it is absent.
    model
        The hash that names the model. Code that reads films and decides is part of the file's
        name as well: answers of another version of it are never taken for this one's.
    """

    def __init__(self, folder: Path, model: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{model[:16]}-{_code_sha256()[:12]}.sqlite"
        self._database = sqlite3.connect(self.path, isolation_level=None)
        # A power cut may cost the last answers, never the file; syncing each would cost more.
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(_SCHEMA)

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()

    def get(self, film: str, variant: str) -> Answer | None:
        """Return the answer for a film's SHA-256 and a variant of it, None where it is not kept."""
        row = self._database.execute(
            "SELECT decision, no_tumour, benign, malignant, film_rows, film_columns, mask_rows,"
            " mask_columns, mask FROM answers WHERE film = ? AND variant = ?",
            (film, variant),
        ).fetchone()
        if row is None:
            return None
        mask = None
        if row[8] is not None:
            mask = np.frombuffer(zlib.decompress(row[8]), np.float32).reshape(row[6], row[7])
        return Answer(cast(Decision, row[0]), (row[1], row[2], row[3]), (row[4], row[5]), mask)

    def put(self, film: str, variant: str, answer: Answer) -> None:
        """Keep an answer; one that is there is replaced."""
        mask = answer.mask_logits
        shape = (None, None) if mask is None else mask.shape
        blob = None if mask is None else zlib.compress(mask.astype(np.float32).tobytes(), 1)
        values = (film, variant, answer.decision, *answer.probabilities, *answer.shape)
        self._database.execute(
            "INSERT OR REPLACE INTO answers VALUES (?,?,?,?,?,?,?,?,?,?,?)", (*values, *shape, blob)
        )


def _code_sha256() -> str:
    """Return the hash of the device's code: what reads, preprocesses, runs and decides."""
    digest = hashlib.sha256(",".join(LABELS).encode())
    for name in ("radiograph", "context", "preprocess", "decision", "quality", "screener"):
        digest.update((files("edge_runtime") / f"{name}.py").read_bytes())
    return digest.hexdigest()
