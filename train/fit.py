"""Train a run: heads, everything in float, then quantization-aware with the float model as teacher.

Between the two, a recipe with ``prune.sparsity`` prunes the network.

Every epoch ends in a checkpoint. A run that was killed goes on at the epoch it was in, with the
films in the same order; see :class:`_Phase`. Several devices share each batch; of several workers
only the chief writes into the run folder, see :mod:`train.distribute`.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras
from rich.progress import Progress, TaskID

from edge_runtime.bundle import LABELS
from edge_runtime.decision import average_mirrored
from edge_runtime.errors import RunError
from train.average import WeightAverage
from train.config import Precision, Recipe
from train.dataset.cache import FilmCache, build_cache
from train.dataset.check import duplicate_groups
from train.dataset.pipeline import FilmSet, evaluation_batches, group_index, training_batches
from train.dataset.schema import Dataset, film_context, label_index
from train.dataset.split import Part, split_patients, split_sha256
from train.dataset.vocabulary import find_vocabulary
from train.distribute import (
    chief_first,
    choose_strategy,
    constant_statistics,
    is_chief,
    lost_workers_explained,
    over_replicas,
    shares,
    to_replicas,
    value_of_chief,
)
from train.fusion import fused_auc
from train.model.heads import build_model, is_backbone_layer
from train.objectives import Batch, Outputs, class_weights, distillation_loss, supervised_loss
from train.prune import prune_gradually
from train.quantize import calibrate_ranges, freeze_batch_norm, quantize_aware
from train.run import Run, create_run, load_run

PREDICTION_BATCH = 64
_CLIP_NORM = 5.0
# Enough to see whether the pipeline or the network is slow; prefetched ones are there at once.
_PIPELINE_STEPS = 8
Loss = Callable[[Outputs, Batch], tf.Tensor]


def train_run(dataset: Dataset, folder: Path, recipe: Recipe, progress: Progress) -> Run:
    """Train, or go on with a run that was stopped, on all devices of :func:`choose_strategy`.

    Parameters
    ----------
    dataset
        All its films; ``recipe.data.where`` chooses among them.
    folder
        The run folder, new or of a run with the same recipe and dataset.

    Raises
    ------
    RunError
        The folder holds another run, or another worker stopped.
    ConfigError
        ``TF_CONFIG`` is malformed, or there are more devices than films in a batch.
    """
    strategy = choose_strategy()
    tf_keras.utils.set_random_seed(recipe.seed)
    chosen = dataset.select(recipe.data.where)
    with lost_workers_explained(strategy, folder):
        with chief_first(strategy):
            run = _open_run(dataset, chosen, folder, recipe, progress)
            cache = _open_cache(run, chosen, progress)
        with strategy.scope():
            return _Trainer(run, chosen, cache, progress).train()


def _open_run(
    dataset: Dataset, chosen: Dataset, folder: Path, recipe: Recipe, progress: Progress
) -> Run:
    """Start a run, or open one of the same recipe and dataset."""
    if (folder / "run.json").exists():
        run = load_run(folder)
        if (run.recipe, run.dataset_sha256) != (recipe, dataset.sha256):
            raise RunError(
                "this folder holds a run of another recipe or dataset",
                "Choose another --out, or give the recipe that the run was started with",
                str(folder),
            )
        # The run keeps the split it was started with, also where a later version would split
        # otherwise.
        if split_sha256(run.split()) != run.split_sha256:
            raise RunError(
                "split.csv was changed since the run was started",
                "Restore it, or train in another folder",
                str(folder),
            )
        return run
    groups = duplicate_groups(chosen, folder / "cache", progress)
    split = split_patients(chosen.films, groups, recipe.data, recipe.seed)
    trained = chosen.films[(split["part"] == "train").to_numpy()]
    vocabulary = find_vocabulary(trained, recipe.model.heads)
    return create_run(folder, recipe, dataset, split, vocabulary)


def _open_cache(run: Run, chosen: Dataset, progress: Progress) -> FilmCache:
    task = progress.add_task("decode films", total=len(chosen.films))
    cache = build_cache(
        chosen,
        run.recipe.input,
        run.folder / "cache",
        lambda done, total: progress.update(task, completed=done, total=total),
    )
    progress.update(task, completed=len(chosen.films))
    return cache


def film_set(run: Run, dataset: Dataset, cache: FilmCache, part: Part) -> FilmSet:
    """Return the films of one part of a run."""
    rows = np.flatnonzero((run.split()["part"] == part).to_numpy())
    films = dataset.films.iloc[rows]
    groups = group_index(films, run.recipe.data.balance)
    facts = run.recipe.export.context
    return FilmSet(
        cache,
        rows,
        label_index(films),
        run.recipe.input,
        groups,
        heads=run.vocabulary.codes(films),
        malignant_subtypes=run.vocabulary.malignant,
        context=tuple(
            {name: word for name, word in film_context(film).items() if name in facts}
            for _, film in films.iterrows()
        )
        if facts
        else (),
    )


def float_model(run: Run) -> tf_keras.Model:
    """Return the run's float network, as it was before any pruning."""
    return _load(run, run.float_weights)


