"""What `import edge_runtime` brings, and what it leaves for later."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edge_runtime

LATER = ("numpy", "cv2", "pydicom", "pydantic", "cryptography", "imagecodecs", "ai_edge_litert",
         "typer", "rich", "highdicom")  # fmt: skip


def loaded_by(statement: str) -> set[str]:
    """Top-level modules of a fresh process after a statement."""
    script = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_nothing_heavy_is_imported_before_it_is_asked_for() -> None:
    assert not loaded_by("import edge_runtime; edge_runtime.__version__") & set(LATER)


def test_reading_a_film_does_not_load_the_runtime_of_the_network() -> None:
    loaded = loaded_by("from edge_runtime import read_radiograph")
    assert "pydicom" in loaded
    assert not loaded & {"ai_edge_litert", "cryptography", "imagecodecs", "rich", "typer"}


def test_the_command_loads_the_writer_of_dicom_objects_only_where_they_are_asked_for() -> None:
    statement = "import edge_runtime.cli, edge_runtime.batch, edge_runtime.screener"
    assert "highdicom" not in loaded_by(statement)


def test_every_public_name_is_there() -> None:
    for name in edge_runtime.__all__:
        assert getattr(edge_runtime, name) is not None
        assert name in dir(edge_runtime)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = edge_runtime.no_such_name


def test_feedback_needs_nothing_of_the_workstation() -> None:
    names = ("page", "report", "importing", "export", "cli")
    loaded = loaded_by("; ".join(f"import edge_runtime.feedback.{name}" for name in names))
    assert {"pydicom", "dicomanonymizer"} <= loaded
    assert not loaded & {"train", "export", "pandas", "scipy", "jinja2", "tensorflow", "matplotlib"}


def test_the_list_of_verbs_loads_nothing_of_feedback() -> None:
    assert not loaded_by("import edge_runtime.cli") & {"pydicom", "dicomanonymizer", "highdicom"}
