"""Who may send."""

from __future__ import annotations

import pytest

from edge_runtime.intake.peers import Peers
from edge_runtime.unit.config import Peer


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False), ("fe80::1%eth0", False), ("::ffff:10.0.0.1", False),
    ],
)  # fmt: skip
def test_without_a_list_it_is_this_machine_alone(address: str, may: bool) -> None:
    peers = Peers(())
    assert peers.may_connect(address) is may
    assert peers.may_send(address, "ANY") is may


@pytest.mark.parametrize(
    ("address", "title", "may"),
    [
        ("10.0.0.7", "CONSOLE", True),
        ("::ffff:10.0.0.7", "CONSOLE", True),
        ("10.0.0.7", "OTHER", False),
        ("10.0.1.7", "CONSOLE", False),
        ("192.0.2.1", "PACS", True),
        ("192.0.2.2", "PACS", False),
        ("127.0.0.1", "CONSOLE", False),
        ("2001:db8::5", "SIX", True),
    ],
)
def test_an_address_and_its_title(address: str, title: str, may: bool) -> None:
    peers = Peers(
        (
            Peer(ae_title="CONSOLE", address="10.0.0.0/24"),
            Peer(ae_title="PACS", address="192.0.2.1"),
            Peer(ae_title="SIX", address="2001:db8::/32"),
        )
    )
    assert peers.may_send(address, title) is may


def test_a_title_from_anywhere() -> None:
    peers = Peers((Peer(ae_title="CONSOLE"),))
    assert peers.may_connect("203.0.113.9")
    assert peers.may_send("203.0.113.9", "CONSOLE")
    assert not peers.may_send("203.0.113.9", "OTHER")
