"""What people say of studies is kept as it was said, and linked to what the unit had decided."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.errors import (
    FeedbackError,
    ShadowModeError,
    UndecidedStudyError,
    UnknownStudyError,
)
from edge_runtime.feedback.headers import keep_missing_headers
from edge_runtime.feedback.importing import import_reads
from edge_runtime.feedback.reads import add_read, last_verdict, link_reads, named_study
from edge_runtime.spool import audit
from tests.edge_runtime.films import film, save
from tests.edge_runtime.read_units import BUNDLE, DAY, Ward, csv, ward


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Ward]:
    with ward(tmp_path / "spool") as made:
        yield made


def imported(unit: Ward, *lines: str) -> dict[str, int]:
    path = unit.spool.folder.parent / "reads.csv"
    path.write_text(csv(*lines))
    found = import_reads(unit.spool, path)
    assert not found.failures, [str(one) for one in found.failures]
    return {outcome.value: number for outcome, number in found.entered.items()}


def test_a_verdict_is_kept_with_what_the_unit_had_decided(unit: Ward) -> None:
    unit.study("1.2.3", "urgent_review", accession="A-1")
    read_id = add_read(unit.spool, "1.2.3", "disagree", " it is a bone island ", "T. Mbeki")
    (read,) = unit.spool.rows("SELECT * FROM read JOIN read_link ON read_id = id")
    assert read["id"] == read_id
    assert (read["verdict"], read["reading"], read["source"]) == ("disagree", None, "page")
    assert (read["comment"], read["reader"]) == ("it is a bone island", "T. Mbeki")
    assert (read["study_revision"], read["decision"]) == (1, "urgent_review")
    assert read["bundle_sha256"] == BUNDLE
    assert last_verdict(unit.spool, "1.2.3") == "disagree"


def test_a_later_verdict_of_the_same_reader_supersedes_and_both_stay(unit: Ward) -> None:
    unit.study("1.2.3", "urgent_review")
    for verdict, reader in (("agree", "A"), ("not_sure", "B"), ("disagree", "A")):
        add_read(unit.spool, "1.2.3", verdict, "", reader)  # type: ignore[arg-type]
        unit.now += 1
    current = unit.spool.rows("SELECT reader, verdict FROM current_read ORDER BY reader")
    assert [tuple(row) for row in current] == [("A", "disagree"), ("B", "not_sure")]
    assert len(unit.spool.rows("SELECT 1 FROM read")) == 3
    assert last_verdict(unit.spool, "1.2.3") == "disagree"


def test_the_same_click_twice_is_one_read(unit: Ward) -> None:
    unit.study("1.2.3", "urgent_review")
    ids = {add_read(unit.spool, "1.2.3", "agree", "", "A") for _ in range(2)}
    assert len(ids) == 1 and len(unit.spool.rows("SELECT 1 FROM read")) == 1


def test_what_a_verdict_cannot_be_given_on(unit: Ward) -> None:
    with pytest.raises(UnknownStudyError):
        add_read(unit.spool, "1.2.3", "agree", "", "A")
    unit.receive("1.2.3")
    with pytest.raises(UndecidedStudyError):
        add_read(unit.spool, "1.2.3", "agree", "", "A")
    unit.screen("not_flagged")
    with pytest.raises(UndecidedStudyError):
        add_read(unit.spool, "1.2.3", "agree", "", "A")
    unit.report("not_flagged")
    with pytest.raises(FeedbackError, match="nobody is named"):
        add_read(unit.spool, "1.2.3", "agree", "", "  ")
    add_read(unit.spool, "1.2.3", "agree", "", "A")
    assert last_verdict(unit.spool, "1.2.4") is None


def test_what_was_said_in_shadow_mode_has_no_verdicts_also_not_later(tmp_path: Path) -> None:
    with ward(tmp_path / "spool", live=False) as unit:
        unit.study("1.2.3", "urgent_review")
        with pytest.raises(ShadowModeError, match="mode live"):
            add_read(unit.spool, "1.2.3", "agree", "", "A")
        unit.mode(live=True)
        with pytest.raises(ShadowModeError):
            add_read(unit.spool, "1.2.3", "agree", "", "A")
        unit.study("1.2.4", "urgent_review")
        add_read(unit.spool, "1.2.4", "agree", "", "A")
        # Another bundle was let out: what this one says meanwhile leaves nobody.
        unit.mode(live=True, bundle="c" * 64)
        unit.study("1.2.5", "urgent_review")
        with pytest.raises(ShadowModeError):
            add_read(unit.spool, "1.2.5", "agree", "", "A")


def test_the_audit_log_names_readers_and_no_study_or_comment(unit: Ward) -> None:
    unit.study("1.2.826.0.1.3", "urgent_review", accession="ACC-77", patient="PAT-88")
    add_read(unit.spool, "1.2.826.0.1.3", "agree", "Jane Doe's knee", "T. Mbeki")
    imported(
        unit, ",ACC-77,osteosarcoma,Dr A,2026-11-16,Jane Doe", ",ACC-99,benign,Dr B,2026-11-16,"
    )
    audit.verify(unit.spool)
    facts = [entry.facts for entry in audit.entries(unit.spool) if entry.event == "read"]
    assert [one["reader"] for one in facts] == ["T. Mbeki", "Dr A", "Dr B"]
    assert [one["said"] for one in facts] == ["agree", "malignant", "benign"]
    assert facts[0]["study"] == facts[1]["study"] == audit.hashed("1.2.826.0.1.3")
    assert facts[0]["decision"] == "urgent_review" and facts[2]["decision"] is None
    text = str(facts)
    assert not any(word in text for word in ("Jane", "ACC-", "PAT-88", "1.2.826"))


def test_a_read_waits_for_its_study(unit: Ward) -> None:
    assert imported(unit, ",A-1,benign,Dr A,2026-11-16,", "1.2.4,,no tumour,Dr A,2026-11-16,") == {
        "unlinked": 2
    }
    assert link_reads(unit.spool) == 0
    unit.receive("1.2.3", accession="A-1")
    unit.screen("not_flagged")
    assert link_reads(unit.spool) == 0, "nothing is decided yet"
    unit.report("not_flagged")
    unit.study("1.2.4", "urgent_review")
    assert link_reads(unit.spool) == 2
    assert link_reads(unit.spool) == 0
    links = unit.spool.rows("SELECT study_instance_uid, decision FROM read_link ORDER BY read_id")
    assert [tuple(row) for row in links] == [("1.2.3", "not_flagged"), ("1.2.4", "urgent_review")]
    events = [entry.event for entry in audit.entries(unit.spool)]
    assert events.count("read linked") == 2


def test_a_reading_stays_with_the_decision_that_it_was_made_on(unit: Ward) -> None:
    unit.study("1.2.3", "not_flagged", accession="A-1")
    imported(unit, ",A-1,benign,Dr A,2026-11-16,")
    unit.receive("1.2.3", accession="A-1", view="LAT")
    unit.screen("urgent_review")
    unit.report("urgent_review")
    imported(unit, ",A-1,malignant,Dr B,2026-11-17,")
    links = unit.spool.rows("SELECT study_revision, decision FROM read_link ORDER BY read_id")
    assert [tuple(row) for row in links] == [(1, "not_flagged"), (2, "urgent_review")]


def test_the_newest_reading_that_says_something_counts(unit: Ward) -> None:
    def counts() -> list[tuple[object, ...]]:
        rows = unit.spool.rows("SELECT study_instance_uid, reading, reader FROM study_reading")
        return [tuple(row) for row in rows]

    unit.study("1.2.3", "not_flagged")
    imported(unit, "1.2.3,,benign,Dr A,2026-11-10T10:00,")
    imported(unit, "1.2.3,,not sure,Dr B,2026-11-12T10:00,")
    assert counts() == [("1.2.3", "benign", "Dr A")]
    # An older one that comes later changes nothing.
    imported(unit, "1.2.3,,no tumour,Dr C,2026-11-09T10:00,")
    assert counts() == [("1.2.3", "benign", "Dr A")]
    # A reader who is not sure any more takes back what they said.
    imported(unit, "1.2.3,,not sure,Dr A,2026-11-13T10:00,")
    assert counts() == [("1.2.3", "no_tumour", "Dr C")]
    # A verdict from the page is no reading, and takes none back.
    add_read(unit.spool, "1.2.3", "agree", "", "Dr C")
    assert counts() == [("1.2.3", "no_tumour", "Dr C")]


def test_studies_are_found_by_either_number(unit: Ward) -> None:
    unit.study("1.2.3", "not_flagged", accession="A-1")
    assert named_study(unit.spool, "A-1") == named_study(unit.spool, "1.2.3") == "1.2.3"
    with pytest.raises(UnknownStudyError):
        named_study(unit.spool, "A-2")
    with pytest.raises(UnknownStudyError):
        named_study(unit.spool, "")
    unit.study("1.2.4", "not_flagged", accession="A-1")
    with pytest.raises(FeedbackError, match="2 studies"):
        named_study(unit.spool, "A-1")


def test_a_read_that_became_ambiguous_stays_unlinked(unit: Ward) -> None:
    imported(unit, ",A-1,benign,Dr A,2026-11-16,")
    unit.study("1.2.3", "not_flagged", accession="A-1")
    unit.study("1.2.4", "not_flagged", accession="A-1")
    assert link_reads(unit.spool) == 0
    assert unit.spool.rows("SELECT 1 FROM read_link") == []


def test_headers_of_films_of_before_are_kept_as_far_as_they_lie_there(
    unit: Ward, tmp_path: Path
) -> None:
    made = film(AccessionNumber="A-9", PatientID="P-9")
    data = save(made, tmp_path / "film.dcm").read_bytes()
    unit.study("1.2.3", "not_flagged", accession="A-9", data=data)
    unit.study("1.2.4", "not_flagged", accession="A-8")
    unit.study("1.2.5", "not_flagged", accession="A-7")
    with unit.spool.transaction() as execute:
        execute("DELETE FROM film_header")
        execute("UPDATE film SET removed_at = ? WHERE study_instance_uid = '1.2.5'", unit.now + DAY)
    assert keep_missing_headers(unit.spool) == 2
    assert keep_missing_headers(unit.spool) == 0
    assert named_study(unit.spool, "A-9") == "1.2.3"
    kept = unit.spool.rows("SELECT accession_number, patient_id FROM film_header ORDER BY film_id")
    assert [tuple(row) for row in kept] == [("A-9", "P-9"), ("", "")]
