"""A whole unit, served as a user does, and a receiver that keeps everything it is sent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom

from edge_runtime.spool import Spool
from edge_runtime.spool.audit import entries, verify
from edge_runtime.unit.config import load_unit
from edge_runtime.unit.mode import go_live, load_servable
from tests.conftest import need
from tests.edge_runtime.bundles import servable_bundle
from tests.processes import free_port, until

CALLING, CALLED = "CONSOLE", "OSTEOEDGE"


class ServedUnit:
    """`osteoedge serve` with a bundle that may serve; live unless told otherwise."""

    def __init__(
        self, home: Path, tiny_bundle: Path, *, settings: str = "", purpose: str = "evaluated",
        live: bool = True, spool: Path | None = None, reserve_mib: int = 10, film_mib: int = 200,
        language: str = "en",
    ) -> None:  # fmt: skip
        self.home = home
        self.port = free_port()
        self.toml = home / "unit.toml"
        self.log = home / "serve.log"
        self.watched = home / "watched"
        self.watched.mkdir(parents=True)
        self.spool_folder = spool or home / "spool"
        self._any_coding = _any_coding(home)
        bundle, keys = servable_bundle(tiny_bundle, home / "bundle", purpose)  # type: ignore[arg-type]
        self.toml.write_text(
            f'language = "{language}"\n'
            f'[bundle]\npath = "{bundle}"\ntrusted_keys = "{keys}"\n'
            f'[spool]\ndirectory = "{self.spool_folder}"\nreserve_mib = {reserve_mib}\n'
            'unencrypted_because = "a test"\n'
            f"[intake.dicom]\nport = {self.port}\nfilm_mib = {film_mib}\n"
            f'[[intake.folders]]\npath = "{self.watched}"\nsettle_s = 0.2\nevery_s = 0.1\n'
            f"[health]\nport = {free_port()}\n{settings}"
        )
        self.unit = load_unit(self.toml)
        self.process: subprocess.Popen[bytes] | None = None
        with self.spool() as opened:
            if live:
                go_live(opened, load_servable(self.unit.bundle), "Dr Test", "a test")

    def spool(self) -> Spool:
        return Spool(self.spool_folder)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_runtime.cli", "serve", "--config", self.toml],
                stdout=log, stderr=log,
            )  # fmt: skip
        until(self.listens, "the unit answers an echo")

    def listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return self.tell("echoscu") == 0

    def stop(self) -> float:
        """Stop it in good order; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(15)
        self.process = None
        return code

    def tell(self, tool: str, *arguments: object) -> int:
        """Call one of dcmtk's tools; return its exit code."""
        need(shutil.which(tool), f"{tool} (dcmtk)")
        command = [tool, "-to", "10", "-td", "30", "-ta", "30", "-aet", CALLING, "-aec", CALLED,
                   "127.0.0.1", self.port, *arguments]  # fmt: skip
        return subprocess.run(
            [str(part) for part in command], capture_output=True, check=False, timeout=120
        ).returncode

    def send(self, *films: Path) -> int:
        """Send films by C-STORE, in whatever coding they are; return the exit code."""
        return self.tell("storescu", "-xf", self._any_coding, "Any", *films)

    def pids(self, role: str = "") -> list[int]:
        """Return the processes of a role, or of all."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            ours = "edge_runtime.unit.child" in words and str(self.toml) in words
            if ours and (not role or role in words):
                found.append(int(entry.name))
        return found

    def idle(self) -> bool:
        """Tell whether everything is screened, reported, noted and sent."""
        with self.spool() as spool:
            questions = (
                "SELECT 1 FROM film WHERE state IN ('received', 'screening', 'failed')",
                "SELECT 1 FROM study WHERE reported < revision",
                "SELECT 1 FROM delivery WHERE state IN ('waiting', 'sending')",
                "SELECT 1 FROM document d WHERE withdrawn IS NOT NULL AND note_id IS NULL "
                "AND kind <> 'original' AND EXISTS (SELECT 1 FROM delivery x WHERE "
                "x.document_id = d.id AND x.state IN ('sent', 'committed'))",
            )
            return not any(spool.row(question) for question in questions)

    def count(self, sql: str) -> int:
        with self.spool() as spool:
            row = spool.row(sql)
            assert row is not None
            return int(row[0])


@contextmanager
def served(home: Path, tiny_bundle: Path, **settings: object) -> Iterator[ServedUnit]:
    """Serve until the end of the block."""
    unit = ServedUnit(home, tiny_bundle, **settings)  # type: ignore[arg-type]
    try:
        unit.start()
        yield unit
    finally:
        if unit.process is not None:
            unit.process.terminate()
            try:
                unit.process.wait(15)
            except subprocess.TimeoutExpired:
                unit.process.kill()
        for pid in unit.pids():
            os.kill(pid, signal.SIGKILL)


class Receiver:
    """dcmtk's storescp, which keeps everything, each time it comes."""

    def __init__(self, folder: Path) -> None:
        need(shutil.which("storescp"), "storescp (dcmtk)")
        self.folder = folder
        folder.mkdir()
        self.port = free_port()
        self._process = subprocess.Popen(
            ["storescp", "-aet", "PACS", "-od", folder, "+xa", "-uf", "--fork", str(self.port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def settings(self, sends: str = '["sr", "sc", "seg"]') -> str:
        return (
            '[screening]\nresults = ["sr", "sc", "seg"]\n'
            '[[destinations]]\nkind = "dicom"\nname = "pacs"\nhost = "127.0.0.1"\n'
            f'port = {self.port}\nae_title = "PACS"\nsends = {sends}\n'
        )

    def received(self) -> Counter[str]:
        """Return how often each instance came."""
        return Counter(
            str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID)
            for file in self.folder.iterdir()
        )

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def receiving(folder: Path) -> Iterator[Receiver]:
    """Receive until the end of the block."""
    receiver = Receiver(folder)
    try:
        yield receiver
    finally:
        receiver.close()


def assert_whole(unit: ServedUnit, uids: set[str], pacs: Receiver) -> Counter[str]:
    """Each of these films has one result, which arrived, and no debris lies in the spool.

    Returns
    -------
    Counter
        How often each instance arrived.
    """
    with unit.spool() as spool:
        rows = spool.rows(
            "SELECT f.sop_instance_uid AS uid, f.path, COUNT(r.id) AS results, "
            "SUM(r.current) AS current FROM film f LEFT JOIN result r ON r.film_id = f.id "
            "GROUP BY f.id"
        )
        assert {row["uid"] for row in rows} == uids
        assert [(row["results"], row["current"]) for row in rows] == [(1, 1)] * len(uids)
        documents = spool.rows("SELECT * FROM document")
        verify(spool)
        screened = [e.facts["film"] for e in entries(spool) if e.event == "screened"]
    assert len(screened) == len(set(screened)) == len(uids)
    # No debris: every file has a row, and every row its file.
    assert {
        str(file.relative_to(unit.spool_folder))
        for file in (unit.spool_folder / "films").rglob("*.dcm")
    } == {row["path"] for row in rows}
    assert {
        str(file.relative_to(unit.spool_folder))
        for file in (unit.spool_folder / "results").iterdir()
    } == {row["path"] for row in documents}
    assert not [file for file in (unit.spool_folder / "incoming").rglob("*") if file.is_file()]
    received = pacs.received()
    wanted = {row["sop_instance_uid"] for row in documents if row["withdrawn"] is None}
    assert wanted <= set(received), "every result arrived"
    return received


def _any_coding(home: Path) -> Path:
    """Return an association profile of dcmtk: radiographs in the codings that tests use."""
    path = home / "any.cfg"
    classes = {
        "CR": "1.2.840.10008.5.1.4.1.1.1", "DX": "1.2.840.10008.5.1.4.1.1.1.1",
        "SC": "1.2.840.10008.5.1.4.1.1.7", "KO": "1.2.840.10008.5.1.4.1.1.88.59",
    }  # fmt: skip
    codings = [
        "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51",
        "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
    ]  # fmt: skip
    lines = ["[[TransferSyntaxes]]"]
    for number, coding in enumerate(codings, 1):
        lines += [f"[T{number}]", f"TransferSyntax1 = {coding}"]
    lines += ["[[PresentationContexts]]", "[Contexts]"]
    pairs = [(uid, f"T{n}") for uid in classes.values() for n in range(1, len(codings) + 1)]
    lines += [
        f"PresentationContext{n} = {uid}\\{coding}" for n, (uid, coding) in enumerate(pairs, 1)
    ]
    lines += ["[[Profiles]]", "[Any]", "PresentationContexts = Contexts"]
    path.write_text("\n".join(lines) + "\n")
    return path
