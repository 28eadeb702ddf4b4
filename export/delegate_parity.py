"""How each delegate of this machine answers, held against the CPU on the same int8 file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_runtime import decision
from edge_runtime.bundle import DelegateParity
from edge_runtime.delegates import NAMES, LoadedModel, find_delegate
from edge_runtime.delegates.isolation import IsolatedModel, Limits
from edge_runtime.errors import DelegateError
from export.calibrate import run_films
from export.gate import CalibrationFilms, Passed
from export.parity import head_parity

# A GPU that is only a driver on the CPU takes seconds for one.
FILMS = 16


def delegate_parity(
    passed: Passed, given: CalibrationFilms, members: Mapping[str, bytes]
) -> dict[str, DelegateParity]:
    """Run calibration films on every other delegate that is there, and compare.

    A delegate that fails is named with its failure: it is this machine's, and no fault of the file.

    Parameters
    ----------
    members
        Of the bundle, by name: each delegate takes its own.
    """
    films = given.films
    rows = films.rows[np.linspace(0, len(films.rows) - 1, min(FILMS, len(films.rows))).astype(int)]
    pixels = films.cache.pixels[rows]
    fusion = passed.calibration.fusion
    reference = run_films(passed.loaded, passed.spec, films.spec, pixels).real()
    expected = decision.fuse(reference, fusion)
    found = {}
    for name in NAMES:
        delegate = find_delegate(name)
        probe = delegate.probe()
        if not delegate.isolated or not probe.available or delegate.member not in members:
            continue
        try:
            model: LoadedModel = IsolatedModel(
                delegate, members[delegate.member], passed.spec, threads=1, limits=Limits()
            )
            answered = run_films(model, passed.spec, films.spec, pixels).real()
            model.close()
        except DelegateError as error:
            found[name] = DelegateParity(
                version=probe.version, films=len(pixels), failure=error.what
            )
            continue
        moved = np.abs(decision.fuse(answered, fusion) - expected).max()
        found[name] = DelegateParity(
            version=probe.version,
            films=len(pixels),
            heads=head_parity(reference, answered, passed.spec),
            probability=float(moved),
        )
    return found
