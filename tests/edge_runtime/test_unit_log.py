"""Logs tell what happens on the unit, and nothing of any patient."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.errors import CorruptRadiographError, SpoolError
from edge_runtime.unit.log import FIELDS, told
from tests.conftest import ROOT

NAME, PATIENT_ID = "Tanaka^Hanako", "PID-4711-SECRET"
UID = "1.2.826.0.1.3680043.8.498.123456789.42"

PRELUDE = f"""
import logging
from edge_runtime.unit.log import configure_logging
configure_logging("DEBUG")
log = logging.getLogger("edge_runtime.intake")
NAME, PATIENT_ID, UID = {NAME!r}, {PATIENT_ID!r}, {UID!r}
"""


def logged(script: str) -> tuple[list[dict[str, object]], str]:
    """Run a script in a process that logs as the unit's do; return its lines, and all it wrote."""
    result = subprocess.run(
        [sys.executable, "-c", PRELUDE + script], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert result.stdout == ""
    return [json.loads(line) for line in result.stderr.splitlines()], result.stderr


def says_nothing_of_the_patient(text: str) -> None:
    for secret in (NAME, "Tanaka", "Hanako", PATIENT_ID, "4711", UID):
        assert secret not in text


def test_a_line_is_one_json_object() -> None:
    lines, _ = logged("""
log.info("film received", extra={"film": "0123456789abcdef", "size": 15, "source": "dicom:CONSOLE"})
log.debug("idle")
""")
    assert lines[0].pop("at")
    assert lines[0].pop("pid")
    assert lines[0] == {
        "level": "info", "logger": "edge_runtime.intake", "event": "film received",
        "film": "0123456789abcdef", "source": "dicom:CONSOLE", "size": 15,
    }  # fmt: skip
    assert lines[1]["event"] == "idle"


def test_facts_that_are_not_listed_are_left_out() -> None:
    lines, text = logged("""
from pydicom.valuerep import PersonName
log.info("received", extra={"patient": NAME, "patient_id": PATIENT_ID, "size": 3})
log.info("received", extra={"reason": PersonName(NAME), "film": UID, "source": "a " + UID})
log.info("received", extra={"files": [NAME.encode(), 1]})
""")
    says_nothing_of_the_patient(text)
    assert lines[0]["size"] == 3
    assert lines[1]["reason"] == "PersonName"
    assert len(str(lines[1]["film"])) == 16, "a UID that slipped through is hashed"
    assert lines[2]["files"] == ["bytes", 1]


def test_every_fact_that_is_listed_is_written() -> None:
    lines, _ = logged(f"log.info('all', extra=dict.fromkeys({FIELDS!r}, 1))")
    assert all(lines[0][field] == 1 for field in FIELDS)


def test_what_a_sentence_was_to_be_filled_with_is_left_out() -> None:
    lines, text = logged("""log.warning("film of %s (%s)", NAME, PATIENT_ID)""")
    says_nothing_of_the_patient(text)
    assert lines[0]["event"] == "film of %s (%s)"


@pytest.mark.parametrize(
    "raising",
    [
        "raise ValueError(f'no such patient {NAME} {PATIENT_ID}')",
        "import threading\ndef run(): raise ValueError(NAME)\n"
        "thread = threading.Thread(target=run)\nthread.start()\nthread.join()",
        "class Film:\n    def __del__(self): raise ValueError(NAME)\nFilm()",
        "try:\n    raise KeyError(PATIENT_ID)\nexcept KeyError:\n    log.exception('not screened')",
        "import warnings\nwarnings.warn(f'odd value {NAME}')",
    ],
)
def test_exceptions_and_warnings_tell_no_value(raising: str) -> None:
    lines, text = logged(raising)
    says_nothing_of_the_patient(text)
    assert len(lines) == 1, "told, and told once"
    assert lines[0]["level"] in ("critical", "error", "warning")


TALKATIVE = """
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import ComputedRadiographyImageStorage, Verification
for name in ("pynetdicom", "pydicom"):
    logging.getLogger(name).setLevel(logging.DEBUG)

film = Dataset()
film.file_meta = FileMetaDataset()
film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
film.SOPClassUID, film.SOPInstanceUID = ComputedRadiographyImageStorage, UID
film.PatientName, film.PatientID = NAME, PATIENT_ID
film.StudyDate = NAME + " is no date"
film.add_new(0x00281052, "DS", "1")
film["RescaleIntercept"]._value = NAME

def store(event):
    data = event.dataset
    logging.getLogger("pydicom").warning("odd value of %s", data.PatientName)
    str(data.StudyDate)
    raise ValueError(f"cannot store {data.PatientName}")

server = AE("UNIT")
server.add_supported_context(ComputedRadiographyImageStorage)
handlers = [(evt.EVT_C_STORE, store)]
listening = server.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
client = AE(PATIENT_ID[:16])
client.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
client.add_requested_context(Verification)
association = client.associate(*listening.server_address[:2])
assert association.is_established
status = association.send_c_store(film)
assert status.Status == 0xC211, hex(status.Status)
association.release()
listening.shutdown()
log.info("end")
"""


def test_the_network_and_a_film_with_odd_values() -> None:
    """pynetdicom and pydicom at their most talkative, on both sides of an association."""
    lines, text = logged(TALKATIVE)
    says_nothing_of_the_patient(text)
    assert lines[-1]["event"] == "end", lines[-1]
    assert any(line["logger"] == "pydicom" for line in lines)
    errors = [line for line in lines if line["logger"] != "pydicom" and line["level"] == "error"]
    assert errors, "the handler's failure is told"
    assert all(line["level"] in ("warning", "error") for line in lines[:-1])

    plain = PRELUDE.replace('configure_logging("DEBUG")', "logging.basicConfig(level='DEBUG')")
    result = subprocess.run(
        [sys.executable, "-c", plain + TALKATIVE], capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    assert NAME in result.stderr and UID in result.stderr, "what there was to keep quiet about"


def test_what_a_peer_does_wrong_is_not_told_twice() -> None:
    lines, _ = logged("""
import pynetdicom.dul
logging.getLogger("pynetdicom.dul").error("unknown PDU type received")
logging.getLogger("urllib3").warning("retrying")
""")
    assert [line["logger"] for line in lines] == ["urllib3"]


def test_what_is_told_of_an_exception() -> None:
    def fail(error: Exception) -> str:
        try:
            raise error
        except Exception as caught:
            return told(caught)

    assert fail(SpoolError("the disk is full", "Make space", f"/media/{NAME}.dcm")).startswith(
        "SpoolError (the disk is full) at edge_runtime/test_unit_log.py:"
    )
    about_film = fail(CorruptRadiographError(f"odd {NAME}", "Send it again", f"{NAME}.dcm"))
    assert about_film.startswith("CorruptRadiographError at ")
    says_nothing_of_the_patient(about_film)
    assert told(ValueError(NAME)) == "ValueError"


def calls_of_loggers(path: Path) -> list[ast.Call]:
    methods = {"debug", "info", "warning", "error", "critical", "exception", "log"}
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in methods
        and isinstance(node.func.value, ast.Name)
        and "log" in node.func.value.id.lower()
    ]


def test_our_code_logs_fixed_sentences() -> None:
    """A sentence that is put together could hold anything, so none is."""
    for path in (ROOT / "edge_runtime").rglob("*.py"):
        for call in calls_of_loggers(path):
            words = call.args[1] if call.func.attr == "log" else call.args[0]  # type: ignore[attr-defined]
            place = f"{path.relative_to(ROOT)}:{call.lineno}"
            assert isinstance(words, ast.Constant), f"{place} puts a sentence together"
            assert len(call.args) == 1 + (call.func.attr == "log"), place  # type: ignore[attr-defined]


def test_every_fact_that_our_code_logs_is_listed() -> None:
    """Another would be left out, and nobody would know."""
    logged = {
        key.value
        for path in (ROOT / "edge_runtime").rglob("*.py")
        for call in calls_of_loggers(path)
        for keyword in call.keywords
        for node in ast.walk(keyword.value)
        if keyword.arg == "extra" and isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    assert len(logged) > 10
    assert logged <= {*FIELDS}


def test_every_logger_of_ours_has_the_name_of_its_module() -> None:
    """Of another name, it would be taken for a library's, and its sentences and facts left out."""
    found = 0
    for path in (ROOT / "edge_runtime").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.Assign) or "getLogger(" not in ast.unparse(node.value):
                continue
            found += 1
            # The second: __name__ is __main__ in a module that is run as a process of its own.
            own = ("logging.getLogger(__name__)", f"logging.getLogger({module!r})")
            assert ast.unparse(node.value) in own, f"{path.relative_to(ROOT)}:{node.lineno}"
    assert found > 10
