"""Imports point one way, and the device never reaches the workstation."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("tensorflow", "tf_keras", "keras", "pandas", "sklearn", "scipy", "matplotlib", "torch")
MAY_IMPORT = {
    "edge_runtime": set(),
    "train": {"edge_runtime"},
    "export": {"edge_runtime", "train"},
    "benchmarks": {"edge_runtime", "train"},
}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_point_one_way(package: str) -> None:
    forbidden = set(MAY_IMPORT) - {package} - MAY_IMPORT[package]
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            reached = {name.split(".")[0] for name in names} & forbidden
            assert not reached, f"{path.relative_to(ROOT)} imports {reached}"


def test_the_device_reaches_nothing_heavy(tiny_bundle: Path, tmp_path: Path) -> None:
    """The whole way of a film, in a process whose modules are looked at afterwards."""
    import cv2
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 255, (200, 160)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "film.png"), noise)
    command = ["osteoedge", "screen", str(tmp_path / "film.png"), "--bundle", str(tiny_bundle),
               "--out", str(tmp_path / "out")]  # fmt: skip
    script = (
        "import sys\n"
        f"sys.argv = {command!r}\n"
        "import edge_runtime\n"
        "from edge_runtime.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    modules = set(result.stdout.splitlines()[-1].split()[1:])
    assert "edge_runtime" in modules
    assert not modules & {*HEAVY, "train", "export", "benchmarks"}
