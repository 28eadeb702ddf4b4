"""Who may call the console: by socket, by token, by name; from which host, and from which page."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from edge_runtime.console.accounts import hash_password, make_token
from edge_runtime.errors import ConfigError
from edge_runtime.unit.config import ConsoleSettings
from tests.conftest import need
from tests.e2e.certificates import Authority
from tests.edge_runtime.consoles import Console, console_at_work

PASSWORD = "correct horse battery"
NOBODY = 65534


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with console_at_work(tmp_path_factory.mktemp("console")) as console:
        yield console


def test_the_socket_needs_no_token(console: Console) -> None:
    assert console.local("GET", "/v1/status").json["mode"] == "live"
    assert stat.S_IMODE(console.socket.stat().st_mode) == 0o600


def test_loopback_needs_the_token(console: Console) -> None:
    answer = console.remote("GET", "/v1/status")
    assert answer.status == 401
    assert set(answer.json) == {"error", "remedy"}
    assert console.remote("GET", "/v1/status", token="x" * 43).status == 401
    assert console.remote("GET", "/v1/status", token=console.token).status == 200
    basic = base64.b64encode(f"token:{console.token}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}"}
    assert console.remote("GET", "/v1/status", headers=headers).status == 401


def test_guessing_a_token_is_slow_and_the_right_one_is_not(console: Console) -> None:
    statuses = [
        console.remote("GET", "/v1/status", token=f"{number:043}").status for number in range(9)
    ]
    assert statuses[-1] == 429
    assert console.remote("POST", "/v1/session", {"token": "x" * 43}).status == 429
    assert console.remote("GET", "/v1/status", token=console.token).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""]
)
def test_a_foreign_host_is_refused(console: Console, host: str) -> None:
    headers = {"Host": host.format(port=console.port)}
    for path in ("/v1/status", "/", "/v1/words"):
        answer = console.remote("GET", path, headers=headers, token=console.token)
        assert answer.status == 421, path


def test_names_of_loopback_are_ours(console: Console) -> None:
    for name in ("localhost", "127.0.0.1", "LOCALHOST"):
        headers = {"Host": f"{name}:{console.port}"}
        assert (
            console.remote("GET", "/v1/status", headers=headers, token=console.token).status == 200
        )


def test_a_session_is_for_our_own_page_alone(console: Console) -> None:
    signed_in = console.remote("POST", "/v1/session", {"token": console.token})
    assert signed_in.status == 200
    cookie = signed_in.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert part in cookie
    session = {"Cookie": cookie.partition(";")[0]}
    ours = {"Origin": f"http://127.0.0.1:{console.port}"}
    assert console.remote("GET", "/v1/status", headers=session).status == 200
    path, body = "/v1/films/1.2.3/withdraw", {"person": "a", "reason": "quality"}
    assert console.remote("POST", path, body, session | ours).status == 404, "let in"
    assert console.remote("POST", path, body, session).status == 403
    for origin in (
        "http://evil.example", "null", "http://127.0.0.1", f"https://127.0.0.1:{console.port}",
        f"http://localhost:{console.port}", "",
    ):  # fmt: skip
        answer = console.remote("POST", path, body, session | {"Origin": origin})
        assert answer.status == 403, origin
    tampered = {"Cookie": session["Cookie"][:-1] + "x"}
    assert console.remote("GET", "/v1/status", headers=tampered).status == 401
    out = console.remote("POST", "/v1/session/end", {}, session | ours)
    assert out.status == 204 and "Max-Age=0" in out.headers["set-cookie"]


def test_other_sites_pages_are_refused_also_with_the_token(console: Console) -> None:
    path, body = "/v1/films/1.2.3/withdraw", {"person": "a", "reason": "quality"}
    for headers in (
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert console.remote("POST", path, body, headers, token=console.token).status == 403
        assert console.remote("GET", "/v1/status", None, headers, token=console.token).status == 403
    # A link to the page is followed from anywhere.
    assert console.remote("GET", "/", headers={"Sec-Fetch-Site": "cross-site"}).status != 403


def test_no_answer_lets_other_sites_read(console: Console) -> None:
    foreign = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    for method, path in (("GET", "/v1/status"), ("OPTIONS", "/v1/films"), ("GET", "/")):
        for headers in ({}, foreign):
            answer = console.remote(method, path, headers=headers, token=console.token)
            assert not [name for name in answer.headers if "access-control" in name.lower()]
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'self'") and "unsafe" not in policy
            assert answer.headers["cache-control"] == "no-store"


def test_a_form_is_no_request(console: Console) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""):
        answer = console.local(
            "POST", "/v1/films/1.2.3/withdraw", b'{"person": "a"}', {"Content-Type": kind}
        )
        assert answer.status == 415, kind


def test_a_new_token_ends_what_the_old_one_opened(tmp_path: Path) -> None:
    with console_at_work(tmp_path) as console:
        cookie = console.remote("POST", "/v1/session", {"token": console.token}).headers
        session = {"Cookie": cookie["set-cookie"].partition(";")[0]}
        assert console.remote("GET", "/v1/status", headers=session).status == 200
        assert console.unit.console is not None and console.unit.console.token_file is not None
        renewed = make_token(console.unit.console.token_file)
        assert console.remote("GET", "/v1/status", headers=session).status == 401
        assert console.remote("GET", "/v1/status", token=console.token).status == 401
        assert console.remote("GET", "/v1/status", token=renewed).status == 200


def called_by(user: int, path: Path) -> str:
    """Call the socket as another user; return the status, 000 where it cannot be reached."""
    need(shutil.which("curl"), "curl")
    said = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", path,
         "http://unit/v1/status"],
        user=user, capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    return said.stdout


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder that other users reach: pytest's own are for its user alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_the_kernel_says_who_calls(passable: Path) -> None:
    with console_at_work(passable / "private") as console:
        assert called_by(NOBODY, console.socket) == "000", "by the file's mode alone"
        console.socket.chmod(0o666)
        assert called_by(NOBODY, console.socket) == "403"
    with console_at_work(passable / "shared", users=[str(NOBODY)]) as console:
        assert called_by(NOBODY, console.socket) == "200"
        assert called_by(NOBODY - 1, console.socket) == "403"


def test_accounts_sign_in_over_tls_and_guessing_is_slow(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    issued = authority.issue("unit")
    tls = {"certificate": issued.certificate, "key": issued.key}
    people = [{"name": "weber", "password": hash_password(PASSWORD)}]
    trusting = ssl.create_default_context(cafile=str(authority.certificate))

    def basic(name: str, password: str) -> dict[str, str]:
        shown = base64.b64encode(f"{name}:{password}".encode()).decode()
        return {"Authorization": f"Basic {shown}"}

    # 0.0.0.0 is beyond loopback; it is called by a name that is listed.
    with console_at_work(
        tmp_path / "c", bind="0.0.0.0", tls=tls, accounts=people, token_file=None,
        hosts=["localhost"],
    ) as console:  # fmt: skip
        call = lambda headers: console.remote("GET", "/v1/status", None, headers, tls=trusting)  # noqa: E731
        assert call({}).status == 401
        right = basic("weber", PASSWORD)
        assert call(right).status == 200
        began = time.monotonic()
        assert {call(right).status for _ in range(5)} == {200}
        print(f"5 remembered: {time.monotonic() - began:.3f} s")
        signed_in = console.remote(
            "POST", "/v1/session", {"name": "weber", "password": PASSWORD}, tls=trusting
        )
        assert signed_in.json["name"] == "weber"
        assert "Secure" in signed_in.headers["set-cookie"]
        assert call({"Cookie": signed_in.headers["set-cookie"].partition(";")[0]}).status == 200
        statuses = [call(basic("weber", f"{n}")).status for n in range(6)]
        assert statuses == [401] * 5 + [429]
        assert call(basic("nobody", PASSWORD)).status == 429
        assert call(right).status == 200, "who is known already is not locked out"
        with pytest.raises((ConnectionError, OSError)):
            console.remote("GET", "/v1/status")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"socket": None}, "nobody could call"),
        ({"bind": "0.0.0.0", "token_file": "t"}, "needs tls and accounts"),
        ({"bind": "192.0.2.1", "socket": "s"}, "needs tls and accounts"),
        ({"bind": "::", "tls": {"certificate": "c", "key": "k"}, "socket": "s"}, "needs tls"),
        ({"socket": "/" + "x" * 120}, "at most 100 bytes"),
        ({"accounts": [{"name": "a", "password": "plain"}]}, "password"),
    ],
)
def test_settings_that_open_a_door_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ConsoleSettings.model_validate(settings)


def test_a_token_is_not_for_the_network(tmp_path: Path) -> None:
    people = [{"name": "weber", "password": hash_password(PASSWORD)}]
    tls = {"certificate": "c", "key": "k"}
    with pytest.raises(ValidationError, match="a token is for loopback"):
        ConsoleSettings.model_validate(
            {"bind": "192.0.2.1", "tls": tls, "accounts": people, "token_file": "t"}
        )


def test_it_does_not_start_behind_an_open_door(tmp_path: Path) -> None:
    console = Console(tmp_path)
    (tmp_path / "token").chmod(0o644)
    console.run()
    assert isinstance(console.failure, ConfigError) and "other users" in console.failure.what
    (tmp_path / "token").chmod(0o600)
    with socket.create_server(("127.0.0.1", console.port)):
        console.run()
    assert isinstance(console.failure, ConfigError) and "cannot be had" in console.failure.what
    console = Console(tmp_path, users=["no-such-user"])
    console.run()
    assert isinstance(console.failure, ConfigError) and "no such user" in console.failure.what


def test_a_socket_that_a_dead_console_left_is_replaced_and_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "console.sock"))
    with console_at_work(tmp_path) as console:
        assert console.local("GET", "/v1/status").status == 200
        second = Console(tmp_path)
        second.run()
        assert isinstance(second.failure, ConfigError) and "cannot be made" in second.failure.what
        assert console.local("GET", "/v1/status").status == 200
