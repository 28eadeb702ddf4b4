"""A unit's watch over its films: who counts, when a block is judged, alarms, and who ends them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from edge_runtime.bundle import ModelBundle, load_bundle
from edge_runtime.cli import app
from edge_runtime.drift.reference import BLOCK, FIGURES, MEASURES, Figure, reference_of
from edge_runtime.drift.status import drift_history, drift_line, drift_status
from edge_runtime.drift.table import sparkline
from edge_runtime.drift.watch import accept, begin_watch, judge_blocks
from edge_runtime.errors import ConfigError
from edge_runtime.feedback.page import html_page
from edge_runtime.feedback.report import weekly_report
from edge_runtime.feedback.week import parse_week
from edge_runtime.phrases import LANGUAGES, Phrase, say
from edge_runtime.spool import FilmState, Spool
from edge_runtime.spool.audit import entries, verify
from edge_runtime.spool.drift import WatchedFilm, films_of_blocks
from edge_runtime.spool.work import NewResult, claim_film, finish
from edge_runtime.unit.health import SupervisorFacts, UnitCollector
from edge_runtime.unit.status import Status, read_status
from tests.edge_runtime.bundles import servable_bundle
from tests.edge_runtime.drifting import a_reference, films, take, with_reference
from tests.edge_runtime.units import receive, settings


class Clock:
    """A second a study, from some day on."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", clock) as made:
        yield made


@pytest.fixture
def bundle(tiny_bundle: Path, rng: np.random.Generator) -> ModelBundle:
    return with_reference(load_bundle(tiny_bundle), a_reference(rng))


def alarms(spool: Spool) -> set[Figure]:
    return {alarm.figure for alarm in drift_status(spool).alarms}


def told(spool: Spool) -> list[tuple[str, object]]:
    """What the audit log says of drift."""
    found = (entry for entry in entries(spool) if entry.event.startswith("drift"))
    return [(entry.event, entry.facts.get("figure")) for entry in found]


def screened(spool: Spool, uid: str, study: str, bundle: str, decision: str = "unable",
             **values: float) -> None:  # fmt: skip
    receive(spool, uid, study)
    film = claim_film(spool)
    assert film is not None
    watched = WatchedFilm(bundle, values)  # type: ignore[arg-type]
    state = FilmState.UNABLE if decision == "unable" else FilmState.REPORTED
    assert finish(spool, film, NewResult(state, decision, 0.5, 0.5, "{}", "w", watched=watched), [])


def test_of_a_study_the_first_film_counts(spool: Spool) -> None:
    screened(spool, "1.1", "1.2.3", "a", "not_flagged", exposure=100.0, tumour=0.25)
    screened(spool, "1.2", "1.2.3", "a", "unable", exposure=50.0)
    screened(spool, "1.3", "1.2.4", "a", "unable")
    screened(spool, "1.4", "1.2.3", "b", "not_flagged", exposure=60.0)
    rows = spool.rows("SELECT * FROM drift_film ORDER BY bundle_sha256, number")
    assert [(r["bundle_sha256"], r["number"], r["unable"], r["exposure"]) for r in rows] == [
        ("a", 1, 0, 100.0), ("a", 2, 1, None), ("b", 1, 0, 60.0),
    ]  # fmt: skip
    found = films_of_blocks(spool, "a", 1, 1)
    assert found == reference_of([{"exposure": 100.0, "tumour": 0.25}, {}], unable=1)


def test_a_block_is_judged_once_it_is_full(
    spool: Spool, bundle: ModelBundle, rng: np.random.Generator, clock: Clock
) -> None:
    begin_watch(spool, bundle)
    take(spool, bundle, rng, BLOCK - 1)
    judge_blocks(spool, bundle)
    found = drift_status(spool)
    assert (found.available, found.studies, found.blocks, found.figures) == (True, 99, 0, ())
    assert drift_line(found) == "99 of 100 studies for the next comparison"
    take(spool, bundle, rng, 1)
    judge_blocks(spool, bundle)
    judge_blocks(spool, bundle)
    found = drift_status(spool)
    assert (found.blocks, found.alarms) == (1, ())
    assert [one.figure for one in found.figures] == list(FIGURES)
    assert found.figures[0].then == pytest.approx(120, abs=2)
    assert drift_line(found) == "none in the newest 100 studies of 100"
    assert told(spool) == []


