"""The folder of a training run: what it holds, and how export and evaluation open it again.

::

    RUN/run.json        dataset card and hash, recipe, split hash, versions, phases done
    RUN/split.csv       image_id, patient_id, part
    RUN/history.jsonl   one line an epoch
    RUN/weights/        float.weights.h5, pruned.weights.h5 where pruned, qat.weights.h5
    RUN/checkpoints/    one folder a phase, to resume from
    RUN/tensorboard/    logs
    RUN/cache/          decoded films
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from edge_runtime.dataset_folder import DatasetCard
from edge_runtime.errors import RunError
from edge_runtime.files import write_atomically
from train.config import Recipe
from train.dataset.cache import FilmCache, build_cache
from train.dataset.schema import Dataset, load_dataset
from train.dataset.split import split_sha256
from train.dataset.vocabulary import Vocabulary

FORMAT = "osteoedge.run/1"
SOFTWARE = ("osteoedge", "tensorflow", "tf_keras", "tensorflow-model-optimization", "numpy")


@dataclass(frozen=True)
class Run:
    """A training run on disk."""

    folder: Path
    recipe: Recipe
    card: DatasetCard
    dataset_root: Path
    dataset_sha256: str
    split_sha256: str
    vocabulary: Vocabulary
    software: dict[str, str]
    done: tuple[str, ...]

    @property
    def float_weights(self) -> Path:
        """Averaged weights at the end of the float epochs."""
        return self.folder / "weights" / "float.weights.h5"

    @property
    def pruned_weights(self) -> Path:
        """Weights of the float network after pruning, where the recipe has it."""
        return self.folder / "weights" / "pruned.weights.h5"

    @property
    def qat_weights(self) -> Path:
        """Weights of the best quantization-aware epoch."""
        return self.folder / "weights" / "qat.weights.h5"

    def split(self) -> pd.DataFrame:
        """Return which film is in which part."""
        return pd.read_csv(self.folder / "split.csv", dtype={"image_id": str, "patient_id": str})

    def dataset(self) -> Dataset:
        """Open the films that the run was trained on.

        Raises
        ------
        RunError
            The dataset is not where it was, or was changed since.
        """
        dataset = load_dataset(self.dataset_root)
        if dataset.sha256 != self.dataset_sha256:
            raise RunError(
                f"the dataset {self.dataset_root} was changed since the run was trained",
                "Restore it, or train again",
                str(self.folder),
            )
        return dataset.select(self.recipe.data.where)

    def cache(
        self, dataset: Dataset, progress: Callable[[int, int], None] | None = None
    ) -> FilmCache:
        """Return the decoded films of the run's dataset; ``progress`` is told done and total."""
        return build_cache(dataset, self.recipe.input, self.folder / "cache", progress)

    def mark_done(self, phase: str) -> Run:
        """Record that a phase is finished."""
        run = Run(**{**self.__dict__, "done": (*self.done, phase)})
        run.save()
        return run

    def save(self) -> None:
        """Write run.json atomically."""
        document = {
            "format": FORMAT,
            "recipe": self.recipe.model_dump(mode="json", by_alias=True),
            "card": asdict(self.card),
            "dataset_root": str(self.dataset_root),
            "dataset_sha256": self.dataset_sha256,
            "split_sha256": self.split_sha256,
            "vocabulary": asdict(self.vocabulary),
            "software": self.software,
            "done": list(self.done),
        }
        write_atomically(self.folder / "run.json", (json.dumps(document, indent=2) + "\n").encode())


def create_run(
    folder: Path, recipe: Recipe, dataset: Dataset, split: pd.DataFrame, vocabulary: Vocabulary
) -> Run:
    """Start a run folder."""
    for name in ("weights", "checkpoints", "tensorboard"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "split.csv", split.to_csv(index=False).encode())
    run = Run(
        folder=folder,
        recipe=recipe,
        card=dataset.card,
        dataset_root=dataset.root.resolve(),
        dataset_sha256=dataset.sha256,
        split_sha256=split_sha256(split),
        vocabulary=vocabulary,
        software={name: version(name) for name in SOFTWARE},
        done=(),
    )
    run.save()
    return run


def load_run(folder: Path) -> Run:
    """Open a run folder.

    Raises
    ------
    RunError
        There is none, or it was made by another version.
    """
    try:
        document: dict[str, Any] = json.loads((folder / "run.json").read_text())
        if document.pop("format") != FORMAT:
            raise ValueError("another format")
        return Run(
            folder=folder,
            recipe=Recipe.model_validate(document.pop("recipe")),
            card=DatasetCard(**document.pop("card")),
            dataset_root=Path(document.pop("dataset_root")),
            vocabulary=Vocabulary(**{k: tuple(v) for k, v in document.pop("vocabulary").items()}),
            done=tuple(document.pop("done")),
            **document,
        )
    except FileNotFoundError:
        raise RunError(
            "no training run in this folder (no run.json)",
            "Make one with 'osteoedge train DATASET --out RUN'",
            str(folder),
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"run.json cannot be read ({type(error).__name__})",
            "Train again with this version of osteoedge",
            str(folder),
        ) from None
