"""The queue under a long history: that the history is one, and that every step is measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.spool import fill, fill_drift, fill_headers, measure
from edge_runtime.spool import FilmState, Spool
from edge_runtime.spool.work import begin
from edge_runtime.unit import figures


def test_every_operation_is_measured_on_both_spools(tmp_path: Path) -> None:
    spools = {name: Spool(tmp_path / name) for name in ("empty", "full")}
    fill(spools["full"], 2000)
    fill_headers(spools["full"])
    fill_drift(spools["full"])
    for table in ("film_header", "drift_film"):
        assert spools["full"].rows(f"SELECT COUNT(*) FROM {table}")[0][0] == 2000
    found = figures.films_by_state(spools["full"])
    assert found[FilmState.DELIVERED] == sum(found.values()) == 2000
    assert figures.deliveries_by_state(spools["full"]) == {("pacs", "sent"): 4000}
    assert figures.studies(spools["full"]) == (2000, 0)
    stored = spools["full"].row("SELECT COUNT(*) FROM film WHERE removed_at IS NULL")
    assert stored is not None and 1730 < stored[0] < 1750, "a month but today"
    for spool in spools.values():
        begin(spool, "work", "boot")
    taken = measure(spools, 2)
    assert taken["empty"].keys() == taken["full"].keys()
    assert {"admit", "finish", "delivered", "status: studies", "tidy"} <= taken["full"].keys()
    assert len(taken["full"]["delivered"]) == 4
    for name, spool in spools.items():
        assert figures.films_by_state(spool)[FilmState.DELIVERED] == (2002 if name == "full" else 2)
        spool.close()
