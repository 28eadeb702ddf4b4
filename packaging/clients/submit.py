#!/usr/bin/env python3
"""Submit a film to the unit, and wait for what its study comes to: submit.py SOCKET FILM."""

import http.client
import json
import socket
import sys
import time
from pathlib import Path


class Unit(http.client.HTTPConnection):
    """The unit, by its Unix socket."""

    def connect(self):
        """Connect to the socket, whose path stands for a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


def ask(path, body=None):
    """Return what is answered to one request; with a film's bytes, it is submitted."""
    unit = Unit(sys.argv[1])
    headers = {"Host": "unit"} | ({} if body is None else {"Content-Type": "application/dicom"})
    unit.request("GET" if body is None else "POST", path, body, headers)
    answer = unit.getresponse()
    told = json.load(answer)
    if answer.status >= 400:
        sys.exit(f"{told['error']}. {told['remedy']}.")
    return told


taken = ask("/v1/films", Path(sys.argv[2]).read_bytes())
study = ask(f"/v1/studies/{taken['study_instance_uid']}")
while study["state"] != "done":
    time.sleep(0.2)
    study = ask(f"/v1/studies/{taken['study_instance_uid']}")
print(study["decision"], study["decision_text"], study["action_text"], sep="\n")
