"""What the spool keeps of films to notice drift: figures of films, verdicts on blocks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_runtime.drift.reference import BLOCK, MEASURES, DriftReference, Measure, reference_of
from edge_runtime.spool.database import Execute, Spool


@dataclass(frozen=True)
class WatchedFilm:
    """A film's figures.

    Attributes
    ----------
    bundle_sha256
        Of the bundle that it was screened with.
    values
        Of :func:`edge_runtime.drift.reference.film_values`; empty where it could not be read.
    """

    bundle_sha256: str
    values: Mapping[Measure, float]


def watch_film(
    execute: Execute, now: float, film_id: int, study_instance_uid: str, unable: bool,
    watched: WatchedFilm,
) -> None:  # fmt: skip
    """Record a film's figures, within a transaction; of a study only those of its first film."""
    execute(
        f"INSERT INTO drift_film (bundle_sha256, number, study_instance_uid, film_id, unable, "
        f"{', '.join(MEASURES)}, at) SELECT ?, COALESCE(MAX(number), 0) + 1, ?, ?, ?, "
        f"{', '.join('?' for _ in MEASURES)}, ? FROM drift_film WHERE bundle_sha256 = ? "
        "ON CONFLICT (bundle_sha256, study_instance_uid) DO NOTHING",
        watched.bundle_sha256, study_instance_uid, film_id, unable,
        *(watched.values.get(measure) for measure in MEASURES), now, watched.bundle_sha256,
    )  # fmt: skip


def watched_studies(spool: Spool, bundle_sha256: str) -> int:
    """Return how many studies there are figures of."""
    row = spool.row("SELECT MAX(number) FROM drift_film WHERE bundle_sha256 = ?", bundle_sha256)
    return 0 if row is None else row[0] or 0


def films_of_blocks(spool: Spool, bundle_sha256: str, first: int, last: int) -> DriftReference:
    """Return the films of whole blocks, 1 being the first, as figures."""
    rows = spool.rows(
        "SELECT * FROM drift_film WHERE bundle_sha256 = ? AND number > ? AND number <= ?",
        bundle_sha256, (first - 1) * BLOCK, last * BLOCK,
    )  # fmt: skip
    films: list[Mapping[Measure, float]] = [
        {measure: row[measure] for measure in MEASURES if row[measure] is not None} for row in rows
    ]
    return reference_of(films, unable=sum(row["unable"] for row in rows))
