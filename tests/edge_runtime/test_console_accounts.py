"""Tokens, passwords and sessions; who guesses waits."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edge_runtime.console.accounts import (
    SESSION_S,
    BackOff,
    hash_password,
    make_token,
    open_session,
    read_token,
    same_password,
    seal_session,
)
from edge_runtime.errors import ConfigError
from edge_runtime.unit.config import Account


def test_a_token_is_for_its_owner_and_another_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    first = make_token(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_token(file) == first
    assert make_token(file) != first
    assert len(first) >= 43, "256 bits"


def test_a_token_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(file)
    make_token(file)
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="other users may read"):
        read_token(file)
    file.chmod(0o600)
    file.write_text("secret\n")
    with pytest.raises(ConfigError, match="too short"):
        read_token(file)


def test_a_password_is_known_by_its_hash() -> None:
    hashed = hash_password("correct horse battery")
    assert Account(name="weber", password=hashed).password == hashed
    assert hash_password("correct horse battery") != hashed, "salted"
    assert same_password("correct horse battery", hashed)
    assert not same_password("correct horse batterz", hashed)
    assert "horse" not in hashed


def test_a_session_ends_and_cannot_be_made_up() -> None:
    secrets = {"weber": "hash", "token": "t"}
    cookie = seal_session("weber", 1000.0, "hash")
    assert open_session(cookie, secrets.get, 999.0) == "weber"
    assert open_session(cookie, secrets.get, 1000.0) is None
    assert open_session(cookie, secrets.get, 1000.0 - SESSION_S - 1) is None, "a clock put back"
    assert open_session(cookie, {"weber": "new password"}.get, 999.0) is None
    assert open_session(cookie.replace("weber", "token"), secrets.get, 999.0) is None
    assert open_session(cookie.replace("1000", "1999"), secrets.get, 999.0) is None
    for nonsense in ("", "|", "weber||", "weber|nan|", "weber|1e9|x", "é|1|é"):
        assert open_session(nonsense, secrets.get, 0.5) is None


def test_who_guesses_waits_ever_longer_and_others_do_not() -> None:
    now = 0.0
    guesses = BackOff(lambda: now)
    waits = []
    for _ in range(14):
        guesses.failed("guesser")
        waits.append(guesses.wait_s("guesser"))
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert guesses.wait_s("other") == 0
    now = 59.0
    assert guesses.wait_s("guesser") == 1
    guesses.succeeded("guesser")
    assert guesses.wait_s("guesser") == 0
    for number in range(5000):
        guesses.failed(str(number))
    assert len(guesses._failed) <= 1000
