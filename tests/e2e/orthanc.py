"""Orthanc, the archive: one server of its own for a test, with DICOMweb."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO

from tests.conftest import need
from tests.processes import free_port, until

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass
class Orthanc:
    """A running server.

    Attributes
    ----------
    port
        Of its C-STORE service, on loopback.
    url
        Of its REST interface.
    """

    folder: Path
    ae_title: str = "ORTHANC"
    port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    options: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb(self) -> str:
        """The base of its DICOMweb services."""
        return f"{self.url}/dicom-web"

    def start(self) -> None:
        settings = {
            "Name": "test",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "OverwriteInstances": True,
            "StableAge": 1,
            "Plugins": [str(DICOMWEB)],
            **self.options,
        }
        file = self.folder / "orthanc.json"
        file.write_text(json.dumps(settings))
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(shutil.which("Orthanc")), str(file)], stdout=log, stderr=log
            )
        until(self._answers, "Orthanc answers")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def get(self, path: str) -> Any:
        """The JSON of a resource."""
        answer = requests.get(self.url + path, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def put(self, path: str, value: Any) -> None:
        """Set a resource."""
        requests.put(self.url + path, json=value, timeout=30).raise_for_status()

    def know(self, name: str, ae_title: str, port: int, **options: Any) -> None:
        """Register who is answered: a modality on loopback, e.g. for storage commitment."""
        modality = {"AET": ae_title, "Host": "127.0.0.1", "Port": port, **options}
        self.put(f"/modalities/{name}", modality)

    def uids(self) -> set[str]:
        """SOP Instance UIDs of all that it stores."""
        return {
            instance["MainDicomTags"]["SOPInstanceUID"]
            for instance in self.get("/instances?expand")
        }

    def dataset(self, sop_instance_uid: str) -> Dataset:
        """An object as it stores it."""
        found = requests.post(f"{self.url}/tools/lookup", data=sop_instance_uid, timeout=30).json()
        (identifier,) = [one["ID"] for one in found if one["Type"] == "Instance"]
        return self._file(identifier)

    def of_study(self, study_instance_uid: str) -> list[Dataset]:
        """All objects of a study, whoever's it is."""
        query = {
            "Level": "Instance", "Query": {"StudyInstanceUID": study_instance_uid}, "Expand": True,
        }  # fmt: skip
        found = requests.post(f"{self.url}/tools/find", json=query, timeout=30).json()
        return [self._file(instance["ID"]) for instance in found]

    def delete_all(self) -> None:
        for patient in self.get("/patients"):
            requests.delete(f"{self.url}/patients/{patient}", timeout=30).raise_for_status()

    def _file(self, identifier: str) -> Dataset:
        file = requests.get(f"{self.url}/instances/{identifier}/file", timeout=60)
        file.raise_for_status()
        return dcmread(DicomBytesIO(file.content))

    def _answers(self) -> bool:
        assert self.process is not None
        log = (self.folder / "orthanc.log").read_text(errors="replace")
        assert self.process.poll() is None, log
        try:
            return requests.get(self.url + "/system", timeout=5).ok
        except requests.ConnectionError:
            return False


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Orthanc]:
    """Run a server whose settings differ from the usual."""
    need(shutil.which("Orthanc"), "Orthanc")
    need(DICOMWEB.exists(), "Orthanc's plug-in for DICOMweb")
    folder.mkdir(parents=True, exist_ok=True)
    server = Orthanc(folder, options=options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """A server that stores everything."""
    with running(tmp_path / "orthanc") as server:
        yield server
