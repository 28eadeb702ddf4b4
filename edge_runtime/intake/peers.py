"""Who may send films: by address before a byte is read, by address and AE title afterwards."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from edge_runtime.unit.config import Peer


class Peers:
    """The list of those who may send; where it is empty, whoever is on this machine.

    An AE title proves nothing: it is the address, or the certificate, that keeps others out.
    """

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._listed = [
            (
                peer.ae_title,
                None if peer.address is None else ipaddress.ip_network(peer.address, strict=False),
            )
            for peer in peers
        ]

    def may_connect(self, address: str) -> bool:
        """Return whether anybody may call from an address."""
        return any(True for _ in self._titles(address))

    def may_send(self, address: str, ae_title: str) -> bool:
        """Return whether an AE title may call from an address."""
        return any(title in (None, ae_title) for title in self._titles(address))

    def _titles(self, address: str) -> list[str | None]:
        """Return the AE titles that may call from an address, None for any."""
        caller = ipaddress.ip_address(address)
        if isinstance(caller, ipaddress.IPv6Address) and caller.ipv4_mapped is not None:
            caller = caller.ipv4_mapped
        if not self._listed:
            return [None] if caller.is_loopback else []
        return [title for title, network in self._listed if network is None or caller in network]
