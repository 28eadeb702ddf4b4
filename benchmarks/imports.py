"""What importing costs on the way to a first result, by package."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence

_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)")


def import_costs(arguments: Sequence[str]) -> dict[str, float]:
    """Run Python with ``arguments`` and return what its imports cost.

    Returns
    -------
    dict
        Milliseconds by top-level package, dearest first; a package's own modules only, so the sum
        is the whole. Python's timing of imports itself makes them some percent slower.

    Raises
    ------
    subprocess.CalledProcessError
        It failed.
    """
    command = [sys.executable, "-X", "importtime", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return by_package(result.stderr)


def by_package(report: str) -> dict[str, float]:
    """Add up a report of ``-X importtime``, microseconds, by package."""
    costs: defaultdict[str, float] = defaultdict(float)
    for microseconds, module in _LINE.findall(report):
        package = module.partition(".")[0]
        standard = package in sys.stdlib_module_names
        costs["standard library" if standard else package] += int(microseconds) / 1e3
    return dict(sorted(costs.items(), key=lambda cost: -cost[1]))
