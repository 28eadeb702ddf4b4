"""What the console tells of studies and films, and in shadow mode of nothing."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime.drift.watch import begin_watch, judge_blocks
from edge_runtime.phrases import LANGUAGES, Phrase, remedy, say, words
from edge_runtime.quality import QualityFinding
from edge_runtime.screening import STANDING_SENTENCE, Lesion
from edge_runtime.unit.status import DEGRADED_SETTING
from tests.conftest import ROOT
from tests.edge_runtime.consoles import BUNDLE, Console, console_at_work, film_of
from tests.edge_runtime.drifting import a_reference, take
from tests.edge_runtime.screenings import screening
from tests.processes import until


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    with console_at_work(tmp_path) as console:
        yield console


def listed(console: Console, query: str = "") -> list[dict[str, Any]]:
    answer = console.local("GET", f"/v1/studies{query}")
    assert answer.status == 200
    assert answer.json["notice"] == STANDING_SENTENCE
    studies: list[dict[str, Any]] = answer.json["studies"]
    return studies


def test_texts_come_in_the_language_that_is_asked_for(console: Console) -> None:
    assert console.submit(film_of(1)).status == 202
    blurred = Phrase(key="quality.blurred", values={"part": "body.knee"})
    finding = QualityFinding(phrase=blurred, finding="...", action="...", refuses=True)
    console.screen(screening(decision="unable", quality=(finding,)))
    for language in LANGUAGES:
        (line,) = console.local("GET", f"/v1/studies?lang={language}").json["studies"]
        study = console.local("GET", f"/v1/studies/{line['study_instance_uid']}?lang={language}")
        headline = say(Phrase(key="decision.unable"), language)
        why, retake = say(blurred, language), say(remedy(blurred), language)
        for told in (line, study.json, study.json["films"][0]):
            assert told["decision_text"] == headline
            assert why in told["action_text"] and retake in told["action_text"]
        assert study.json["notice"] == say(Phrase(key="notice.standing"), language)
        summary = study.json["summary"]
        assert any(retake in sentence for sentence in summary)
        assert study.json["films"][0]["summary"] != []
        assert study.json["notice"] in summary[-1]
        assert console.local("GET", f"/v1/words?lang={language}").json == words(language)


def test_a_study_from_its_film_to_its_decision(console: Console) -> None:
    film = film_of(
        1, BodyPartExamined="KNEE", ViewPosition="AP", ImageLaterality="L", AccessionNumber="A1"
    )
    assert console.submit(film).status == 202
    (line,) = listed(console)
    assert line["state"] == "waiting"
    assert line["decision"] is line["decision_text"] is line["read"] is None
    assert line["patient_name"] == "Doe Jane"
    assert (line["patient_id"], line["accession_number"]) == ("P1", "A1")
    assert line["body_parts"] == ["KNEE"]
    assert line["films"] == 1

    console.screen(screening(degraded=("the CPU is hot",), synthetic=True))
    (line,) = listed(console)
    assert (line["state"], line["decision"]) == ("done", "urgent_review")
    assert line["decision_text"] and line["action_text"]
    assert line["degraded"] and line["synthetic"]

    study = console.local("GET", f"/v1/studies/{film.StudyInstanceUID}").json
    assert study["reasons"] == list(screening().reasons)
    assert study["revision"] == 1
    assert STANDING_SENTENCE in " ".join(study["summary"])
    (view,) = study["films"]
    assert (view["view"], view["laterality"], view["rows"], view["columns"]) == ("AP", "L", 64, 64)
    assert view["probabilities"]["malignant"] == 0.81
    assert view["lesions"][0]["box"] == [10.0, 20.5, 40.2, 60.0]
    assert view["operating_points"][0]["threshold"] == 0.6
    assert view["screening"]["schema"] == "osteoedge.screening/1"
    assert view["delegate"] == "cpu"
    result = console.local("GET", f"/v1/films/{film.SOPInstanceUID}").json
    assert (result["state"], result["screening"]["decision"]) == ("reported", "urgent_review")


def test_triage_tells_no_figure(console: Console) -> None:
    from tests.edge_runtime.screenings import triage

    film = film_of(1)
    console.submit(film)
    console.screen(triage())
    (view,) = console.local("GET", f"/v1/studies/{film.StudyInstanceUID}").json["films"]
    assert view["probabilities"] is view["tumour_probability"] is None
    assert view["lesions"] == []


def test_a_decision_stands_while_another_film_is_checked(console: Console) -> None:
    first, second = film_of(1), film_of(2, StudyInstanceUID="2.25.11")
    console.submit(first)
    console.screen(screening())
    console.submit(second)
    (line,) = listed(console)
    assert (line["state"], line["decision"], line["films"]) == ("waiting", "urgent_review", 2)


def test_films_of_two_patients_in_one_study_are_told_as_such(console: Console) -> None:
    console.submit(film_of(1))
    console.submit(film_of(2, StudyInstanceUID="2.25.11", PatientName="Roe^Ann"))
    (line,) = listed(console)
    assert (line["patient_name"], line["patient_id"]) == ("Doe Jane / Roe Ann", "P1 / P2")


def test_a_person_says_whether_the_unit_was_right(console: Console) -> None:
    film = film_of(1)
    path = f"/v1/studies/{film.StudyInstanceUID}/reads"
    said = {"verdict": "disagree", "reason": "an old fracture", "reader": "Dr M. Weber"}
    console.submit(film)
    assert console.local("POST", path, said).status == 409, "nothing was said yet"
    console.screen(screening())
    assert console.local("POST", path, said).status == 201
    (line,) = listed(console)
    assert line["read"] == "disagree"
    assert console.local("POST", path, {"verdict": "agree", "reader": "Dr X"}).status == 201
    assert listed(console)[0]["read"] == "agree"
    assert console.local("POST", "/v1/studies/9.9/reads", said).status == 404
    for wrong in ({**said, "verdict": "maybe"}, {**said, "reader": " "}, {"verdict": "agree"}):
        assert console.local("POST", path, wrong).status == 422
    console.go(live=False)
    assert console.local("POST", path, said).status == 403


def test_what_was_taken_back_tells_nothing(console: Console) -> None:
    film, corrected = film_of(1), film_of(1, PatientID="corrected")
    console.submit(film)
    console.screen(screening())
    console.submit(corrected)
    (line,) = listed(console)
    assert (line["patient_id"], line["state"], line["decision"]) == ("corrected", "waiting", None)
    study = console.local("GET", f"/v1/studies/{film.StudyInstanceUID}").json
    assert [(view["state"], view["decision"]) for view in study["films"]] == [("received", None)]
    asked = {"person": "Dr Test", "reason": "quality"}
    path = f"/v1/films/{film.SOPInstanceUID}"
    assert console.local("POST", f"{path}/withdraw", asked).json == {"films": 2}
    assert listed(console) == []
    assert console.local("GET", path).json["state"] == "withdrawn"
    study = console.local("GET", f"/v1/studies/{film.StudyInstanceUID}").json
    assert study["decision"] is None and study["films"][0]["state"] == "withdrawn"


def test_studies_of_a_day_newest_first(console: Console) -> None:
    for number in range(3):
        console.submit(film_of(number, side=16))
    yesterday = datetime.now() - timedelta(days=1)
    with console.spool() as spool, spool.transaction() as execute:
        execute(
            "UPDATE film SET received_at = ? WHERE sop_instance_uid = ?",
            yesterday.timestamp(), film_of(0, side=16).SOPInstanceUID,
        )  # fmt: skip
    assert [line["study_instance_uid"] for line in listed(console)] == ["2.25.12", "2.25.11"]
    before = listed(console, f"?day={yesterday:%Y-%m-%d}")
    assert [line["study_instance_uid"] for line in before] == ["2.25.10"]
    for never in ("0001-01-01", "9999-12-31"):
        assert listed(console, f"?day={never}") == []
    for nonsense in ("tomorrow", "0", "2026-02-30"):
        assert console.local("GET", f"/v1/studies?day={nonsense}").status == 422, nonsense


@pytest.mark.parametrize(
    ("name", "charset", "told"),
    [
        ("Doe^Jane^Mary^Dr", None, "Doe Jane Mary Dr"),
        ("Doe", None, "Doe"),
        ("Müller^Zoë", "ISO_IR 192", "Müller Zoë"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "ISO_IR 192",
         "Yamada Tarou"),
        ("=山田^太郎", "ISO_IR 192", "山田 太郎"),
        ("", None, None),
        ("^^^^", None, None),
    ],
)  # fmt: skip
def test_names_as_people_write_them(
    console: Console, name: str, charset: str | None, told: str | None
) -> None:
    attributes = {} if charset is None else {"SpecificCharacterSet": charset}
    console.submit(film_of(1, PatientName=name, **attributes))
    (line,) = listed(console)
    assert line["patient_name"] == told


def test_shadow_mode_tells_nothing_but_that(tmp_path: Path) -> None:
    with console_at_work(tmp_path, live=False) as console:
        film = film_of(1)
        assert console.submit(film).status == 202, "submitting works"
        console.screen(screening(decision="unable"))
        assert listed(console) == []
        assert console.local("GET", "/v1/studies").json["mode"] == "shadow"
        status = console.local("GET", "/v1/status").json
        assert status["mode"] == "shadow"
        assert status["films"]["reported"] == 1 and "unable" not in status["films"]
        assert status["drift"] is None
        untold = [
            f"/v1/studies/{film.StudyInstanceUID}", f"/v1/films/{film.SOPInstanceUID}",
            f"/v1/films/{film.SOPInstanceUID}/image.png", "/v1/events", "/v1/studies/9.9",
        ]  # fmt: skip
        for path in untold:
            answer = console.local("GET", path)
            assert answer.status == 403, path
            assert "shadow mode" in answer.json["error"]
        console.go(live=True)
        # What was made in shadow mode stays untold.
        (line,) = listed(console)
        assert (line["state"], line["decision"]) == ("done", None)
        result = console.local("GET", untold[1]).json
        assert (result["state"], result["screening"]) == ("reported", None)
        console.go(live=False)
        assert listed(console) == []


def test_another_bundle_is_in_shadow_mode(console: Console) -> None:
    console.submit(film_of(1))
    with console.spool() as spool, spool.transaction() as execute:
        execute("INSERT INTO mode VALUES (NULL, 1, 'other', 'Dr Test', 'a test', ?)", spool.now())
    assert listed(console) == []


def picture(console: Console, path: str) -> np.ndarray:
    answer = console.local("GET", path)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "image/png"
    found = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found


def test_a_film_is_shown_with_and_without_what_was_marked(console: Console) -> None:
    pixels = np.zeros((400, 200), np.uint16)
    pixels[:, 100:] = 4000
    from tests.edge_runtime.films import film as made

    film = made(pixels, SOPInstanceUID="1.2.3", StudyInstanceUID="1.2.4")
    console.submit(film)
    box = Lesion(box=(20.0, 40.0, 60.0, 80.0), box_mm=None, score=0.7, area_fraction=0.1)
    console.screen(screening(lesions=(box,)))
    plain = picture(console, "/v1/films/1.2.3/image.png?width=300")
    assert plain.shape == (600, 300, 3)
    assert plain[300, 10].tolist() == [0, 0, 0] and plain[300, 290].tolist() == [255, 255, 255]
    marked = picture(console, "/v1/films/1.2.3/image.png?width=300&overlay=1")
    changed = np.argwhere((plain != marked).any(axis=2))
    assert marked[90, 30].tolist() == [0, 159, 230], "the box, scaled by 1.5"
    assert changed[:, 0].max() > 580, "and what every result says, at the foot"
    assert console.local("GET", "/v1/films/1.2.3/image.png?width=9").status == 422
    assert console.local("GET", "/v1/films/1.2.9/image.png").status == 404


def test_a_film_that_was_deleted_is_told_and_not_shown(console: Console) -> None:
    film = film_of(1)
    console.submit(film)
    console.screen(screening())
    with console.spool() as spool, spool.transaction() as execute:
        execute("UPDATE film SET removed_at = 1.0")
    for file in (console.folder / "films").rglob("*.dcm"):
        file.unlink()
    assert console.local("GET", f"/v1/films/{film.SOPInstanceUID}/image.png").status == 410
    (line,) = listed(console)
    assert line["decision"] == "urgent_review"


def test_a_film_that_cannot_be_decoded_is_refused_by_its_reason(console: Console) -> None:
    film = film_of(1)
    del film.PixelData
    assert console.submit(film).status == 202
    answer = console.local("GET", f"/v1/films/{film.SOPInstanceUID}/image.png")
    assert answer.status == 422
    assert "without pixels" in answer.json["error"]


def test_the_quiet_line(console: Console) -> None:
    console.submit(film_of(1))
    with console.spool() as spool, spool.transaction() as execute:
        execute("INSERT INTO setting VALUES (?, ?)", DEGRADED_SETTING, '["the CPU is hot"]')
    status = console.local("GET", "/v1/status").json
    assert status["films"]["received"] == 1
    assert status["oldest_waiting_s"] < 60
    assert status["degraded"] == ["the CPU is hot"]
    assert status["destinations"]["pacs"]["waiting"] == 0
    assert status["disk"]["free"] > status["disk"]["reserve"] == 10 << 20


def test_status_tells_what_changed_about_films_in_the_language_that_is_asked_for(
    console: Console,
) -> None:
    assert not console.local("GET", "/v1/status").json["drift"]["available"]
    rng = np.random.default_rng(5)
    calibration = SimpleNamespace(drift=a_reference(rng))
    bundle: Any = SimpleNamespace(
        sha256=BUNDLE.deployed_sha256, manifest=SimpleNamespace(calibration=calibration)
    )
    with console.spool() as spool:
        begin_watch(spool, bundle)
        take(spool, bundle, rng, exposure=-2.0)
        judge_blocks(spool, bundle)
    (alarm,) = console.local("GET", "/v1/status?lang=es").json["drift"]["alarms"]
    assert alarm["figure"] == "exposure"
    assert alarm["text"].startswith("Las radiografías son más oscuras que las de referencia")
    assert alarm["action_text"].startswith("Compruebe la exposición")
    console.go(live=False)
    assert console.local("GET", "/v1/status").json["drift"] is None


def test_what_is_refused_says_why_and_what_to_do(console: Console) -> None:
    for method, path, status in (
        ("GET", "/v1/nothing", 404), ("GET", "/nothing", 404), ("PUT", "/v1/films", 405),
        ("GET", "/v1/studies/1.2.3", 404), ("GET", "/v1/films/1.2.3", 404),
        ("GET", "/v1/films/" + "1" * 65, 422), ("GET", "/page/..%2f..%2fserver.py", 404),
        ("GET", "/page/.hidden", 404), ("GET", "/docs", 404), ("GET", "/v1/studies?lang=tlh", 422),
    ):  # fmt: skip
        body = {} if method == "PUT" else None
        answer = console.local(method, path, body)
        assert answer.status == status, path
        assert set(answer.json) == {"error", "remedy"} and all(answer.json.values())


def test_a_fault_of_the_console_itself_is_told_without_what_it_held(
    console: Console, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from edge_runtime.console import studies
    from edge_runtime.unit.log import JsonFormatter

    def break_off(*_: object) -> None:
        raise RuntimeError("Doe^Jane")

    monkeypatch.setattr(studies, "status_of", break_off)
    with caplog.at_level("ERROR"):
        answer = console.local("GET", "/v1/status")
        until(lambda: any(record.exc_info for record in caplog.records), "logged")
    assert answer.status == 500
    assert set(answer.json) == {"error", "remedy"}
    lines = "\n".join(JsonFormatter().format(record) for record in caplog.records)
    assert "RuntimeError at console/app.py" in lines
    assert "Doe" not in lines + answer.body.decode()
    monkeypatch.undo()
    assert console.local("GET", "/v1/status").status == 200


def test_the_description_is_the_one_that_is_committed(console: Console) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "edge_runtime.cli", "console", "openapi"],
        capture_output=True, check=True, cwd=ROOT,
    )  # fmt: skip
    committed = ROOT / "edge_runtime/console/openapi.json"
    assert said.stdout == committed.read_bytes(), (
        "osteoedge console openapi > edge_runtime/console/openapi.json"
    )
    assert console.local("GET", "/v1/openapi.json").body == committed.read_bytes()


def test_logs_hold_neither_names_nor_uids(
    console: Console, caplog: pytest.LogCaptureFixture
) -> None:
    from edge_runtime.unit.log import JsonFormatter

    film = film_of(1)
    with caplog.at_level("INFO", "edge_runtime"):
        console.submit(film)
        console.local("GET", f"/v1/films/9{film.SOPInstanceUID[1:]}")
        console.local("POST", f"/v1/films/{film.SOPInstanceUID}/withdraw", {"person": "Jane Doe"})
        until(lambda: "withdraw" in str([vars(record) for record in caplog.records]), "logged")
    lines = "\n".join(JsonFormatter().format(record) for record in caplog.records)
    assert "POST /v1/films/{sop_uid}/withdraw" in lines
    assert hashlib.sha256(film.SOPInstanceUID.encode()).hexdigest()[:16] in lines
    for secret in ("Doe", "Jane", film.SOPInstanceUID, film.StudyInstanceUID, "P1"):
        assert secret not in lines
