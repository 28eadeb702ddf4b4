"""The hash of a file, worked out while its pixels are."""

from __future__ import annotations

import hashlib
import threading


class FileDigest:
    """SHA-256 of a file's bytes, on a thread of its own.

    A processor without instructions for it takes longer to hash a film than to decode it. OpenSSL
    lets go of the interpreter lock, so on a second core the hash costs no time.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._sha256 = hashlib.sha256()
        self._thread = threading.Thread(target=self._sha256.update, args=(data,))
        self._thread.start()

    def hexdigest(self) -> str:
        """Return 64 hexadecimal digits; wait for them where need be."""
        self._thread.join()
        return self._sha256.hexdigest()
