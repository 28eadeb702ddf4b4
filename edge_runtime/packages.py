"""What an installed package says of itself."""

from __future__ import annotations

from importlib.metadata import Distribution


def stated_licence(package: Distribution) -> str:
    """Return what a package says of its licence, in its own words, which are rarely SPDX.

    It speaks for the package's own code. Libraries inside its wheel have licences of their own.
    """
    stated = [*_stated(package, "License-Expression"), *_stated(package, "License")]
    classifiers = [
        entry.rpartition(" :: ")[2]
        for entry in _stated(package, "Classifier")
        if entry.startswith("License ::")
    ]
    # Some packages put the whole text there.
    first = next((line for text in stated for line in text.strip().splitlines()), "")
    return first[:100] or "; ".join(classifiers) or "not stated"


def _stated(package: Distribution, field: str) -> list[str]:
    return package.metadata.get_all(field) or []
