"""Run Google's `edgetpu_compiler` where it is installed, and believe nothing that it does not show.

It is closed, of 2021, for x86-64 Linux only, and fails in ways of its own: the same model twice and
not the third time (google-coral/edgetpu issue 211), or with success and nothing mapped (issue 222).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.bundle import EdgeTpu
from edge_runtime.errors import GateError
from export.compat import edge_tpu_compatibility

COMPILER = "edgetpu_compiler"
_TRIES, _TIMEOUT_S = 3, 300.0
_MAPPED = "Mapped to Edge TPU"


@dataclass(frozen=True)
class Compiled:
    """What came of it.

    Attributes
    ----------
    model
        The compiled file; None where there is none.
    log
        What the compiler printed, every try; empty where it did not run.
    """

    facts: EdgeTpu
    model: bytes | None
    log: str


def compile_for_edge_tpu(
    model: bytes, min_share: float, *, timeout_s: float = _TIMEOUT_S
) -> Compiled:
    """Compile an int8 model, where the compiler is installed.

    Parameters
    ----------
    min_share
        Of the operators, 0..1, that the Edge TPU must run.

    Raises
    ------
    GateError
        It compiled, and left more of the model to the CPU than ``min_share`` allows.
    """
    predicted = edge_tpu_compatibility(model)
    facts = EdgeTpu(
        status="unavailable",
        reason=f"{COMPILER} is not installed here",
        predicted_mapped=predicted.mapped,
        total=predicted.total,
    )
    program = shutil.which(COMPILER)
    if program is None:
        return Compiled(facts, None, "")
    log = ""
    for _ in range(_TRIES):
        compiled, said = _run(program, model, timeout_s)
        log += said
        if compiled is not None:
            break
    version = re.search(r"Compiler version (\S+)", log)
    facts = facts.model_copy(update={"compiler": version.group(1) if version else None})
    if compiled is None:
        reason = f"{COMPILER} failed {_TRIES} times: {_last_line(log)}"
        return Compiled(facts.model_copy(update={"status": "failed", "reason": reason}), None, log)
    operators = parse_operators(said)
    total = sum(count for _, count, _ in operators)
    mapped = sum(count for _, count, status in operators if status == _MAPPED)
    if not total or mapped / total < min_share:
        left = ", ".join(f"{count} {op} ({why})" for op, count, why in operators if why != _MAPPED)
        raise GateError(
            f"{COMPILER} maps {mapped} of {total} operators to the Edge TPU, less than "
            f"{min_share:.0%}: {left or 'its log lists none'}",
            "Change the network, or lower export.min_edge_tpu_share",
        )
    facts = facts.model_copy(update={"status": "compiled", "reason": None, "mapped": mapped})
    return Compiled(facts, compiled, log)


def parse_operators(log: str) -> list[tuple[str, int, str]]:
    """Return the compiler's table of operators: name, count, status."""
    row = re.compile(r"^([A-Z][A-Z0-9_]+|Custom\S*)\s+(\d+)\s+(\S.*?)\s*$", re.MULTILINE)
    _, _, table = log.partition("Operator ")
    return [(op, int(count), status) for op, count, status in row.findall(table)]


def _run(program: str, model: bytes, timeout_s: float) -> tuple[bytes | None, str]:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.tflite"
        source.write_bytes(model)
        command = [program, "--show_operations", "--out_dir", folder, str(source)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return None, f"no answer within {timeout_s:g} s\n"
        except OSError as error:
            return None, f"cannot be started ({error.strerror})\n"
        compiled = Path(folder) / "model_edgetpu.tflite"
        said = done.stdout + done.stderr
        if done.returncode or not compiled.is_file():
            return None, said
        return compiled.read_bytes(), said


def _last_line(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    causes = [line for line in lines if "rror" in line or "ailed:" in line]
    return (causes or lines or ["it said nothing"])[-1]
