"""Whatever is sent or dropped: the unit stays up, and says of each file what came of it."""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.errors import InvalidDicomError

from tests.conftest import DATA, Trained
from tests.e2e.receivers import until
from tests.e2e.senders import association, store
from tests.e2e.serving import ServedUnit, served
from tests.edge_runtime.codings import LOSSLESS, LOSSY, as_file
from tests.edge_runtime.fuzzing import mutate

MUTANTS = 500
MEMORY_MIB = 256
"""That the worker may grow by over what it has once it has screened a film."""
ANSWERS = {0x0000, 0xA900, 0xC210}
"""Taken, or kept in quarantine: the object is not what was announced, or cannot be understood."""
CLASSES = (
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.SecondaryCaptureImageStorage,
    uid.KeyObjectSelectionDocumentStorage,
)
