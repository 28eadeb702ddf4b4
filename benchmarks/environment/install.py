"""Make a clean environment, and install in it as a device does."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

from edge_runtime.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parents[2]


def make_environment(folder: Path, *installs: Sequence[str]) -> Path:
    """Make a virtual environment and run `pip install` in it once for each of ``installs``.

    Returns
    -------
    Path
        Its folder of commands.

    Raises
    ------
    ConfigError
        Something cannot be installed.
    """
    venv.create(folder, with_pip=True)
    for arguments in installs:
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
            raise ConfigError(
                "; ".join(lines) or f"pip exited with {result.returncode}",
                "Look whether a package registry is in reach",
                " ".join(arguments),
            )
    return folder / "bin"


def copy_packaged(checkout: Path, folder: Path) -> str:
    """Copy what is packaged, so that building leaves nothing in the working tree.

    Returns
    -------
    str
        ``folder``, for pip.
    """
    project = tomllib.loads((checkout / "pyproject.toml").read_text())
    folder.mkdir()
    for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]:
        for package in checkout.glob(pattern):
            if (package / "__init__.py").is_file():
                shutil.copytree(
                    package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__")
                )
    for name in (
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
    ):
        shutil.copy(checkout / name, folder / name)
    return str(folder)


def install_device(folder: Path, wheel: Path | None, checkout: Path = CHECKOUT) -> None:
    """Install the device in a clean environment: a wheel, or a checkout with its constraints.

    Raises
    ------
    ConfigError
        There is neither, or it cannot be installed.
    """
    if wheel is not None:
        if not wheel.is_file():
            raise ConfigError("there is no such file", "Name a wheel of osteoedge", str(wheel))
        make_environment(folder, [str(wheel)])
        return
    if not (checkout / "pyproject.toml").is_file():
        raise ConfigError(
            "this is no checkout of osteoedge", "Name a wheel (--wheel) or an environment (--venv)"
        )
    with tempfile.TemporaryDirectory() as temporary:
        source = copy_packaged(checkout, Path(temporary) / "source")
        make_environment(folder, ["-c", str(checkout / "constraints.txt"), source])
