"""`osteoedge console`: the token, accounts, and the description of the API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

console = typer.Typer(
    no_args_is_help=True,
    help="Who may call the unit's local API and open its page.",
    rich_markup_mode="markdown",
)

Config = Annotated[Path, typer.Option("--config", metavar="unit.toml", help="The unit's settings.")]


@console.command()
def token(config: Config) -> None:
    """Make a new token, and say how to open the page; the one before it is worth nothing any more.

    Example: `osteoedge console token --config unit.toml`
    """
    from edge_runtime.console.accounts import make_token
    from edge_runtime.errors import ConfigError
    from edge_runtime.unit.config import load_unit

    settings = load_unit(config).console
    if settings is None or settings.token_file is None:
        raise ConfigError("no token is used", "Name a file in [console] token_file", str(config))
    made = make_token(settings.token_file)
    host = f"[{settings.bind}]" if ":" in settings.bind else settings.bind
    scheme = "https" if settings.tls else "http"
    typer.echo(f"{settings.token_file} holds it, for this user alone.")
    typer.echo(f"Next: open {scheme}://{host}:{settings.port}/#token={made}")


@console.command()
def account(
    name: Annotated[str, typer.Argument(help="Letters, digits, dot, underscore, hyphen.")],
) -> None:
    """Ask for a password, and print what unit.toml keeps of it.

    Example: `osteoedge console account m.weber`
    """
    from pydantic import ValidationError

    from edge_runtime.config import explain
    from edge_runtime.console.accounts import hash_password
    from edge_runtime.errors import ConfigError
    from edge_runtime.unit.config import Account

    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if len(password) < 12:
        raise ConfigError("a password of less than 12 characters", "Take a longer one")
    try:
        entry = Account(name=name, password=hash_password(password))
    except ValidationError as error:
        raise explain(error, Account, name) from None
    typer.echo("[[console.accounts]]")
    typer.echo(f'name = "{entry.name}"\npassword = "{entry.password}"')
    typer.echo("Next: add these lines to unit.toml, and start the service anew", err=True)


@console.command()
def openapi() -> None:
    """Print the description of the API, version 1, as OpenAPI.

    Example: `osteoedge console openapi > openapi.json`
    """
    import json

    from edge_runtime.console.app import openapi as describe

    typer.echo(json.dumps(describe(), indent=2, ensure_ascii=False))
