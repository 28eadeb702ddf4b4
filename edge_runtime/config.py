"""Settings files: TOML read into a pydantic model, and what is wrong with one in words."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from edge_runtime.errors import ConfigError

Settings = TypeVar("Settings", bound=BaseModel)


def read_settings(path: Path, model: type[Settings]) -> Settings:
    """Return the settings of a TOML file.

    Raises
    ------
    ConfigError
        The file cannot be read, is no TOML, or holds a key or value that is not understood.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"cannot be read ({reason})", "Check the path", str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML ({error})", "Correct the file", str(path)) from None
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise explain(error, model, str(path)) from None


def explain(error: ValidationError, model: type[BaseModel], name: str) -> ConfigError:
    """Return the first thing that is wrong, and of an unknown key the nearest that is known.

    Parameters
    ----------
    model
        What was validated against.
    name
        Of the file or option.
    """
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] == "missing":
        return ConfigError(f"the key {'.'.join(path)} is missing", "Add it", name)
    if first["type"] != "extra_forbidden":
        place = f"{'.'.join(path)}: " if path else ""
        got = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
        return ConfigError(f"{place}{first['msg']}{got}", "Correct the value", name)
    section = _section(model, path[:-1])
    known = [field.alias or key for key, field in section.model_fields.items()]
    near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    # A right key in the wrong section is as common as a wrong key.
    elsewhere = [key for key in _every_key(model) if key.split(".")[-1] == path[-1]]
    if elsewhere:
        hint = f"Did you mean {' or '.join(elsewhere)}"
    elif near:
        hint = f"Did you mean {'.'.join([*path[:-1], near[0]])}"
    else:
        hint = f"Known keys here: {', '.join(known)}"
    return ConfigError(f"no key is called {'.'.join(path)}", hint, name)


def _section(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    """Return the model of a section; positions in a list and tags of a union are passed over."""
    for part in path:
        for key, field in model.model_fields.items():
            if (field.alias or key) == part:
                model = next(_models_in(field.annotation), model)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _every_key(model: type[BaseModel]) -> list[str]:
    return [
        f"{field.alias or key}.{inner}"
        for key, field in model.model_fields.items()
        for section in _models_in(field.annotation)
        for inner in section.model_fields
    ]
