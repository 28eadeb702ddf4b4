"""The unit in the headers of its results: as their equipment, and as who observed."""

from __future__ import annotations

from typing import TypedDict

import highdicom.sr as sr
from pydicom.sr.codedict import codes

from edge_runtime.reports.uids import derived_uid
from edge_runtime.screening import Screening

MANUFACTURER = "osteoedge"
MODEL_NAME = "bone-tumour check"


class Equipment(TypedDict):
    """General Equipment module (PS3.3 C.7.5.1), by highdicom's names."""

    manufacturer: str
    manufacturer_model_name: str
    device_serial_number: str
    software_versions: str


def equipment(screening: Screening) -> Equipment:
    """Return what made a result. Its serial number is the bundle's SHA-256."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "device_serial_number": screening.bundle.sha256,
        "software_versions": screening.software,
    }


def observer(software: str, bundle_sha256: str | None = None) -> sr.ObserverContext:
    """Return who observed (PS3.16 TID 1004): the software, with the bundle that it used if any."""
    made_of = (software,) if bundle_sha256 is None else (bundle_sha256, software)
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", *made_of),
        name=MODEL_NAME,
        manufacturer_name=MANUFACTURER,
        model_name=software,
        serial_number=bundle_sha256,
    )
    return sr.ObserverContext(codes.DCM.Device, device)
