"""One phase of training: its epochs, checkpoints, and which weights are kept.

Every epoch ends in a checkpoint. A phase that was killed goes on at the epoch it was in, with the
films in the same order. Several devices share each batch; of several workers only the chief writes
into the run folder, see :mod:`train.distribute`.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf
import tf_keras
from rich.progress import Progress, TaskID

from edge_runtime.errors import RunError
from train.average import WeightAverage
from train.dataset.pipeline import FilmSet, training_batches
from train.distribute import (
    chief_first,
    is_chief,
    over_replicas,
    shares,
    to_replicas,
    value_of_chief,
)
from train.fusion import fused_auc
from train.networks import predict
from train.objectives import Batch, Outputs
from train.run import Run, load_run

_CLIP_NORM = 5.0
# Enough to see whether the pipeline or the network is slow; prefetched ones are there at once.
_PIPELINE_STEPS = 8
Loss = Callable[[Outputs, Batch], tf.Tensor]


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own optimizers, checkpoints and choice of weights."""

    name: str
    model: tf_keras.Model
    loss: Loss
    batch: int
    epochs: int
    # Variables, and the peak of their learning rate.
    groups: tuple[tuple[list[tf.Variable], float], ...]
    weights: Path
    weight_decay: float = 0.0
    average: float = 0.0
    # Films of the hospital that trained a network say little about which epoch is best elsewhere:
    # its AUC here peaks while it still lives on shortcuts. Averaged weights at the end of the
    # schedule need no choice. Quantization only has to do no harm, and these films show harm.
    keep: Literal["last", "best"] = "last"
    # Where `model` wraps a plain one around the same variables: that one, whose weights are kept.
    plain: tf_keras.Model | None = None


@dataclass(frozen=True)
class _Trained:
    """What an epoch was: mean loss, and films a second in training and of the pipeline alone.

    Films are counted on the machine that writes it down.
    """

    loss: float
    films_per_second: float
    pipeline_films_per_second: float


