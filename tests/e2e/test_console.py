"""The console of a served unit: films in, results out within moments, and nothing it can break."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Trained, need, osteoedge
from tests.e2e.consoles import Bedside, at_the_bedside, uids_of
from tests.e2e.serving import assert_whole, receiving, served
from tests.e2e.test_full_disk import Ballast
from tests.e2e.test_intake import small_disk
from tests.processes import until

__all__ = ["small_disk"]

SOON_S = 2.0
CLIENTS = ROOT / "packaging/clients"


@pytest.fixture(scope="module")
def films(trained: Trained) -> list[Path]:
    """One film of each study, which their names tell."""
    found = sorted((trained.dataset / "images").iterdir(), reverse=True)
    return sorted({film.name.rpartition("-")[0]: film for film in found}.values())


@pytest.fixture(scope="module")
def bedside(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bedside]:
    with at_the_bedside(tmp_path_factory.mktemp("bedside"), trained.bundle) as bedside:
        yield bedside


def decided(bedside: Bedside, study: str) -> dict[str, object]:
    """Wait for a study's decision."""

    def done() -> dict[str, object] | None:
        told = bedside.ask("GET", f"/v1/studies/{study}")
        found: dict[str, object] = told.json
        return found if told.status == 200 and found["state"] == "done" else None

    return until(done, "the study is decided") or {}


def test_a_film_by_every_way_is_told_within_moments(bedside: Bedside, films: list[Path]) -> None:
    stream = bedside.listen()

    def by_path(film: Path) -> None:
        shutil.copy(film, bedside.folder / film.name)
        asked = {"path": str(bedside.folder / film.name)}
        assert bedside.ask("POST", "/v1/films", asked).status == 202

    def by_bytes(film: Path) -> None:
        assert bedside.by_token("POST", "/v1/films", film.read_bytes()).status == 202

    def by_dicom(film: Path) -> None:
        assert bedside.unit.send(film) == 0

    for way, film in zip((by_path, by_bytes, by_dicom), films[:3], strict=True):
        sop, study = uids_of(film)
        way(film)
        taken = time.monotonic()
        told = lambda s=study: [e["state"] for e in stream.events if e["study_instance_uid"] == s]  # noqa: E731
        until(told, "the event of its receipt", 10)
        heard_s = time.monotonic() - taken
        lines = bedside.by_token("GET", "/v1/studies").json["studies"]
        assert lines[0]["study_instance_uid"] == study, "newest first"
        until(lambda t=told: t()[-1] == "done", "the event of its decision", 30)
        print(f"{way.__name__}: receipt {heard_s:.2f} s, decided {time.monotonic() - taken:.2f} s")
        assert heard_s < SOON_S
        found = decided(bedside, study)
        (view,) = found["films"]  # type: ignore[misc]
        result = bedside.ask("GET", f"/v1/films/{sop}").json
        assert view["screening"] == result["screening"]
        assert result["screening"]["source"]["sop_instance_uid"] == sop
        assert found["decision"] == view["decision"] == result["screening"]["decision"]
        for overlay in (0, 1):
            path = f"/v1/films/{sop}/image.png?overlay={overlay}&width=400"
            assert bedside.by_token("GET", path).body.startswith(b"\x89PNG")
    stream.close()


def test_a_withdrawn_film_is_gone_from_the_list(bedside: Bedside, films: list[Path]) -> None:
    sop, study = uids_of(films[4])
    assert bedside.ask("POST", "/v1/films", films[4].read_bytes()).status == 202
    decided(bedside, study)
    asked = {"person": "Dr M. Weber", "reason": "patient-safety"}
    assert bedside.ask("POST", f"/v1/films/{sop}/withdraw", asked).json == {"films": 1}
    listed = bedside.ask("GET", "/v1/studies").json["studies"]
    assert study not in [line["study_instance_uid"] for line in listed]
    assert bedside.ask("GET", f"/v1/films/{sop}").json["screening"] is None


@pytest.mark.parametrize("language", ["C++", "Python"])
def test_forty_lines_are_enough_for_a_client(
    bedside: Bedside, films: list[Path], tmp_path: Path, language: str
) -> None:
    source = CLIENTS / ("submit.cpp" if language == "C++" else "submit.py")
    assert len(source.read_text().splitlines()) <= 40
    command = [sys.executable, "-I", str(source)]
    if language == "C++":
        need(shutil.which("g++"), "g++")
        command = [str(tmp_path / "submit")]
        subprocess.run(
            ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-o", command[0], source],
            check=True,
        )
    film = films[5 if language == "C++" else 6]
    said = subprocess.run(
        [*command, bedside.socket, film], capture_output=True, text=True, timeout=120, check=False
    )
    assert said.returncode == 0, said.stderr
    decision, text, action = said.stdout.splitlines()
    found = decided(bedside, uids_of(film)[1])
    assert [decision, text, action] == [found[f"decision{part}"] for part in ("", "_text")] + [
        found["action_text"]
    ]
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(b"no film")
    refused = subprocess.run(
        [*command, bedside.socket, nonsense], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "not a DICOM, PNG or JPEG file" in refused.stderr


def test_the_server_does_what_its_description_says(
    bedside: Bedside, films: list[Path], tmp_path: Path
) -> None:
    """Everything that the description allows, and what it does not, asked of the real server."""
    need(shutil.which("schemathesis", path=Path(sys.executable).parent), "schemathesis")
    sop, study = uids_of(films[7])
    assert bedside.ask("POST", "/v1/films", films[7].read_bytes()).status == 202
    decided(bedside, study)
    (tmp_path / "schemathesis.toml").write_text(
        f'[parameters]\n"path.sop_uid" = "{sop}"\n"path.study_uid" = "{study}"\n'
    )
    said = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis", "run",
            ROOT / "edge_runtime/console/openapi.json",
            "--url", f"http://127.0.0.1:{bedside.port}",
            "--header", f"Authorization: Bearer {bedside.token}",
            "--exclude-path", "/v1/events", "--checks", "all",
            "--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "7",
            "--generation-database", "none", "--no-color",
        ],
        capture_output=True, text=True, cwd=tmp_path, timeout=400, check=False,
    )  # fmt: skip
    print(said.stdout[-6000:])
    assert said.returncode == 0, said.stdout[-6000:] + said.stderr[-2000:]
    assert bedside.answers()
    assert len(bedside.unit.pids("console")) == 1, "it was not started again"


