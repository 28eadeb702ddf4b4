"""A network that comes up is noticed from what the kernel shows."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.outbox.link import Link

HEAD = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
DEFAULT = "wwan0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0\n"
LOCAL = "eth0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
NOWHERE = f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200 lo\n"
DEFAULT_V6 = f"{'0' * 32} 00 {'0' * 32} 00 fe80{'0' * 27}1 00000400 00000001 0000 00000003 eth0\n"


def kernel(folder: Path) -> Link:
    for interface in ("eth0", "wwan0"):
        (folder / "net" / interface).mkdir(parents=True)
        (folder / "net" / interface / "carrier").write_text("0\n")
    (folder / "route").write_text(HEAD + LOCAL)
    (folder / "route6").write_text(NOWHERE)
    return Link(folder / "net", folder / "route", folder / "route6")


def test_a_carrier_that_appears_is_a_link_that_came_up(tmp_path: Path) -> None:
    link = kernel(tmp_path)
    assert not link.came_up()
    carrier = tmp_path / "net/eth0/carrier"
    carrier.write_text("1\n")
    assert link.came_up()
    assert not link.came_up(), "it was up before"
    carrier.write_text("0\n")
    assert not link.came_up(), "it went away"
    carrier.write_text("1\n")
    assert link.came_up()


def test_a_default_route_is_and_another_is_not(tmp_path: Path) -> None:
    link = kernel(tmp_path)
    (tmp_path / "route").write_text(HEAD + LOCAL.replace("eth0", "eth1"))
    assert not link.came_up()
    (tmp_path / "route").write_text(HEAD + LOCAL + DEFAULT)
    assert link.came_up()
    (tmp_path / "route6").write_text(NOWHERE + DEFAULT_V6)
    assert link.came_up()


def test_where_the_kernel_shows_nothing_no_link_comes_up(tmp_path: Path) -> None:
    link = Link(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert not link.came_up()


def test_this_machine_can_be_read() -> None:
    assert not Link().came_up()