class PhaseTrainer:
    """Trains the phases of a run one after the other; ``run`` is the run as it stands.

    Parameters
    ----------
    films, validation
        What is trained on, and what each epoch is measured on.
    """

    def __init__(self, run: Run, films: FilmSet, validation: FilmSet, progress: Progress) -> None:
        self.run, self.films, self.validation = run, films, validation
        self.recipe = run.recipe
        self.progress = progress
        self.strategy = tf.distribute.get_strategy()
        # Variables are read on all workers at once, so all go through the motions of writing.
        self.scratch = None if is_chief(self.strategy) else tempfile.TemporaryDirectory()
        self.out = Path(self.scratch.name) if self.scratch else run.folder
        (self.out / "weights").mkdir(exist_ok=True)
        self.logs = tf.summary.create_file_writer(str(self.out / "tensorboard"))

    def fit(self, phase: Phase) -> None:
        """Run a phase from its last checkpoint and leave its weights on disk."""
        if phase.name in self.run.done:
            return
        epoch, best = tf.Variable(0, dtype=tf.int64), tf.Variable(-1.0)
        average = WeightAverage(phase.model, phase.average)
        optimizers = [self._optimizer(phase, variables, rate) for variables, rate in phase.groups]
        manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(
                model=phase.model, average=average, optimizers=optimizers, epoch=epoch, best=best
            ),
            str(self.out / "checkpoints" / phase.name),
            max_to_keep=1,
        )
        # No worker can be late for it: the chief's first epoch does not end without the others.
        latest = tf.train.latest_checkpoint(self.run.folder / "checkpoints" / phase.name)
        if latest:
            manager.checkpoint.restore(latest).expect_partial()
        else:
            # The state before the first step is a candidate too: QAT may have nothing to add.
            self._validate(phase, 0, best, None)
        step = train_step(phase, optimizers, average, self.strategy)
        task = self.progress.add_task(phase.name, total=phase.epochs, completed=int(epoch.numpy()))
        while int(epoch.numpy()) < phase.epochs:
            trained = self._epoch(phase, int(epoch.numpy()), step, task)
            epoch.assign_add(1)
            with average.in_place():
                auc = self._validate(phase, int(epoch.numpy()), best, trained)
            manager.save(checkpoint_number=int(epoch.numpy()))
            self.progress.update(
                task,
                completed=int(epoch.numpy()),
                description=f"{phase.name}: loss {trained.loss:.3f}, validation AUC {auc:.3f}, "
                f"{trained.films_per_second:.0f} films/s "
                f"(pipeline alone {trained.pipeline_films_per_second:.0f})",
            )
        with chief_first(self.strategy):
            # Behind the chief, the others find it done.
            self.run = load_run(self.run.folder)
            if phase.name not in self.run.done:
                self.run = self.run.mark_done(phase.name)

    def _epoch(
        self, phase: Phase, epoch: int, step: Callable[[Batch], tf.Tensor], task: TaskID
    ) -> _Trained:
        # One batch for each device of this machine at every step.
        batches = tf.data.Dataset.zip(
            tuple(
                training_batches(
                    self.films,
                    self.recipe.augment,
                    batch=phase.batch,
                    seed=self.recipe.seed,
                    epoch=epoch,
                    share=share,
                )
                for share in shares(self.strategy)
            )
        )
        steps, losses = len(batches), []
        pipeline_rate = _films_per_second(batches.take(_PIPELINE_STEPS + 1), lambda _: None)

        def train(own: tuple[Batch, ...]) -> None:
            losses.append(float(step(to_replicas(self.strategy, own))))
            self.progress.update(task, completed=epoch + len(losses) / steps)

        rate = _films_per_second(batches, train)
        if not np.isfinite(losses).all():
            raise RunError(
                f"the loss of phase {phase.name} is no number any more (epoch {epoch + 1})",
                "Lower the learning rate of this phase in the recipe",
                str(self.run.folder),
            )
        return _Trained(float(np.mean(losses)), rate, pipeline_rate)

    def _validate(
        self, phase: Phase, epoch: int, best: tf.Variable, trained: _Trained | None
    ) -> float:
        """Write down the macro AUC after an epoch, and keep the weights if they are wanted."""
        films = self.validation
        own = fused_auc(predict(phase.model, films), films.labels, films.malignant_subtypes)
        auc = value_of_chief(self.strategy, own)
        with self.logs.as_default():
            tf.summary.scalar(f"{phase.name}/validation_auc_macro", auc, step=epoch)
            for name, value in asdict(trained).items() if trained else ():
                tf.summary.scalar(f"{phase.name}/{name}", value, step=epoch)
        self.logs.flush()
        figures = asdict(trained) if trained else {"loss": None}
        line = {"phase": phase.name, "epoch": epoch, "validation_auc_macro": auc, **figures}
        with (self.out / "history.jsonl").open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        if phase.keep == "last" or auc > float(best.numpy()):
            best.assign(auc)
            temporary = self.out / "weights" / f"part.{phase.weights.name}"
            (phase.plain or phase.model).save_weights(temporary)
            temporary.replace(temporary.with_name(phase.weights.name))
        return auc

    def _optimizer(
        self, phase: Phase, variables: list[tf.Variable], learning_rate: float
    ) -> tf_keras.optimizers.Optimizer:
        steps = self.steps(phase.batch, phase.epochs)
        schedule = tf_keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=learning_rate / 20.0,
            decay_steps=max(1, steps - steps // 10),
            warmup_target=learning_rate,
            warmup_steps=max(1, steps // 10),
        )
        optimizer = tf_keras.optimizers.AdamW(schedule, weight_decay=phase.weight_decay)
        optimizer.build(variables)
        return optimizer

    def steps(self, batch: int, epochs: int) -> int:
        """Return the steps of a phase."""
        return max(1, len(self.films) // batch) * max(1, epochs)


def train_step(
    phase: Phase,
    optimizers: list[tf_keras.optimizers.Optimizer],
    average: WeightAverage,
    strategy: tf.distribute.Strategy,
) -> Callable[[Batch], tf.Tensor]:
    """Return one step of training on all devices; it takes a batch and returns its loss."""
    groups = [variables for variables, _ in phase.groups]

    def on_replica(batch: Batch) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = phase.loss(phase.model(batch["film"], training=True), batch)
        variables = [variable for group in groups for variable in group]
        # Summed before they are clipped: the norm is that of the whole batch.
        gradients = over_replicas(tape.gradient(loss, variables))
        gradients, _ = tf.clip_by_global_norm(gradients, _CLIP_NORM)
        remaining = iter(zip(gradients, variables, strict=True))
        for optimizer, group in zip(optimizers, groups, strict=True):
            optimizer.apply_gradients(
                list(islice(remaining, len(group))), skip_gradients_aggregation=True
            )
        average.update()
        return loss

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(batch: Batch) -> tf.Tensor:
        # The loss of a replica is its summand of the whole batch's.
        return strategy.reduce("SUM", strategy.run(on_replica, args=(batch,)), axis=None)

    return step  # type: ignore[no-any-return]


def _films_per_second(batches: tf.data.Dataset, use: Callable[[tuple[Batch, ...]], None]) -> float:
    """Go through ``batches`` and return the rate behind the first, which pays for the start."""
    films, start = 0, time.perf_counter()
    for number, own in enumerate(batches):
        use(own)
        if number == 0:
            start = time.perf_counter()
        else:
            films += sum(int(batch["label"].shape[0]) for batch in own)
    return films / max(time.perf_counter() - start, 1e-9)
