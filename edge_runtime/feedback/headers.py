"""Headers of films that came before the spool kept anything of them."""

from __future__ import annotations

from edge_runtime.errors import RadiographError
from edge_runtime.intake.header import read_film_header
from edge_runtime.spool import Spool
from edge_runtime.spool.admission import FilmHeader, keep_header


def keep_missing_headers(spool: Spool) -> int:
    """Keep what reads and lists need of films whose file still lies there; return of how many."""
    missing = spool.rows(
        "SELECT f.id, f.path FROM film f WHERE f.removed_at IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM film_header h WHERE h.film_id = f.id)"
    )
    kept = 0
    for film in missing:
        try:
            header = read_film_header(spool.folder / film["path"])
        except RadiographError:
            # Nothing can be read of it now, nor will be: a film is never written again.
            header = FilmHeader()
        except OSError:
            continue
        with spool.transaction() as execute:
            if not execute("SELECT 1 FROM film_header WHERE film_id = ?", film["id"]).fetchone():
                keep_header(execute, film["id"], header)
                kept += 1
    return kept
