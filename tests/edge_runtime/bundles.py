"""Bundles that a unit may serve, made of the one that was trained on phantoms."""

from __future__ import annotations

import shutil
from pathlib import Path

from edge_runtime.bundle import (
    Fitness,
    Purpose,
    generate_key,
    load_bundle,
    sign_bundle,
    write_bundle,
)


def servable_bundle(tiny_bundle: Path, folder: Path, purpose: Purpose) -> tuple[Path, Path]:
    """Write a signed bundle of another purpose; return it and the folder of its trusted key.

    The network is that of ``tiny_bundle``: it knows nothing, but every delegate can run it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, key, trusted = folder / f"{purpose}.osteo", folder / "maker", folder / "trusted"
    bundle = load_bundle(tiny_bundle)
    status = "evaluated" if purpose == "evaluated" else "research"
    manifest = bundle.manifest.model_copy(
        update={"purpose": purpose, "fitness": Fitness(status=status)}
    )
    write_bundle(path, manifest, bundle.content)
    if not key.exists():
        generate_key(key)
        trusted.mkdir()
        shutil.copy(folder / "maker.pub", trusted)
    sign_bundle(path, key)
    return path, trusted
