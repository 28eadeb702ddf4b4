"""What changes between two versions of a bundle: what a change control plan has to know.

Of predetermined change control plans: FDA, "Marketing submission recommendations for a
predetermined change control plan for AI-enabled device software functions", December 2024.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.progress import Progress

from edge_runtime.bundle import MANIFEST, load_bundle
from export.bounds import ChangeBounds
from train.dataset.schema import Dataset
from train.evaluate.metrics import all_differences
from train.evaluate.models import BundleModel
from train.evaluate.paired import Comparison, compare
from train.evaluate.resampling import Metric
from train.evaluate.screenings import answer_dataset
from train.evaluate.store import AnswerStore
from train.progress import counting


@dataclass(frozen=True)
class Check:
    """A bound on what may change, and whether it held."""

    name: str
    bound: float | None
    found: float | None
    met: bool


@dataclass(frozen=True)
class BundleDiff:
    """The second bundle against the first.

    Attributes
    ----------
    manifest
        Keys whose values differ: first, second.
    bytes
        Size of the two files.
    comparisons
        Of the second less the first on a dataset: DeLong for areas, McNemar for decisions.
    differences
        Every metric of the second less the first, paired, 95 % resampled by patient.
    turned
        Share of films whose decision differs; None without a dataset.
    """

    manifest: Mapping[str, tuple[Any, Any]]
    bytes: tuple[int, int]
    comparisons: Sequence[Comparison]
    differences: Mapping[str, Metric]
    turned: float | None
    checks: Sequence[Check]

    @property
    def met(self) -> bool:
        """Whether every bound held."""
        return all(check.met for check in self.checks)

    def document(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {**asdict(self), "met": self.met}


def diff_bundles(
    first: Path,
    second: Path,
    dataset: Dataset | None,
    bounds: ChangeBounds | None,
    progress: Progress,
) -> BundleDiff:
    """Compare two bundles, on a dataset where one is given.

    Raises
    ------
    BundleError
        One of them cannot be loaded.
    """
    bundles = [load_bundle(path) for path in (first, second)]
    changed = _changed(*(_flat(json.loads(bundle.members[MANIFEST])) for bundle in bundles))
    comparisons: list[Comparison] = []
    found: dict[str, Metric] = {}
    turned = None
    if dataset is not None:
        models = [BundleModel.open(path) for path in (first, second)]
        old, new = (_answers(model, dataset, progress) for model in models)
        points = (models[1].operating_points, models[0].operating_points)
        comparisons = compare(new, old, models[0].name, points)
        if [p.name for p in points[0]] == [p.name for p in points[1]]:
            found = all_differences(new, old, points)
        turned = float((old["decision"].astype(str) != new["decision"].astype(str)).mean())
    sizes = (first.stat().st_size, second.stat().st_size)
    checks = [] if bounds is None else list(_checks(bounds, changed, found, turned, sizes[1]))
    return BundleDiff(changed, sizes, comparisons, found, turned, checks)


def _answers(model: BundleModel, dataset: Dataset, progress: Progress) -> pd.DataFrame:
    report = counting(progress, f"screen with {model.name}", len(dataset.films))
    with tempfile.TemporaryDirectory() as folder, AnswerStore(Path(folder), model.sha256) as store:
        return answer_dataset(model, dataset, store, progress=report).predictions


def _flat(document: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of a JSON document by dotted path; a list of plain values is a leaf."""
    if isinstance(document, dict):
        parts = [(str(key), value) for key, value in document.items()]
    elif isinstance(document, list) and any(isinstance(item, dict | list) for item in document):
        # Operating points keep their names, also where their order changes.
        named = [item.get("name", n) if isinstance(item, dict) else n
                 for n, item in enumerate(document)]  # fmt: skip
        parts = [(str(name), item) for name, item in zip(named, document, strict=True)]
    else:
        return {path: document}
    return {
        key: leaf
        for name, value in parts
        for key, leaf in _flat(value, f"{path}.{name}" if path else name).items()
    }


def _changed(one: dict[str, Any], two: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys = dict.fromkeys([*one, *two])
    return {k: (one.get(k), two.get(k)) for k in keys if one.get(k) != two.get(k)}


def _checks(
    bounds: ChangeBounds,
    changed: Mapping[str, tuple[Any, Any]],
    found: Mapping[str, Metric],
    turned: float | None,
    size: int,
) -> Iterator[Check]:
    for asked, sign in ((bounds.max_loss, -1.0), (bounds.max_gain, 1.0)):
        for name, bound in asked.items():
            value = found[name].value if name in found else None
            met = value is not None and sign * value <= bound
            yield Check(f"{'loss' if sign < 0 else 'gain'} of {name}", bound, value, met)
    if bounds.max_turned is not None:
        met = turned is not None and turned <= bounds.max_turned
        yield Check("decisions turned", bounds.max_turned, turned, met)
    if bounds.max_bytes is not None:
        yield Check("bytes", bounds.max_bytes, size, size <= bounds.max_bytes)
    for key in bounds.unchanged:
        touched = [name for name in changed if name == key or name.startswith(f"{key}.")]
        yield Check(f"{key} unchanged", None, float(len(touched)), not touched)
