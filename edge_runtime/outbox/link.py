"""Whether this machine has a network: carriers of its interfaces, and its default routes."""

from __future__ import annotations

from pathlib import Path

_ROUTE_IS_UP = 0x1
_NOWHERE = "0" * 32


class Link:
    """Notices that a network came up, on Linux.

    Parameters
    ----------
    interfaces, routes, routes_v6
        Of the kernel; a test may give others.
    """

    def __init__(
        self,
        interfaces: Path = Path("/sys/class/net"),
        routes: Path = Path("/proc/net/route"),
        routes_v6: Path = Path("/proc/net/ipv6_route"),
    ) -> None:
        self._interfaces = interfaces
        self._routes = routes
        self._routes_v6 = routes_v6
        self._known = self._up()

    def came_up(self) -> bool:
        """Return whether a carrier or a default route is there that was not when last asked."""
        before, self._known = self._known, self._up()
        return bool(self._known - before)

    def _up(self) -> frozenset[tuple[str, ...]]:
        return frozenset({*self._carriers(), *self._default_routes()})

    def _carriers(self) -> set[tuple[str, ...]]:
        try:
            files = list(self._interfaces.glob("*/carrier"))
        except OSError:
            return set()
        # An interface that is switched off answers with an error.
        return {("carrier", file.parent.name) for file in files if _read(file).strip() == "1"}

    def _default_routes(self) -> set[tuple[str, ...]]:
        found: set[tuple[str, ...]] = set()
        for line in _read(self._routes).splitlines()[1:]:
            interface, destination, gateway, flags, *_ = line.split()
            if int(destination, 16) == 0 and int(flags, 16) & _ROUTE_IS_UP:
                found.add(("route", interface, gateway))
        for line in _read(self._routes_v6).splitlines():
            destination, length, _, _, gateway, *_, flags, interface = line.split()
            # The kernel's own route to nowhere is on lo.
            default = (destination, length) == (_NOWHERE, "00") and interface != "lo"
            if default and int(flags, 16) & _ROUTE_IS_UP:
                found.add(("route", interface, gateway))
        return found


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
