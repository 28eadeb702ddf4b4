"""Which bundles serve, and what leaves the unit: refused bundles, shadow mode, live."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest

from edge_runtime.bundle import generate_key, load_bundle, sign_bundle, write_bundle
from edge_runtime.screening import Screening
from edge_runtime.spool.audit import entries, hashed
from tests.conftest import Trained, must, osteoedge
from tests.e2e.archived import RESULTS, Archived, archived, rejected_by
from tests.e2e.serving import ServedUnit
from tests.processes import until

WHO = ("--by", "Dr M. Weber", "--reason", "pilot approved, protocol 12")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("unsigned", "not signed"),
        ("foreign", "not trusted"),
        ("demo", "a demonstration, trained on drawings, never serves"),
    ],
)
def test_a_bundle_that_may_not_serve_is_refused(
    trained: Trained, tmp_path: Path, what: str, words: str
) -> None:
    unit = ServedUnit(
        tmp_path, trained.bundle, live=False, purpose="demo" if what == "demo" else "evaluated"
    )
    path = unit.unit.bundle.path
    if what != "demo":
        bundle = load_bundle(path)
        write_bundle(path, bundle.manifest, bundle.content)
    if what == "foreign":
        generate_key(tmp_path / "stranger")
        sign_bundle(path, tmp_path / "stranger")
    refused = osteoedge("serve", "--config", unit.toml)
    assert refused.returncode == 3, refused.stderr
    (line,) = refused.stderr.splitlines()
    assert words in line and path.name in line
    assert not refused.stdout
    assert not unit.pids()


def test_a_research_bundle_stores_and_audits_and_sends_nothing(
    trained: Trained, tmp_path: Path
) -> None:
    with archived(
        tmp_path, trained, [*RESULTS, "original"], purpose="research", live=False
    ) as unit:
        path = unit.film("film")
        unit.send(path)
        film = pydicom.dcmread(path)
        (result,) = unit.rows("SELECT * FROM result")
        screening = Screening.model_validate_json(result["document"])
        assert screening.lesions and screening.source.sop_instance_uid == film.SOPInstanceUID
        documents = unit.rows("SELECT * FROM document")
        assert {one["kind"] for one in documents} == set(RESULTS)
        assert all((unit.unit.spool_folder / one["path"]).is_file() for one in documents)
        with unit.unit.spool() as spool:
            (told,) = [entry for entry in entries(spool) if entry.event == "screened"]
        assert told.facts["film"] == hashed(film.SOPInstanceUID)
        assert told.facts["decision"] == screening.decision

        assert not unit.rows("SELECT * FROM delivery")
        assert not unit.archive.uids()
        status = _status(unit)
        assert [one["decision"] for one in status["last_results"]] == [None]
        refused = osteoedge("mode", "live", "--config", unit.unit.toml, *WHO)
        assert refused.returncode == 3
        assert "a research bundle does not leave shadow mode" in refused.stderr
        assert _status(unit)["mode"]["mode"] == "shadow"


def test_a_named_person_lets_results_out_and_stops_them(trained: Trained, tmp_path: Path) -> None:
    with archived(tmp_path, trained, live=False) as unit:
        before, live, late = (unit.film(name, n) for n, name in enumerate(("a", "b", "c")))
        unit.send(before)
        for nobody in (WHO[:2], WHO[2:], ("--by", " ", *WHO[2:]), (*WHO[:2], "--reason", "")):
            assert osteoedge("mode", "live", "--config", unit.unit.toml, *nobody).returncode == 2
        assert _status(unit)["mode"]["mode"] == "shadow"

        must(osteoedge("mode", "live", "--config", unit.unit.toml, *WHO))
        unit.send(live)
        results = unit.uids(live, *RESULTS)
        assert len(results) == 3
        assert unit.archive.uids() == results, "what was made in shadow mode stays"
        with unit.unit.spool() as spool:
            (told,) = [entry for entry in entries(spool) if entry.event == "mode"]
        assert (told.facts["person"], told.facts["reason"]) == (WHO[1], WHO[3])

        # What waits for the network when the unit returns to shadow mode waits on.
        unit.archive.stop()
        assert unit.unit.send(late) == 0
        waits = "SELECT 1 FROM delivery WHERE state IN ('waiting', 'sending')"
        until(lambda: len(unit.rows(waits)) == 3, "screened and reported")
        must(osteoedge("mode", "shadow", "--config", unit.unit.toml, *WHO))
        unit.archive.start()
        # Not so a rejection note.
        must(
            osteoedge(
                "withdraw", pydicom.dcmread(live).SOPInstanceUID, "--config", unit.unit.toml,
                "--reason", "quality", "--by", "Dr M. Weber",
            )
        )  # fmt: skip
        until(lambda: unit.stored(live, "ko"), "the rejection note")
        (note,) = unit.stored(live, "ko")
        assert rejected_by(note) == results
        assert unit.archive.uids() == results | {note.SOPInstanceUID}
        assert _status(unit)["destinations"]["pacs"]["waiting"] == 3

        must(osteoedge("mode", "live", "--config", unit.unit.toml, *WHO))
        unit.settle()
        assert len(unit.uids(late, *RESULTS)) == 3
        assert not unit.uids(before, *RESULTS)


def _status(unit: Archived) -> dict[str, dict[str, object]]:
    said = must(osteoedge("status", "--config", unit.unit.toml, "--json"))
    told: dict[str, dict[str, object]] = json.loads(said.stdout)
    return told
