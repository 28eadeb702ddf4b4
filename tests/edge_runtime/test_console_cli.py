"""`osteoedge console`: tokens and accounts, as a person makes them."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

from typer.testing import CliRunner

from edge_runtime.cli import app
from edge_runtime.console.accounts import read_token, same_password
from edge_runtime.errors import ConfigError
from edge_runtime.unit.config import Account, load_unit
from tests.edge_runtime.test_imports import loaded_by

PASSWORD = "correct horse battery"


def unit_toml(folder: Path, console: str) -> Path:
    path = folder / "unit.toml"
    path.write_text(
        '[bundle]\npath = "none.osteo"\ntrusted_keys = "keys"\n[spool]\ndirectory = "spool"\n'
        f'[[intake.folders]]\npath = "watched"\n{console}'
    )
    return path


def test_a_token_is_made_and_renewed(tmp_path: Path) -> None:
    config = unit_toml(tmp_path, '[console]\ntoken_file = "secret"\nport = 9999\n')
    tokens = []
    for _ in range(2):
        said = CliRunner().invoke(app, ["console", "token", "--config", str(config)])
        assert said.exit_code == 0
        tokens.append(read_token(tmp_path / "secret"))
        assert f"http://127.0.0.1:9999/#token={tokens[-1]}" in said.stdout
    assert tokens[0] != tokens[1]
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_paths_are_relative_to_the_settings(tmp_path: Path) -> None:
    console = '[console]\nsocket = "s"\nsubmit_from = ["films", "/srv/films"]\n'
    settings = load_unit(unit_toml(tmp_path, console)).console
    assert settings is not None
    assert settings.socket == tmp_path / "s"
    assert settings.submit_from == (tmp_path / "films", Path("/srv/films"))


def test_no_token_where_none_is_used(tmp_path: Path) -> None:
    for console in ("", '[console]\nsocket = "s"\n'):
        config = unit_toml(tmp_path, console)
        said = CliRunner().invoke(app, ["console", "token", "--config", str(config)])
        assert isinstance(said.exception, ConfigError)


def test_an_account_is_printed_as_the_settings_take_it() -> None:
    runner = CliRunner()
    said = runner.invoke(app, ["console", "account", "m.weber"], input=f"{PASSWORD}\n" * 2)
    assert said.exit_code == 0
    entry = said.stdout[said.stdout.index("[[console.accounts]]") :]
    (kept,) = tomllib.loads(entry)["console"]["accounts"]
    assert same_password(PASSWORD, Account.model_validate(kept).password)
    assert PASSWORD not in said.stdout
    for name, password in (("m weber", PASSWORD), ("m.weber", "short")):
        refused = runner.invoke(app, ["console", "account", name], input=f"{password}\n" * 2)
        assert isinstance(refused.exception, ConfigError), name


def test_nobody_but_the_console_loads_its_server() -> None:
    servers = {"fastapi", "starlette", "uvicorn", "h11", "anyio"}
    for statement in (
        "import edge_runtime.cli",
        "import edge_runtime.unit.service, edge_runtime.unit.check",
        "import edge_runtime.unit.worker, edge_runtime.intake.folder, edge_runtime.outbox",
    ):
        assert not loaded_by(statement) & servers, statement
    assert loaded_by("import edge_runtime.console.server") >= servers
