"""The weekly report: every figure of a week that is known, and a page that tells it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import date, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from scipy.stats import binomtest

from benchmarks.spool import fill
from edge_runtime.errors import ConfigError
from edge_runtime.feedback.importing import import_reads
from edge_runtime.feedback.intervals import share
from edge_runtime.feedback.page import html_page
from edge_runtime.feedback.reads import add_read
from edge_runtime.feedback.recall import close_case
from edge_runtime.feedback.report import FeedbackReport, weekly_report
from edge_runtime.feedback.week import parse_week, week_at
from edge_runtime.rejection import Reason
from edge_runtime.spool import Spool, audit
from edge_runtime.spool.withdrawal import withdraw
from tests.conftest import must, osteoedge
from tests.edge_runtime.films import film, save
from tests.edge_runtime.read_units import DAY, WEEK, Ward, csv, ward
from tests.edge_runtime.test_feedback_import import unit_file

FORBIDDEN = re.compile(r"\b(normal|clear|no finding)\b", re.IGNORECASE)


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Ward]:
    with ward(tmp_path / "spool") as made:
        yield made


def read(unit: Ward, *lines: str) -> None:
    path = unit.spool.folder.parent / "reads.csv"
    path.write_text(csv(*lines))
    found = import_reads(unit.spool, path)
    assert not found.failures, [str(one) for one in found.failures]


def told(unit: Ward, week: str = WEEK, *, with_names: bool = False) -> FeedbackReport:
    return weekly_report(unit.spool, "ward-3", parse_week(week), with_names=with_names)


# --- weeks and intervals


def test_weeks_are_those_of_iso_8601() -> None:
    week = parse_week("2026-W47")
    assert week.monday == date(2026, 11, 16)
    assert datetime.fromtimestamp(week.begins) == datetime(2026, 11, 16)
    assert datetime.fromtimestamp(week.ends) == datetime(2026, 11, 23)
    assert week_at(week.begins) == week_at(week.ends - 1) == week
    assert week_at(week.ends) == week.before(-1)
    assert parse_week("2026-W01").before(1).name == "2025-W52"
    assert parse_week("2026-W53").name == "2026-W53", "2026 has 53 weeks"
    for wrong in (
        "2025-W53",
        "2026-W00",
        "2026-47",
        "W47",
        "2026-W471",
        "9999-W52",
        "",
        "²⁰²⁶-W47",
    ):
        with pytest.raises(ConfigError, match="is no week"):
            parse_week(wrong)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland"])
def test_a_week_in_which_the_clocks_change_is_a_week(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        for name in ("2026-W13", "2026-W44", "2026-W10", "2026-W40"):
            week = parse_week(name)
            assert datetime.fromtimestamp(week.begins).hour == 0
            assert week.ends == week.before(-1).begins
            assert week_at(week.begins) == week and week_at(week.ends - 1) == week
    time.tzset()


@pytest.mark.parametrize(("count", "of"), [(0, 1), (1, 1), (0, 12), (3, 4), (47, 60), (990, 1000)])
def test_shares_have_wilsons_interval(count: int, of: int) -> None:
    found = share(count, of)
    right = binomtest(count, of).proportion_ci(method="wilson")
    assert found.value == count / of
    assert found.low == pytest.approx(right.low, abs=1e-9)
    assert found.high == pytest.approx(right.high, abs=1e-9)


def test_a_share_of_nothing_is_none() -> None:
    assert share(0, 0).value is share(0, 0).low is share(0, 0).high is None


# --- figures


def test_films_and_studies_of_the_week_are_counted(unit: Ward) -> None:
    unit.now = parse_week(WEEK).begins - 60
    unit.study("1.2.1", "urgent_review")  # the Sunday before
    assert unit.now == parse_week(WEEK).begins
    unit.study("1.2.2", "urgent_review")
    unit.study("1.2.3", "routine_review")
    unit.study("1.2.4", "not_flagged")
    unit.receive("1.2.1", view="LAT")  # one more film of the Sunday's study
    unit.screen("not_flagged")
    unit.report("urgent_review")
    unit.study("1.2.5", "not_flagged")
    withdraw(unit.spool, "1.2.5", Reason.QUALITY, "N. Okello")
    unit.now = parse_week(WEEK).ends
    unit.study("1.2.7", "not_flagged")
    unit.now = parse_week(WEEK).ends - DAY
    unit.receive("1.2.6")  # nobody has screened it
    week = told(unit).figures
    assert week.films == 5 and week.films_waiting == 1 and week.films_taken_back == 1
    assert week.films_by_decision == {
        "urgent_review": 1, "routine_review": 1, "not_flagged": 2, "unable": 0,
    }  # fmt: skip
    assert week.studies == 4 and week.studies_waiting == 1
    assert week.studies_by_decision == {
        "urgent_review": 1, "routine_review": 1, "not_flagged": 1, "unable": 0,
    }  # fmt: skip
    assert week.studies_unread == week.studies_by_decision
    read(unit, "1.2.4,,no tumour,Dr A,2026-11-17,", "1.2.2,,not sure,Dr A,2026-11-17,")
    unread = told(unit).figures.studies_unread
    assert unread["not_flagged"] == 0 and unread["urgent_review"] == 1, "not sure says nothing"
    weeks = {one.week: sum(one.films_by_decision.values()) for one in told(unit).weeks}
    assert len(weeks) == 13 and weeks["2026-W46"] == 1 and weeks["2026-W47"] == 4


def test_retakes_are_later_films_of_the_same_view(unit: Ward) -> None:
    unit.study("1.2.1", "unable", refusing="the film is blurred", patient="P1")
    unit.receive("1.2.1", patient="P1")
    unit.screen("not_flagged")  # retaken in the same study, checked
    unit.report("not_flagged")
    unit.study("1.2.2", "unable", refusing="the film is blurred", patient="P2")
    unit.study("1.2.3", "unable", refusing="too light", patient="P2")  # retaken, and no better
    unit.study("1.2.4", "unable", refusing="too light", patient="P4")
    unit.study("1.2.5", "not_flagged", patient="P4", view="LAT")  # another view is no retake
    unit.study("1.2.6", "unable", refusing="too light", patient="P6")
    unit.study("1.2.7", "not_flagged", patient="P6", part="HAND")  # nor is another part
    unit.study("1.2.8", "unable", refusing="too light")
    unit.study("1.2.9", "not_flagged")  # nobody knows whose either of them is
    unit.study("1.2.10", "unable", refusing="too light", patient="P10")
    unit.now += DAY + 1
    unit.study("1.2.11", "not_flagged", patient="P10")  # the next examination
    found = told(unit).figures.unable
    assert (found.films, found.retaken, found.retaken_and_checked) == (7, 2, 1)
    assert [(one.reason, one.films) for one in found.reasons] == [
        ("too light", 5), ("the film is blurred", 2),
    ]  # fmt: skip


def a_read_week(unit: Ward) -> None:
    """22 tumours, of which 18 are flagged and 1 cannot be checked; 30 others, 6 flagged."""
    lines = []
    plan = (
        (["urgent_review"] * 10 + ["routine_review"] * 8, "osteosarcoma"),
        (["not_flagged"] * 3 + ["unable"], "benign"),
        (["routine_review"] * 6 + ["not_flagged"] * 23 + ["unable"], "no tumour"),
    )
    for decisions, reading in plan:
        for decision in decisions:
            number = unit.films + 1
            unit.study(f"1.2.{number}", decision, accession=f"A-{number}", patient=f"P-{number}")
            lines.append(f",A-{number},{reading},Dr {'AB'[number % 2]},2026-11-17,")
    for _ in range(30):
        unit.study(f"1.2.{unit.films + 1}", "not_flagged", accession=f"A-{unit.films + 1}")
    unit.now += DAY
    read(unit, *lines)


def test_agreement_is_counted_against_what_was_decided(unit: Ward) -> None:
    a_read_week(unit)
    found = told(unit)
    for one in (found.agreement_week, found.agreement_so_far):
        assert one.studies == 52 and one.readers == 2
        assert one.table == {
            "urgent_review": {"no_tumour": 0, "benign": 0, "malignant": 10},
            "routine_review": {"no_tumour": 6, "benign": 0, "malignant": 8},
            "not_flagged": {"no_tumour": 23, "benign": 3, "malignant": 0},
            "unable": {"no_tumour": 1, "benign": 1, "malignant": 0},
        }
        assert (one.sensitivity.count, one.sensitivity.of) == (18, 21)
        assert (one.specificity.count, one.specificity.of) == (23, 29)
        assert (one.misses, one.false_alarms, one.tumours_unable) == (3, 6, 1)
        assert one.studies_with_differing_readers == 0
    assert {case.accession_number for case in found.misses.cases} == {
        "A-19", "A-20", "A-21", "A-22",
    }  # fmt: skip
    assert len(found.false_alarms.cases) == 6
    read_of = found.coverage.read_by_decision
    assert (read_of["not_flagged"].count, read_of["not_flagged"].of) == (26, 56)
    assert found.coverage.selective and not found.coverage.only_flagged
    before = told(unit, "2026-W46")
    assert before.agreement_week.studies == 0 and before.agreement_so_far.studies == 52
    page = html_page(found)
    assert "86% (65% to 95%), 18 of 21" in page and "79% (62% to 90%), 23 of 29" in page
    assert "verification bias" in page


def test_few_reads_give_no_share(unit: Ward) -> None:
    for number in range(4):
        unit.study(f"1.2.{number}", "urgent_review")
    unit.study("1.2.9", "not_flagged")
    read(unit, *(f"1.2.{number},,benign,Dr A,2026-11-16," for number in range(4)))
    found = told(unit)
    assert found.coverage.only_flagged
    page = html_page(found)
    assert "cannot be told, no study that was not flagged was read" in page
    assert "Only flagged studies were read" in page and "100% (" not in page
    read(unit, "1.2.9,,no tumour,Dr A,2026-11-16,")
    page = html_page(told(unit))
    assert "4 of 4, too few for a share (fewer than 10)" in page and "100% (" not in page


def test_readers_who_differ_are_counted_and_the_newest_counts(unit: Ward) -> None:
    unit.study("1.2.3", "urgent_review")
    read(unit, "1.2.3,,benign,Dr A,2026-11-15,", "1.2.3,,no tumour,Dr B,2026-11-16,")
    found = told(unit).agreement_so_far
    assert found.studies == 1 and found.readers == 2
    assert found.studies_with_differing_readers == 1 and found.false_alarms == 1
    read(unit, "1.2.3,,no tumour,Dr A,2026-11-16T09:00,")
    found = told(unit).agreement_so_far
    assert found.studies_with_differing_readers == 0 and told(unit).reads_superseded == 1


def test_verdicts_at_the_unit_are_no_reads(unit: Ward) -> None:
    unit.study("1.2.3", "urgent_review")
    add_read(unit.spool, "1.2.3", "disagree", "", "T. Mbeki")
    found = told(unit)
    assert found.verdicts["urgent_review"] == {"agree": 0, "disagree": 1, "not_sure": 0}
    assert found.agreement_so_far.studies == 0 and len(found.recall.cases) == 1


# --- the recall list


def recall(unit: Ward) -> list[tuple[str, str, str | None]]:
    cases = told(unit).recall.cases
    return [(case.accession_number, case.decision, case.reading) for case in cases]


def test_what_is_flagged_stays_open_until_it_is_read(unit: Ward) -> None:
    unit.study("1.2.1", "routine_review", accession="A-1", patient="P-1")
    unit.study("1.2.2", "urgent_review", accession="A-2")
    unit.study("1.2.3", "not_flagged", accession="A-3")
    unit.study("1.2.4", "unable", accession="A-4")
    unit.now += 3 * DAY
    unit.study("1.2.5", "urgent_review", accession="A-5")
    opened = [("A-2", "urgent_review", None), ("A-1", "routine_review", None)]
    assert recall(unit) == [*opened, ("A-5", "urgent_review", None)]
    (_, case, _) = told(unit).recall.cases
    assert (case.patient_id, case.study_date, case.age_days) == ("P-1", "20261116", 3)
    read(unit, ",A-2,not sure,Dr A,2026-11-17,")
    assert len(recall(unit)) == 3, "somebody who is not sure has not dealt with it"
    read(unit, ",A-2,benign,Dr A,2026-11-18,", ",A-5,no tumour,Dr A,2026-11-18,")
    assert recall(unit) == [("A-1", "routine_review", None)]
    withdraw(unit.spool, "1.2.1", Reason.WORKLIST, "N. Okello")
    unit.report(None)  # type: ignore[arg-type]
    assert recall(unit) == []


def test_what_was_missed_stays_open_until_it_is_closed(unit: Ward) -> None:
    unit.study("1.2.3", "not_flagged", accession="A-3")
    unit.study("1.2.4", "unable", accession="A-4")
    read(unit, ",A-3,malignant,Dr A,2026-11-16,", ",A-4,benign,Dr A,2026-11-16,")
    assert recall(unit) == [
        ("A-3", "not_flagged", "malignant"), ("A-4", "unable", "benign"),
    ]  # fmt: skip
    close_case(spool := unit.spool, "1.2.3", "N. Okello", "seen in clinic")
    assert recall(unit) == [("A-4", "unable", "benign")]
    unit.now += 60
    read(unit, ",A-3,malignant,Dr B,2026-11-17,")
    assert ("A-3", "not_flagged", "malignant") in recall(unit), "a new read opens it again"
    (closed,) = (one for one in audit.entries(spool) if one.event == "recall closed")
    assert closed.facts["person"] == "N. Okello" and closed.facts["reason"] == "seen in clinic"


def test_a_closure_before_the_unit_flagged_it_closes_nothing(unit: Ward) -> None:
    unit.study("1.2.3", "not_flagged", accession="A-3")
    close_case(unit.spool, "1.2.3", "N. Okello", "by mistake")
    unit.receive("1.2.3", accession="A-3", view="LAT")
    unit.screen("urgent_review")
    unit.report("urgent_review")
    assert recall(unit) == [("A-3", "urgent_review", None)]
    close_case(unit.spool, "1.2.3", "N. Okello", "seen in clinic")
    assert recall(unit) == []


def test_names_are_told_where_they_are_asked_for_and_the_film_lies_there(
    unit: Ward, tmp_path: Path
) -> None:
    data = save(
        film(SpecificCharacterSet="ISO_IR 192", PatientName="Doe^Jane=ドウ"), tmp_path / "film.dcm"
    ).read_bytes()
    unit.study("1.2.3", "urgent_review", accession="A-3", data=data)
    unit.study("1.2.4", "urgent_review", accession="A-4")
    assert "Doe" not in html_page(told(unit)) and "no names" in html_page(told(unit))
    named = told(unit, with_names=True)
    assert [case.patient_name for case in named.recall.cases] == ["Doe Jane", ""]
    page = html_page(named)
    assert "Doe Jane" in page and "(film deleted)" in page and "It holds patients' names" in page


def test_films_of_one_study_that_contradict_each_other_are_told_both(unit: Ward) -> None:
    unit.study("1.2.3", "urgent_review", accession="A-3", patient="P-3")
    unit.receive("1.2.3", accession="A-3", patient="P-4")
    unit.screen("urgent_review")
    unit.report("urgent_review")
    (case,) = told(unit).recall.cases
    assert (case.accession_number, case.patient_id) == ("A-3", "P-3 / P-4")


def test_shadow_mode_lists_nobody_and_its_figures_count(tmp_path: Path) -> None:
    with ward(tmp_path / "spool", live=False) as unit:
        unit.study("1.2.3", "urgent_review", accession="A-3")
        unit.study("1.2.4", "not_flagged", accession="A-4")
        read(unit, ",A-4,benign,Dr A,2026-11-16,")
        found = told(unit)
        assert found.recall.cases == () and found.recall.in_shadow == 2
        assert found.misses.cases == () and found.misses.in_shadow == 1
        assert found.agreement_so_far.misses == 1
        page = html_page(found)
        assert "A-3" not in page and "A-4" not in page and "decided in shadow mode" in page
        # What was said in shadow mode stays there when the unit goes live; a later study is told.
        unit.mode(live=True)
        unit.study("1.2.5", "urgent_review", accession="A-5")
        assert recall(unit) == [("A-5", "urgent_review", None)]
        # And an open case stays open when another bundle, in shadow, takes over.
        unit.mode(live=False, bundle="c" * 64)
        assert recall(unit) == [("A-5", "urgent_review", None)]


def test_a_film_in_shadow_mode_takes_no_open_case_off_the_list(unit: Ward) -> None:
    unit.study("1.2.3", "urgent_review", accession="A-3")
    unit.study("1.2.4", "not_flagged", accession="A-4")
    unit.mode(live=False)
    for study in ("1.2.3", "1.2.4"):
        unit.receive(study, accession=f"A-{study[-1]}", view="LAT")
        unit.screen("urgent_review" if study == "1.2.4" else "not_flagged")
        unit.report("urgent_review")
    found = told(unit).recall
    assert [case.accession_number for case in found.cases] == ["A-3"]
    assert found.in_shadow == 1, "what shadow mode found in the other stays there"


# --- the page


class Page(HTMLParser):
    """What a browser would load, and whether every element is closed."""

    VOID = frozenset(("meta", "br", "link", "img", "rect", "line", "circle"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [
            str(value) for key, value in attrs if key in ("src", "href", "data", "action")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(unit: Ward) -> None:
    a_read_week(unit)
    unit.study("1.2.900", "unable", refusing="the knee is cut off")
    text = html_page(told(unit))
    page = Page()
    page.feed(text)
    assert page.open == [] and page.loads == [] and "script" not in page.tags
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text
    assert "url(" not in text and "@import" not in text
    assert {"svg", "title", "desc", "caption", "th"} <= page.tags
    assert "Bone-tumour check only, not a normal report" in text
    shown = re.sub(r"<[^>]*>", " ", text).replace("not a normal report", "")
    assert not FORBIDDEN.search(shown), FORBIDDEN.search(shown)


def test_what_comes_from_headers_cannot_be_markup(unit: Ward) -> None:
    evil = "<img src=x onerror=alert(1)>&\"'"
    unit.study("1.2.3", "urgent_review", accession=evil, patient=evil)
    unit.study("1.2.4", "unable", refusing=evil)
    text = html_page(told(unit))
    page = Page()
    page.feed(text)
    assert "img" not in page.tags and page.open == [] and "&lt;img" in text


def test_an_empty_spool_has_a_report(unit: Ward) -> None:
    found = told(unit)
    assert found.figures.films == 0 and found.recall.cases == ()
    text = html_page(found)
    assert "Nothing is open" in text and "No radiologist" in text and "nan" not in text.lower()


def test_a_week_that_is_not_over_says_so(unit: Ward) -> None:
    assert not told(unit).whole and "The week is not over" in html_page(told(unit))
    unit.now = parse_week(WEEK).ends
    assert told(unit).whole and "The week is not over" not in html_page(told(unit))


# --- the verbs


def test_the_verbs_write_the_page_and_close_a_case(tmp_path: Path) -> None:
    config = unit_file(tmp_path)
    with ward(tmp_path / "spool") as unit:
        unit.study("1.2.3", "urgent_review", accession="A-3", patient="P-3")
    out = tmp_path / "reports"
    common = ("--config", config)
    done = must(osteoedge("feedback", "report", *common, "--week", WEEK, "--out", out))
    page = out / f"feedback-{WEEK}.html"
    assert "1 films, 1 studies" in done.stdout and "1 to recall" in done.stdout
    assert f"Next: look at {page}" in done.stdout.replace("\n", "")
    assert "A-3" in page.read_text("utf-8") and "P-3" in page.read_text("utf-8")
    closed = osteoedge(
        "feedback", "close", "A-3", *common, "--by", "N. Okello", "--reason", "seen in clinic"
    )
    must(closed)
    told = must(osteoedge("feedback", "report", *common, "--week", WEEK, "--out", out, "--json"))
    document = json.loads(told.stdout)
    assert document["schema"] == "osteoedge.feedback/1" and document["recall"]["cases"] == []
    assert FeedbackReport.model_validate(document).week == WEEK
    for wrong, code in (
        (("report", *common, "--week", "soon", "--out", out), 2),
        (("close", "A-9", *common, "--by", "N", "--reason", "x"), 1),
        (("close", "A-3", *common, "--by", " ", "--reason", "x"), 1),
        (("report", "--config", tmp_path / "none.toml", "--out", out), 2),
    ):
        result = osteoedge("feedback", *wrong)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr and len(result.stderr.splitlines()) == 1


def test_the_last_whole_week_is_told_without_being_asked(tmp_path: Path) -> None:
    Spool(tmp_path / "spool").close()
    must(osteoedge("feedback", "report", "--config", unit_file(tmp_path), "--out", tmp_path))
    last = week_at(time.time()).before(1)
    assert (tmp_path / f"feedback-{last.name}.html").exists()


# --- a long history


@pytest.mark.nightly
def test_a_hundred_thousand_films_are_told_in_seconds(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        fill(spool, 100_000)
        with spool.transaction() as execute:
            # Studies are called 2.25.8 and their number.
            execute(
                "UPDATE study SET decision = 'urgent_review' "
                "WHERE CAST(substr(study_instance_uid, 7) AS INTEGER) % 20 = 0"
            )
            for number in range(1, 100_001, 4):
                execute(
                    "INSERT INTO read VALUES (?, ?, ?, '', NULL, ?, '', '', '', ?, 'csv', ?, ?)",
                    number, str(number), f"2.25.8{number}",
                    "benign" if number % 3 == 0 else "no_tumour", f"Dr {number % 5}",
                    spool.now() - number, spool.now(),
                )  # fmt: skip
                execute(
                    "INSERT INTO read_link VALUES (?, ?, 1, 'not_flagged', '', ?)",
                    number, f"2.25.8{number}", spool.now(),
                )  # fmt: skip
        began = time.monotonic()
        found = weekly_report(spool, "ward", week_at(spool.now() - 7 * DAY), with_names=False)
        # 2 s on two quiet cores.
        assert time.monotonic() - began < 20.0
        assert found.agreement_so_far.studies == 25_000
        assert len(found.recall.cases) + found.recall.in_shadow == 5_000 + 8_333
        assert found.figures.films > 400


def test_the_reports_queries_search_by_index(unit: Ward) -> None:
    """No step of a query that grows with the history walks the films, results or reads."""
    a_read_week(unit)
    asked: list[str] = []
    unit.spool._connection.set_trace_callback(asked.append)
    told(unit)
    unit.spool._connection.set_trace_callback(None)
    walked = set()
    for statement in asked:
        if not statement.startswith("SELECT"):
            continue
        # The trace writes an infinite number as SQLite does not read it.
        finite = re.sub(r"\bInf\b", "9e99", statement)
        steps = [row["detail"] for row in unit.spool.rows(f"EXPLAIN QUERY PLAN {finite}")]
        walked |= {step for step in steps if re.match(r"SCAN (f|n|e|film|result)\b", step)}
    # Files that lie there still are those of a month, however long the history is.
    assert asked and walked <= {"SCAN f USING INDEX film_stored"}
