"""Google's Edge TPU (Coral), through libedgetpu."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_runtime.bundle import EDGE_TPU_MODEL, ModelSpec
from edge_runtime.delegates.base import Probe
from edge_runtime.delegates.runtime import InterpreterModel, load_native_delegate, probe_runtime

LIBRARY = "libedgetpu.so.1"
# A stick calls itself Global Unichip until its firmware is loaded, and Google from then on.
USB_IDS = (("1a6e", "089a"), ("18d1", "9302"))
_FOLDERS = ("/usr/lib", "/usr/local/lib", "/lib", "/opt/coral/lib")


class EdgeTpuDelegate:
    """The model that edgetpu_compiler made, on a stick, a card or a board's own chip.

    Parameters
    ----------
    system
        The root below which `/sys` and `/dev` are looked at.
    """

    name = "edgetpu"
    member = EDGE_TPU_MODEL
    isolated = True

    def __init__(self, system: Path = Path("/"), library: str = LIBRARY) -> None:
        self._system = system
        self._library = library

    def environment(self) -> Mapping[str, str]:
        """Return nothing: libedgetpu needs no variable."""
        return {}

    def probe(self) -> Probe:
        """Say whether an Edge TPU, its driver and its library are there.

        Read from sysfs, because libedgetpu gives no reason of its own when it fails.
        """
        runtime = probe_runtime()
        if not runtime.available:
            return runtime
        where, why_not = find_edge_tpu(self._system)
        if where is None:
            return Probe(False, reason=why_not)
        library = self._find_library()
        if library is None:
            return Probe(
                False, reason=f"an Edge TPU is there ({where}), but {LIBRARY} is not installed"
            )
        return Probe(True, version=f"{runtime.version}, {library.name}, {where}")

    def load(self, model: bytes, spec: ModelSpec, threads: int) -> InterpreterModel:
        """Load a compiled model onto the device.

        Raises
        ------
        DelegateError
            The library or the device refuses it.
        """
        _, why_not = find_edge_tpu(self._system)
        hint = why_not or "the device is in use by another process, or must be plugged in again"
        library = str(self._find_library() or self._library)
        return InterpreterModel(model, spec, threads, load_native_delegate(library, {}, hint))

    def _find_library(self) -> Path | None:
        if "/" in self._library:
            return Path(self._library) if Path(self._library).is_file() else None
        for folder in _FOLDERS:
            for file in (self._system / folder.lstrip("/")).glob(f"**/{self._library}"):
                return file
        return None


def find_edge_tpu(system: Path = Path("/")) -> tuple[str | None, str]:
    """Look for an Edge TPU on PCIe and USB.

    Returns
    -------
    where, why_not
        The one found and an empty sentence, or None and what is missing.
    """
    cards = sorted((system / "sys/class/apex").glob("apex_*"))
    if cards:
        device = system / "dev" / cards[0].name
        if not device.exists():
            return None, f"the driver knows a card, but {device} is missing: load gasket and apex"
        return f"PCIe {cards[0].name}", ""
    for entry in sorted((system / "sys/bus/usb/devices").glob("*/idVendor")):
        if (_word(entry), _word(entry.with_name("idProduct"))) in USB_IDS:
            return f"USB {entry.parent.name}", ""
    for entry in sorted((system / "sys/bus/pci/devices").glob("*/vendor")):
        # 0x1ac1:0x089a is the card itself, seen by the bus and claimed by no driver.
        if (_word(entry), _word(entry.with_name("device"))) == ("0x1ac1", "0x089a"):
            return None, "an Edge TPU card is on PCIe, but its driver (gasket, apex) is not loaded"
    return None, "no Edge TPU on PCIe or USB"


def _word(file: Path) -> str:
    try:
        return file.read_text().strip().lower()
    except OSError:
        return ""
