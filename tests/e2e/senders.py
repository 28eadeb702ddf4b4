"""Those who send to the unit: dcmtk, pynetdicom without its manners, and raw sockets."""

from __future__ import annotations

import io
import shutil
import ssl
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from tests.conftest import need

TITLE = "OSTEOEDGE"
DX = uid.DigitalXRayImageStorageForPresentation


def dcmtk(
    tool: str, port: int, *arguments: object, calling: str = "CONSOLE", called: str = TITLE
) -> int:
    """Run storescu or echoscu; return its exit code."""
    need(shutil.which(tool), f"dcmtk's {tool}")
    command = [tool, "-aet", calling, "-aec", called, "127.0.0.1", str(port), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode


@contextmanager
def association(
    port: int,
    *classes: str,
    syntaxes: tuple[str, ...] = (uid.ExplicitVRLittleEndian,),
    calling: str = "CONSOLE",
    called: str = TITLE,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Association]:
    """An association, whether it was accepted or not."""
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    for sop_class in classes or (DX,):
        for syntax in syntaxes:
            entity.add_requested_context(sop_class, syntax)
    made = entity.associate(
        "127.0.0.1", port, ae_title=called, tls_args=(tls, "localhost") if tls else None
    )
    try:
        yield made
    finally:
        if made.is_established:
            made.release()


def encoded(dataset: Dataset) -> bytes:
    """The bytes of a data set, explicit VR little endian."""
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, dataset)
    return cast(bytes, stream.getvalue())


def store(
    made: Association,
    data: bytes,
    instance: str,
    sop_class: str = DX,
    syntax: str = uid.ExplicitVRLittleEndian,
) -> int | None:
    """Send any bytes as the data set of an object; return the status, None for no answer."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, instance
    request.DataSet = io.BytesIO(data)
    (context,) = (
        one
        for one in made.accepted_contexts
        if (one.abstract_syntax, one.transfer_syntax[0]) == (sop_class, syntax)
    )
    made.dimse.send_msg(request, cast(int, context.context_id))
    _, answer = made.dimse.get_msg(block=True)
    return None if answer is None else cast(C_STORE, answer).Status


def send_film(port: int, dataset: Dataset) -> int | None:
    """Send a film on an association of its own."""
    with association(port, dataset.SOPClassUID) as made:
        made._reactor_checkpoint.clear()
        try:
            return store(made, encoded(dataset), dataset.SOPInstanceUID, dataset.SOPClassUID)
        finally:
            made._reactor_checkpoint.set()


def send_file(port: int, path: Path, *arguments: object) -> int:
    """Send a file with dcmtk; return its exit code."""
    return dcmtk("storescu", port, path, *arguments)


def request_pdu(calling: str = "CONSOLE", called: str = TITLE) -> bytes:
    """An A-ASSOCIATE-RQ for DX films (PS3.8 9.3.2), as a raw socket sends it."""

    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(content)) + content

    context = (
        struct.pack(">B3x", 1)
        + item(0x30, DX.encode())
        + item(0x40, uid.ExplicitVRLittleEndian.encode())
    )
    user = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3")
    body = (
        struct.pack(">H2x16s16s32x", 1, called.encode().ljust(16), calling.encode().ljust(16))
        + item(0x10, b"1.2.840.10008.3.1.1.1")
        + item(0x20, context)
        + item(0x50, user)
    )
    return struct.pack(">BxL", 1, len(body)) + body


def data_pdu(fragment: bytes, header: int) -> bytes:
    """A P-DATA-TF of one fragment (PS3.8 9.3.5, E.2); header 1 and 3: command, 0 and 2: data."""
    item = struct.pack(">LBB", len(fragment) + 2, 1, header) + fragment
    return struct.pack(">BxL", 4, len(item)) + item
