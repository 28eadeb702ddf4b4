"""Training on several devices of one machine, or of several machines.

Every device is a replica: it holds all weights and takes its share of each batch. Gradients are
summed over replicas, so all take the same step. Machines are workers, named in ``TF_CONFIG``; one
of them, the chief, writes the run folder that all of them see.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import tensorflow as tf
from pydantic import BaseModel, Field, ValidationError, model_validator

from edge_runtime.errors import ConfigError, RunError

# How TensorFlow says that another worker is gone.
_PEER_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


@dataclass(frozen=True)
class Share:
    """Which part of each batch a replica takes: number ``index`` of ``count``."""

    index: int
    count: int


WHOLE = Share(0, 1)


class _Cluster(BaseModel):
    # A parameter server or an evaluator has no part in synchronous training.
    model_config = {"extra": "forbid"}

    chief: tuple[str, ...] = Field((), max_length=1)
    worker: tuple[str, ...] = ()


class _Task(BaseModel):
    type: Literal["chief", "worker"]
    index: int = Field(ge=0)


class _TFConfig(BaseModel):
    cluster: _Cluster
    task: _Task

    @model_validator(mode="after")
    def _task_is_in_the_cluster(self) -> Self:
        members = getattr(self.cluster, self.task.type)
        if self.task.index >= len(members):
            raise ValueError(f"the cluster has no {self.task.type} {self.task.index}")
        return self


def choose_strategy() -> tf.distribute.Strategy:
    """Return how to train here: the first of these that there is.

    A strategy whose scope is open; the workers of ``TF_CONFIG``; all GPUs of this machine; the one
    device. To be called before anything else of TensorFlow, which starts its cluster only once.

    Raises
    ------
    ConfigError
        ``TF_CONFIG`` is malformed.
    """
    if tf.distribute.has_strategy():
        return tf.distribute.get_strategy()
    if is_cluster():
        return _cluster_strategy()
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_cluster() -> bool:
    """Tell whether ``TF_CONFIG`` names machines to train on."""
    return bool(os.environ.get("TF_CONFIG"))


@functools.cache
def _cluster_strategy() -> tf.distribute.Strategy:
    try:
        _TFConfig.model_validate(json.loads(os.environ["TF_CONFIG"]))
    except (ValidationError, ValueError) as error:
        raise ConfigError(
            f"TF_CONFIG names no machines to train on ({_first_line(error)})",
            'Set it to {"cluster": {"worker": ["HOST:PORT", ...]}, '
            '"task": {"type": "worker", "index": 0}}, with another index on each machine',
        ) from None
    return tf.distribute.MultiWorkerMirroredStrategy()


def _first_line(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return f"it is no JSON: {error}"
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}".removeprefix(": ")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Tell whether this process writes the run folder."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type is None:
        return True
    first = "chief" if resolver.cluster_spec().as_dict().get("chief") else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


@contextmanager
def chief_first(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Let the other workers enter a block when the chief has left it, and find what it wrote."""
    if not is_chief(strategy):
        barrier(strategy)
    yield
    # Not where the block failed: the others learn that by the chief's end.
    if is_chief(strategy):
        barrier(strategy)


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Wait until every worker has come here."""
    value_of_chief(strategy, 0.0)


def value_of_chief(strategy: tf.distribute.Strategy, value: float) -> float:
    """Return what the chief gave, on every worker: rounding may differ between machines."""
    own = value if is_chief(strategy) else 0.0
    ids = iter(range(strategy.num_replicas_in_sync))
    values = strategy.experimental_distribute_values_from_function(
        # One replica of the chief speaks.
        lambda _: tf.constant(own if next(ids) == 0 else 0.0, tf.float64)
    )
    return float(strategy.reduce("SUM", values, axis=None))


@contextmanager
def lost_workers_explained(strategy: tf.distribute.Strategy, folder: Path) -> Iterator[None]:
    """Turn what TensorFlow raises when another worker ends into one line.

    Raises
    ------
    RunError
        Another worker stopped.
    """
    try:
        yield
    except _PEER_ERRORS as error:
        if strategy.cluster_resolver is None:
            raise
        raise RunError(
            f"another worker stopped or cannot be reached ({type(error).__name__})",
            "Look at its messages, then start the same command on every machine: it goes on",
            str(folder),
        ) from None


def shares(strategy: tf.distribute.Strategy) -> list[Share]:
    """Return the shares of the replicas of this machine."""
    ids = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(context.replica_id_in_sync_group)
    )
    count = strategy.num_replicas_in_sync
    return [Share(int(index), count) for index in strategy.experimental_local_results(ids)]


def to_replicas(strategy: tf.distribute.Strategy, values: Iterable[Any]) -> Any:
    """Return one value for each replica of this machine, in the order of :func:`shares`."""
    remaining = iter(values)
    return strategy.experimental_distribute_values_from_function(lambda _: next(remaining))


@contextmanager
def constant_statistics() -> Iterator[None]:
    """Create BatchNormalization statistics like weights, for a network that does not move them.

    Otherwise each device has its own, and all workers must meet for every look at one.
    """

    def create(next_creator: Callable[..., tf.Variable], **arguments: Any) -> tf.Variable:
        arguments["synchronization"] = tf.VariableSynchronization.AUTO
        return next_creator(**arguments)

    with tf.variable_creator_scope(create):
        yield


def over_replicas(values: Any) -> Any:
    """Return the sum over replicas of a tensor, or of each in a structure; called in a replica."""
    context = tf.distribute.get_replica_context()
    return context.all_reduce("SUM", values) if context.num_replicas_in_sync > 1 else values
