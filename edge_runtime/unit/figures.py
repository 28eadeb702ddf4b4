"""Figures that the spool tells of the unit's work, for `osteoedge status` and for Prometheus."""

from __future__ import annotations

from edge_runtime.spool import FilmState, Spool


def films_by_state(spool: Spool) -> dict[str, int]:
    """Return how many films are in each state, those in none as 0."""
    found = spool.rows("SELECT key, number FROM tally WHERE what = 'film'")
    return {state.value: 0 for state in FilmState} | {row["key"]: row["number"] for row in found}


def oldest_waiting_s(spool: Spool) -> float | None:
    """Return for how many seconds the oldest film has waited to be screened; None: none waits."""
    # Literals: with parameters SQLite would not see that the index film_waiting will do. Without it
    # being named, it would go through all films in the order that they came.
    row = spool.row(
        "SELECT MIN(received_at) AS since FROM film INDEXED BY film_waiting "
        "WHERE state IN ('received', 'failed')"
    )
    if row is None or row["since"] is None:
        return None
    # The clock may have been put back.
    return max(0.0, spool.now() - float(row["since"]))


def screenings_by_decision(spool: Spool) -> dict[str, int]:
    """Return how often each decision was made, also of results that were replaced."""
    decisions = ("urgent_review", "routine_review", "not_flagged", "unable")
    found = spool.rows("SELECT key, number FROM tally WHERE what = 'result'")
    return dict.fromkeys(decisions, 0) | {row["key"]: row["number"] for row in found}


def studies(spool: Spool) -> tuple[int, int]:
    """Return how many studies there are, and how many of them wait for a report."""
    total = spool.row("SELECT number FROM tally WHERE what = 'study'")
    unreported = spool.rows("SELECT COUNT(*) FROM study WHERE reported < revision")
    return 0 if total is None else total["number"], unreported[0][0]


def deliveries_by_state(spool: Spool) -> dict[tuple[str, ...], int]:
    """Return how many deliveries there are, by destination and state."""
    found = spool.rows("SELECT destination, key, number FROM tally WHERE what = 'delivery'")
    return {(row["destination"], row["key"]): row["number"] for row in found}


def sent_bytes(spool: Spool) -> dict[str, int]:
    """Return bytes of all objects that were ever sent, by destination."""
    found = spool.rows("SELECT destination, number FROM tally WHERE what = 'sent'")
    return {row["destination"]: row["number"] for row in found}


def sent_bytes_since(spool: Spool, since: float) -> dict[str, int]:
    """Return bytes of the objects that were sent lately, by destination.

    Parameters
    ----------
    since
        UTC seconds since 1970.
    """
    found = spool.rows(
        "SELECT destination, SUM(size) AS bytes FROM delivery INDEXED BY delivery_sent "
        "WHERE sent_at >= ? GROUP BY 1",
        since,
    )
    return {row["destination"]: row["bytes"] for row in found}


def quarantined(spool: Spool) -> dict[str, int]:
    """Return what was set aside, by reason: files that are no films, and films."""
    found = spool.rows(
        "SELECT reason, COUNT(*) AS files FROM ("
        "  SELECT reason FROM quarantine UNION ALL"
        "  SELECT COALESCE(reason, 'ended the worker') FROM film WHERE state = 'quarantined'"
        ") GROUP BY 1 ORDER BY 2 DESC",
    )
    return {row["reason"]: row["files"] for row in found}
