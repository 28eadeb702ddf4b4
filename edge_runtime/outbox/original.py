"""A film as it is sent: losslessly compressed where it came uncompressed.

It keeps its SOP Instance UID: only lossy compression makes another image of it (PS3.3
C.7.6.1.1.5). JPEG-LS comes first: on real films it makes files as small as JPEG 2000 does, in less
than half the time (docs/delivery.md).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread, uid
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder

from edge_runtime.outbox.store import RefusedError
from edge_runtime.spool.audit import hashed
from edge_runtime.spool.delivery import Delivery

_log = logging.getLogger(__name__)

_ENCODERS = {uid.JPEGLSLossless: "pyjpegls", uid.JPEG2000Lossless: "pylibjpeg"}
LOSSLESS = tuple(_ENCODERS)
"""Transfer syntaxes that a film is compressed to, the best first."""
_UNCOMPRESSED = frozenset({uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian})

# It is held in memory four times over.
_LARGEST_BYTES = 64 << 20


class NotCompressibleError(Exception):
    """The film is sent as it is."""


def transfer_syntaxes(delivery: Delivery) -> tuple[str, ...]:
    """Return the transfer syntaxes that an object can be sent in, the best first, its own last.

    Raises
    ------
    RefusedError
        Its file cannot be read.
    """
    try:
        own = _transfer_syntax(delivery.path)
    except Exception as error:
        # pydicom raises whatever the parser trips over.
        raise RefusedError(f"the file cannot be read ({type(error).__name__})") from None
    if delivery.kind == "original" and own in _UNCOMPRESSED:
        return (*LOSSLESS, own)
    return (own,)


@lru_cache(256)  # What waits is looked at each time that a destination is tried.
def _transfer_syntax(file: Path) -> uid.UID:
    return uid.UID(read_file_meta_info(file).TransferSyntaxUID)


@contextmanager
def coded(
    delivery: Delivery, accepted: Collection[str], scratch: Path
) -> Iterator[tuple[Path, str]]:
    """Give an object's file in the best transfer syntax that is accepted, and which that is.

    Parameters
    ----------
    scratch
        Folder for a file that is compressed, until the context ends.

    Raises
    ------
    RefusedError
        None of them is accepted.
    """
    *lossless, own = transfer_syntaxes(delivery)
    compressed = scratch / f"{delivery.destination}-{delivery.id}.dcm"
    try:
        for syntax in lossless:
            if syntax not in accepted:
                continue
            try:
                compress(delivery.path, syntax, compressed)
            except NotCompressibleError as error:
                _log.info(
                    "film not compressed",
                    extra={"object": hashed(delivery.sop_instance_uid), "reason": str(error)},
                )
                continue
            yield compressed, syntax
            return
        if own not in accepted:
            raise RefusedError("the destination takes no such object in any coding that we have")
        yield delivery.path, own
    finally:
        compressed.unlink(missing_ok=True)


def compress(film: Path, syntax: str, target: Path) -> None:
    """Write a film losslessly compressed, and prove that nothing else of it changed.

    Parameters
    ----------
    syntax
        One of :data:`LOSSLESS`.

    Raises
    ------
    NotCompressibleError
        The codec or the file's writer does not take it, or it would not be smaller, or not the
        same: high bits that no pixel uses hold something, an element is not written back as read.
    """
    if film.stat().st_size > _LARGEST_BYTES:
        raise NotCompressibleError("it is too large")
    try:
        _compress(film, uid.UID(syntax), target)
        same = _same(dcmread(film), dcmread(target))
    except Exception as error:
        # Headers from the field trip pydicom and the codecs in many ways.
        raise NotCompressibleError(type(error).__name__) from None
    if not same:
        raise NotCompressibleError("compressed and back, it is not the same")
    if target.stat().st_size >= film.stat().st_size:
        raise NotCompressibleError("it does not get smaller")


def _compress(film: Path, syntax: uid.UID, target: Path) -> None:
    dataset = dcmread(film)
    dataset.compress(syntax, encoding_plugin=_ENCODERS[syntax], generate_instance_uid=False)
    dataset.save_as(target, enforce_file_format=True)


def _same(film: Dataset, compressed: Dataset) -> bool:
    # Stored words, whatever lies in the bits that no pixel uses.
    words: dict[str, Any] = {"raw": True, "correct_unused_bits": False}
    before, after = (
        get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, **words)[0]
        for dataset in (film, compressed)
    )
    if before.dtype != after.dtype or not np.array_equal(before, after):
        return False
    for dataset in (film, compressed):
        del dataset.PixelData
    return bool(film == compressed)