def qat_model(run: Run) -> tf_keras.Model:
    """Return the run's quantization-aware network.

    Raises
    ------
    RunError
        The run is not finished.
    """
    if "qat" not in run.done:
        raise RunError(
            "training is not finished",
            "Go on with 'osteoedge train DATASET --out RUN', same recipe",
            str(run.folder),
        )
    model = quantize_aware(_build(run, weights="none"), run.recipe.input)
    freeze_batch_norm(model)
    model.load_weights(run.qat_weights)
    return model


def predict(
    model: tf_keras.Model, films: FilmSet, *, mirror: bool = False
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the outputs of a network for all films, in order: float32, by head.

    ``mirror`` averages them with those of the films mirrored, as a device may do.
    """
    devices = model.distribute_strategy.num_replicas_in_sync
    outputs = []
    for batch in evaluation_batches(films, batch=PREDICTION_BATCH):
        count = batch["film"].shape[0]
        # A device without a film would fail: the first ones come again until all have the same.
        shared = tf.gather(batch["film"], np.arange(-(-count // devices) * devices) % count)
        answers = model.predict_on_batch(shared)
        if mirror:
            mirrored = model.predict_on_batch(shared[:, :, ::-1])
            answers = average_mirrored(answers, mirrored)
        outputs.append({head: answer[:count] for head, answer in answers.items()})
    return {head: np.concatenate([output[head] for output in outputs]) for head in outputs[0]}


@dataclass(frozen=True)
class _Phase:
    """A stretch of training with its own optimizers, checkpoints and choice of weights."""

    name: str
    model: tf_keras.Model
    loss: Loss
    batch: int
    epochs: int
    # Variables, and the peak of their learning rate.
    groups: tuple[tuple[list[tf.Variable], float], ...]
    weight_decay: float
    average: float
    # Films of the hospital that trained a network say little about which epoch is best elsewhere:
    # its AUC here peaks while it still lives on shortcuts. Averaged weights at the end of the
    # schedule need no choice. Quantization only has to do no harm, and these films show harm.
    keep: Literal["last", "best"]
    weights: Path
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


class _Trainer:
    def __init__(self, run: Run, dataset: Dataset, cache: FilmCache, progress: Progress) -> None:
        self.run = run
        self.recipe = run.recipe
        self.progress = progress
        self.films = film_set(run, dataset, cache, "train")
        self.validation = film_set(run, dataset, cache, "validation")
        self.strategy = tf.distribute.get_strategy()
        # Variables are read on all workers at once, so all go through the motions of writing.
        self.scratch = None if is_chief(self.strategy) else tempfile.TemporaryDirectory()
        self.out = Path(self.scratch.name) if self.scratch else run.folder
        (self.out / "weights").mkdir(exist_ok=True)
        self.logs = tf.summary.create_file_writer(str(self.out / "tensorboard"))

    def train(self) -> Run:
        recipe = self.recipe
        words = self.run.vocabulary
        heads = {
            "label": (self.films.labels, len(LABELS)),
            "subtype": (self.films.heads.get("subtype"), len(words.subtypes)),
            "region": (self.films.heads.get("region"), len(words.regions)),
        }
        weights = {
            head: tf.constant(class_weights(labels, recipe.loss, classes))
            for head, (labels, classes) in heads.items()
            if labels is not None
        }

        def supervised(outputs: Outputs, batch: Batch) -> tf.Tensor:
            return supervised_loss(outputs, batch, weights, recipe.loss)

        if "float" not in self.run.done:
            model = _build(self.run, recipe.model.weights, recipe.float_.precision)
            warm = self.run.folder / "weights" / "warmup.weights.h5"
            if recipe.float_.warmup_epochs:
                _train_only_heads(model)
                self._fit(
                    _Phase(
                        name="warmup",
                        model=model,
                        loss=supervised,
                        batch=recipe.float_.batch,
                        epochs=recipe.float_.warmup_epochs,
                        groups=((model.trainable_variables, recipe.float_.head_learning_rate),),
                        weight_decay=recipe.float_.weight_decay,
                        average=0.0,
                        keep="last",
                        weights=warm,
                    )
                )
                model.load_weights(warm)
                model.trainable = True
            self._fit(
                _Phase(
                    name="float",
                    model=model,
                    loss=supervised,
                    batch=recipe.float_.batch,
                    epochs=recipe.float_.epochs,
                    groups=(
                        (_variables(model, backbone=True), recipe.float_.learning_rate),
                        (_variables(model, backbone=False), recipe.float_.head_learning_rate),
                    ),
                    weight_decay=recipe.float_.weight_decay,
                    average=recipe.float_.average,
                    keep="last",
                    weights=self.run.float_weights,
                )
            )
        if recipe.prune.sparsity and "prune" not in self.run.done:
            self._prune(supervised)
        if "qat" not in self.run.done:
            self._quantize(supervised)
        return self.run

    def _prune(self, supervised: Loss) -> None:
        """Make small weights zero, step by step, while the network follows what it was."""
        recipe = self.recipe
        plain = float_model(self.run)
        steps = self._steps(recipe.float_.batch, recipe.prune.epochs)
        model = prune_gradually(plain, recipe.prune.sparsity, steps)
        self._fit(
            _Phase(
                name="prune",
                model=model,
                loss=_follow(
                    float_model(self.run),
                    recipe.prune.distillation,
                    recipe.loss.mask_weight,
                    supervised,
                ),
                batch=recipe.float_.batch,
                epochs=recipe.prune.epochs,
                groups=((model.trainable_variables, recipe.prune.learning_rate),),
                weight_decay=0.0,
                # The average of weights before and after they were pruned is not zero.
                average=0.0,
                # Epochs before the last are not sparse enough.
                keep="last",
                weights=self.run.pruned_weights,
                plain=plain,
            )
        )

    def _quantize(self, supervised: Loss) -> None:
        """Calibrate activation ranges on training films, then fine-tune towards the teacher."""
        recipe = self.recipe
        pruned = recipe.prune.sparsity > 0.0
        with constant_statistics():
            start = _load(self.run, self.run.pruned_weights if pruned else self.run.float_weights)
            student = quantize_aware(start, recipe.input)
            teacher = float_model(self.run)
        freeze_batch_norm(student)
        calibrate_ranges(student, self._calibration_films())
        self._fit(
            _Phase(
                name="qat",
                model=student,
                loss=_follow(
                    teacher,
                    recipe.qat.distillation,
                    recipe.loss.mask_weight,
                    supervised,
                ),
                batch=recipe.qat.batch,
                epochs=recipe.qat.epochs,
                groups=((student.trainable_variables, recipe.qat.learning_rate),),
                weight_decay=0.0,
                average=0.0,
                keep="best",
                weights=self.run.qat_weights,
            )
        )

    def _calibration_films(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield unaugmented training films in random order: ranges must fit films as they come."""
        rows = np.random.default_rng(self.recipe.seed).permutation(len(self.films))
        batch = self.recipe.qat.batch
        for start in range(0, batch * self.recipe.qat.calibration_batches, batch):
            # Small training sets are gone through again.
            at = self.films.rows[np.take(rows, range(start, start + batch), mode="wrap")]
            yield self.recipe.input.normalise(self.films.cache.pixels[at])[..., np.newaxis]

    def _fit(self, phase: _Phase) -> None:
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
        step = _train_step(phase, optimizers, average, self.strategy)
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
        self, phase: _Phase, epoch: int, step: Callable[[Batch], tf.Tensor], task: TaskID
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
        self, phase: _Phase, epoch: int, best: tf.Variable, trained: _Trained | None
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
        self, phase: _Phase, variables: list[tf.Variable], learning_rate: float
    ) -> tf_keras.optimizers.Optimizer:
        steps = self._steps(phase.batch, phase.epochs)
        schedule = tf_keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=learning_rate / 20.0,
            decay_steps=max(1, steps - steps // 10),
            warmup_target=learning_rate,
            warmup_steps=max(1, steps // 10),
        )
        optimizer = tf_keras.optimizers.AdamW(schedule, weight_decay=phase.weight_decay)
        optimizer.build(variables)
        return optimizer

    def _steps(self, batch: int, epochs: int) -> int:
        return max(1, len(self.films) // batch) * max(1, epochs)


def _load(run: Run, weights: Path) -> tf_keras.Model:
    """Return the run's network in float with weights from a file."""
    model = _build(run, weights="none")
    model.load_weights(weights)
    return model


def _build(run: Run, weights: str, precision: Precision = "float32") -> tf_keras.Model:
    recipe, words = run.recipe, run.vocabulary
    source: Literal["imagenet", "none"] | Path
    source = weights if weights in ("imagenet", "none") else Path(weights)  # type: ignore[assignment]
    return build_model(
        recipe.model.backbone,
        recipe.input.height,
        recipe.input.width,
        alpha=recipe.model.alpha,
        dropout=recipe.model.dropout,
        mask_channels=recipe.model.mask_channels,
        subtypes=len(words.subtypes),
        regions=len(words.regions),
        embedding="embedding" in recipe.model.heads,
        weights=source,
        precision=precision,
    )


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


def _follow(teacher: tf_keras.Model, share: float, mask_weight: float, supervised: Loss) -> Loss:
    """Return a loss of which ``share`` follows a teacher, and the rest the labels."""
    teacher.trainable = False

    def loss(outputs: Outputs, batch: Batch) -> tf.Tensor:
        answers = teacher(batch["film"], training=False)
        follow = distillation_loss(outputs, answers, mask_weight)
        return share * follow + (1.0 - share) * supervised(outputs, batch)

    return loss


def _train_only_heads(model: tf_keras.Model) -> None:
    """Freeze the backbone, its BatchNormalization statistics included."""
    for layer in model.layers:
        layer.trainable = not is_backbone_layer(layer)


def _variables(model: tf_keras.Model, *, backbone: bool) -> list[tf.Variable]:
    """Return what is trained in the backbone, or in the heads."""
    layers = [layer for layer in model.layers if is_backbone_layer(layer) == backbone]
    return [variable for layer in layers for variable in layer.trainable_variables]


def _train_step(
    phase: _Phase,
    optimizers: list[tf_keras.optimizers.Optimizer],
    average: WeightAverage,
    strategy: tf.distribute.Strategy,
) -> Callable[[Batch], tf.Tensor]:
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