def test_a_shift_raises_one_alarm_that_lasts_until_it_is_over(
    spool: Spool, bundle: ModelBundle, rng: np.random.Generator, clock: Clock
) -> None:
    begin_watch(spool, bundle)
    take(spool, bundle, rng)
    clock.now += 86400
    for shift in (-1.5, -1.5, 0.0):
        take(spool, bundle, rng, exposure=shift)
    judge_blocks(spool, bundle)
    assert [block.figures[0].alarm for block in drift_history(spool)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert told(spool) == [("drift alarm", "exposure"), ("drift alarm over", "exposure")]
    verify(spool)


def test_an_alarm_says_what_changed_since_when_and_what_to_do(
    spool: Spool, bundle: ModelBundle, rng: np.random.Generator, clock: Clock
) -> None:
    begin_watch(spool, bundle)
    take(spool, bundle, rng)
    clock.now += 86400
    began = clock.now
    take(spool, bundle, rng, exposure=-1.5, unable=30)
    clock.now += 86400
    take(spool, bundle, rng, exposure=-1.5, unable=30)
    judge_blocks(spool, bundle)
    darker, unable = drift_status(spool).alarms
    assert (darker.figure, darker.direction, darker.since.timestamp()) == (
        "exposure", "lower", began,
    )  # fmt: skip
    assert darker.finding.startswith("films are darker than the reference films: mean grey 10")
    assert darker.action.startswith("check exposure, detector and processing")
    assert unable.finding.endswith("30.0%, was 5.0%")
    for language in LANGUAGES:
        assert say(darker.phrase, language) and say(darker.action_phrase, language)
    line = drift_line(drift_status(spool))
    assert line.count("ALARM: ") == 2 and "Check exposure" in line


def test_what_was_left_over_is_judged_at_the_next_start(
    spool: Spool, bundle: ModelBundle, rng: np.random.Generator
) -> None:
    """As after a kill between a result and the verdict on its block."""
    begin_watch(spool, bundle)
    take(spool, bundle, rng, 2 * BLOCK + 7, tumour=3.0)
    assert drift_status(spool).blocks == 0
    begin_watch(spool, bundle)
    assert (drift_status(spool).blocks, alarms(spool)) == (2, {"tumour"})
    assert told(spool) == [("drift alarm", "tumour")]


def test_another_bundle_starts_anew(
    spool: Spool, bundle: ModelBundle, rng: np.random.Generator
) -> None:
    begin_watch(spool, bundle)
    take(spool, bundle, rng, sharpness=-3.0)
    judge_blocks(spool, bundle)
    assert alarms(spool) == {"sharpness"}
    other = replace(bundle, sha256="b" * 64)
    begin_watch(spool, other)
    found = drift_status(spool)
    assert (found.studies, found.blocks, found.alarms, drift_history(spool)) == (0, 0, (), [])
    begin_watch(spool, bundle)
    assert alarms(spool) == {"sharpness"}


def test_a_named_person_takes_the_units_own_films_for_the_reference(
    spool: Spool, bundle: ModelBundle, rng: np.random.Generator
) -> None:
    begin_watch(spool, bundle)
    for _ in range(7):
        take(spool, bundle, rng, distance=2.0)
    judge_blocks(spool, bundle)
    assert alarms(spool) == {"distance"}
    with pytest.raises(ConfigError, match="a named person and a reason"):
        accept(spool, "Dr M. Weber", " ")
    assert accept(spool, "Dr M. Weber", "another detector") == 500
    found = drift_status(spool)
    assert (found.alarms, found.figures, found.reference) == ((), (), "unit")
    assert found.accepted is not None and found.accepted.person == "Dr M. Weber"
    accepted = list(entries(spool))[-1]
    assert accepted.event == "drift accepted" and accepted.facts["alarms"] == ["distance"]
    assert (accepted.facts["first_block"], accepted.facts["last_block"]) == (3, 7)
    take(spool, bundle, rng, distance=2.0)
    judge_blocks(spool, bundle)
    assert alarms(spool) == set() and drift_status(spool).blocks == 8
    take(spool, bundle, rng)
    judge_blocks(spool, bundle)
    assert alarms(spool) == {"distance"}, "what was usual for the bundle is not so here"
    for statement in ("DELETE FROM drift_acceptance", "UPDATE drift_acceptance SET person = 'me'"):
        with (
            pytest.raises(sqlite3.IntegrityError, match="only added to"),
            spool.transaction() as execute,
        ):
            execute(statement)


def test_a_bundle_without_a_reference_says_so_and_may_have_the_units_own(
    spool: Spool, bundle: ModelBundle, rng: np.random.Generator
) -> None:
    assert drift_status(spool).reason and not drift_status(spool).available
    assert drift_history(spool) == []
    bare = with_reference(bundle, None)
    begin_watch(spool, bare)
    take(spool, bare, rng, BLOCK - 1)
    with pytest.raises(ConfigError, match="fewer than 100 studies"):
        accept(spool, "Dr M. Weber", "no reference in the bundle")
    take(spool, bare, rng, BLOCK + 1)
    judge_blocks(spool, bare)
    found = drift_status(spool)
    assert (found.available, found.blocks, found.studies) == (False, 0, 200)
    assert drift_line(found).startswith("unavailable: the bundle holds no reference")
    assert accept(spool, "Dr M. Weber", "no reference in the bundle") == 200
    judge_blocks(spool, bare)
    assert drift_status(spool).available and drift_status(spool).blocks == 0
    take(spool, bare, rng, contrast=-2.0)
    judge_blocks(spool, bare)
    assert alarms(spool) == {"contrast"}


def test_an_alarm_of_a_figure_that_films_do_not_have_any_more_ends(
    spool: Spool, bundle: ModelBundle, rng: np.random.Generator
) -> None:
    begin_watch(spool, bundle)
    take(spool, bundle, rng, sharpness=-3.0)
    take(spool, bundle, rng, unable=BLOCK, unread=True)
    judge_blocks(spool, bundle)
    assert alarms(spool) == {"unable"}
    assert told(spool) == [
        ("drift alarm", "sharpness"), ("drift alarm over", "sharpness"), ("drift alarm", "unable"),
    ]  # fmt: skip


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_every_alarm_has_its_phrases(figure: Figure, direction: str) -> None:
    for language in LANGUAGES:
        values = {"then": 0.1, "now": 0.2}
        assert say(Phrase(key=f"drift.{figure}_{direction}", values=values), language)
        named = {"figure": f"drift.{figure}"}
        assert say(Phrase(key="drift.varied", values=named), language)
        assert say(Phrase(key=f"drift.{figure}_do"), language)


def test_a_sparkline_holds_the_reference_too() -> None:
    assert sparkline([1.0, 2.0, 3.0], 0.0) == "▃▆█"
    assert sparkline([5.0, 5.0], 5.0) == "▁▁"


def said(*command: object) -> str:
    """What the command line prints."""
    result = CliRunner().invoke(app, list(map(str, command)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_status_metrics_and_command_tell_it(
    tiny_bundle: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    path, keys = servable_bundle(tiny_bundle, tmp_path / "bundle", "research")
    unit = settings(tmp_path, path, keys)
    loaded = with_reference(load_bundle(path), a_reference(rng))
    with Spool(unit.spool.directory) as spool:
        begin_watch(spool, loaded)
        take(spool, loaded, rng)
        take(spool, loaded, rng, exposure=-2.0)
        judge_blocks(spool, loaded)
    found = read_status(unit, tmp_path)
    assert [alarm.figure for alarm in found.drift.alarms] == ["exposure"]
    assert Status.model_validate_json(found.model_dump_json(by_alias=True)) == found

    registry = CollectorRegistry()
    registry.register(UnitCollector(unit.spool, lambda: SupervisorFacts(0.0, {}, {}), tmp_path))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    samples = {
        (sample.name, sample.labels.get("figure")): sample.value
        for family in families
        for sample in family.samples
    }
    assert samples["osteoedge_drift_alarm", "exposure"] == 1
    assert samples["osteoedge_drift_alarm", "unable"] == 0
    assert samples["osteoedge_drift_p_value", "exposure"] < 1e-6
    assert samples["osteoedge_drift_blocks_total", None] == 2
    assert samples["osteoedge_drift_watched", None] == 1

    config = tmp_path / "unit.toml"
    config.write_text(
        f'[bundle]\npath = "{path}"\ntrusted_keys = "{keys}"\n'
        f'[spool]\ndirectory = "{unit.spool.directory}"\nunencrypted_because = "a test"\n'
        f'[[intake.folders]]\npath = "{tmp_path / "watched"}"\n'
    )
    shown = said("drift", "show", "--config", config)
    assert "ALARM: films are darker" in shown and "osteoedge drift accept" in shown
    assert "█▁" in shown, "blocks of text: the second is the darker one"
    who = ("--by", "Dr M. Weber", "--reason", "another detector")
    accepted = said("drift", "accept", "--config", config, *who)
    assert accepted.startswith("The newest 200 studies are the reference")
    document = json.loads(said("drift", "show", "--config", config, "--json"))
    assert document["reference"] == "unit" and document["alarms"] == []
    assert [block["number"] for block in document["history"]] == [1, 2]
    assert {figure["figure"] for figure in document["history"][1]["figures"]} == {*FIGURES}


def test_the_weekly_report_tells_it(
    spool: Spool, bundle: ModelBundle, rng: np.random.Generator
) -> None:
    week = parse_week("2023-W47")
    report = weekly_report(spool, "ward-3", week, with_names=False)
    assert "Drift: unavailable: no film was screened since" in html_page(report)
    begin_watch(spool, bundle)
    take(spool, bundle, rng)
    judge_blocks(spool, bundle)
    report = weekly_report(spool, "ward-3", week, with_names=False)
    assert "Drift: none in the newest 100 studies of 100." in html_page(report)
    take(spool, bundle, rng, unable=30)
    judge_blocks(spool, bundle)
    report = weekly_report(spool, "ward-3", week, with_names=False)
    assert [alarm.figure for alarm in report.drift.alarms] == ["unable"]
    page = html_page(report)
    assert "more films could not be checked than of the reference films: 30.0%, was 5.0%" in page
    assert page.count("<td>changed</td>") == 1 and "To do: look at the reasons" in page


def test_figures_of_films_are_those_of_their_own_kind(rng: np.random.Generator) -> None:
    found = reference_of(films(rng, 30), unable=2)
    assert (found.films, found.unable, found.values.keys()) == (30, 2, set(MEASURES))