def test_a_killed_console_loses_nothing_and_takes_nothing_along(
    trained: Trained, films: list[Path], tmp_path: Path
) -> None:
    chance = random.Random(3)
    with (
        receiving(tmp_path / "pacs") as pacs,
        at_the_bedside(tmp_path / "b", trained.bundle, settings=pacs.settings()) as bedside,
    ):
        others = {pid for pid in bedside.unit.pids() if pid not in bedside.unit.pids("console")}
        mine = [films[10:40], films[40:70]]

        def submit(batch: list[Path]) -> None:
            for film in batch:
                bedside.submit_until_taken(film)

        senders = [threading.Thread(target=submit, args=(batch,)) for batch in mine]
        for sender in senders:
            sender.start()
        for _ in range(5):
            until(bedside.answers, "the console answers", 60)
            time.sleep(chance.uniform(0.0, 0.3))
            (pid,) = bedside.unit.pids("console")
            os.kill(pid, signal.SIGKILL)
        for sender in senders:
            sender.join(120)
            assert not sender.is_alive(), "every film is taken in the end"
        until(bedside.unit.idle, "everything is screened and sent", 120)
        assert others <= set(bedside.unit.pids()), "no other process was started again"
        until(bedside.answers, "the console is back", 30)
        uids = {uids_of(film)[0] for batch in mine for film in batch}
        assert_whole(bedside.unit, uids, pacs)
        began = time.monotonic()
        streams = [bedside.listen() for _ in range(3)]
        assert bedside.unit.stop() == 0
        # A supervisor ends what does not end by itself; the time is told, not judged.
        print(f"stopped in {time.monotonic() - began:.2f} s, with streams open")
        assert all(stream.ended.wait(5) for stream in streams)
        ended = [
            line for line in bedside.unit.log.read_text().splitlines() if "did not stop" in line
        ]
        assert not [line for line in ended if '"console"' in line]


def test_a_console_that_cannot_start_stops_nothing_else(
    trained: Trained, films: list[Path], tmp_path: Path
) -> None:
    settings = '[console]\ntoken_file = "absent"\n'
    with served(tmp_path, trained.bundle, settings=settings) as unit:
        assert unit.send(films[60]) == 0
        until(lambda: unit.count("SELECT COUNT(*) FROM result WHERE current"), "screened", 60)
        until(lambda: "the token cannot be read" in unit.log.read_text(), "and the log says why")
        checked = osteoedge("serve", "--check", "--config", unit.toml, "--json")
        assert checked.returncode == 2
        (told,) = (
            one for one in json.loads(checked.stdout)
            if one["about"] == "console" and one["level"] == "failure"
        )  # fmt: skip
        assert "osteoedge console token" in told["remedy"]


def test_a_full_disk_is_told_and_recovers(
    trained: Trained, films: list[Path], small_disk: Path, tmp_path: Path
) -> None:
    with at_the_bedside(
        tmp_path, trained.bundle, spool=small_disk / "spool", film_mib=8, console="film_mib = 8\n"
    ) as bedside:
        ballast = Ballast(small_disk)
        ballast.fill(leave=9 << 20)
        refused = bedside.ask("POST", "/v1/films", films[40].read_bytes())
        assert (refused.status, refused.json["error"]) == (507, "the disk is nearly full")
        ballast.drop()
        assert bedside.ask("POST", "/v1/films", films[40].read_bytes()).status == 202
        decided(bedside, uids_of(films[40])[1])


def test_shadow_mode_takes_films_and_tells_nothing(
    trained: Trained, films: list[Path], tmp_path: Path
) -> None:
    with at_the_bedside(tmp_path, trained.bundle, purpose="research", live=False) as bedside:
        sop, study = uids_of(films[50])
        assert bedside.ask("POST", "/v1/films", films[50].read_bytes()).status == 202
        until(bedside.unit.idle, "screened", 60)
        assert bedside.ask("GET", "/v1/studies").json["studies"] == []
        status = bedside.ask("GET", "/v1/status").json
        assert (status["mode"], status["films"]["reported"]) == ("shadow", 1)
        for path in (f"/v1/studies/{study}", f"/v1/films/{sop}", f"/v1/films/{sop}/image.png"):
            assert bedside.ask("GET", path).status == 403
        told = bedside.ask("POST", "/v1/films", films[50].read_bytes()).json
        assert told["state"] in ("reported", "unable") and not told["new"]


def test_logs_of_the_unit_hold_no_uid_of_what_was_asked(
    bedside: Bedside, films: list[Path]
) -> None:
    sop, study = uids_of(films[0])
    bedside.ask("GET", f"/v1/films/{sop}9")
    bedside.ask("POST", f"/v1/films/{sop}/withdraw", {"person": ""})
    until(lambda: "/withdraw" in bedside.unit.log.read_text(), "logged", 10)
    log = bedside.unit.log.read_text()
    assert sop not in log and study not in log
