"""The moving average of a network's weights over the steps of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras


class WeightAverage(tf.Module):  # type: ignore[misc]
    """Weights averaged over steps, which do better on films from elsewhere than the last ones.

    Averaging finds the flat part of the loss, and films of another hospital are a shift within it
    (Izmailov et al., UAI 2018, arXiv:1803.05407; Cha et al., NeurIPS 2021, arXiv:2102.08604). It
    also makes the choice among epochs less of a lottery.

    Parameters
    ----------
    model
        The network that is trained. Its BatchNormalization statistics are averaged with the rest.
    decay
        Weight of the past at each step, 0..1; 0 keeps the weights as they are. The first steps
        use less, (1 + n) / (10 + n), so that the average does not stay with untrained heads.
    """

    def __init__(self, model: tf_keras.Model, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.steps = _of_replica(0.0)
        # A quantization-aware model also holds counters, which have no average.
        self.weights = [weight for weight in model.variables if weight.dtype.is_floating]
        self.average = [_of_replica(weight.numpy()) for weight in self.weights]

    def update(self) -> None:
        """Take in the weights after a step; to be called in its ``tf.function``."""
        self.steps.assign_add(1.0)
        decay = tf.minimum(self.decay, (1.0 + self.steps) / (10.0 + self.steps))
        for average, weight in zip(self.average, self.weights, strict=True):
            average.assign(decay * average + (1.0 - decay) * weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model its averaged weights for a while."""
        before = [weight.numpy() for weight in self.weights]
        try:
            for weight, average in zip(self.weights, self.average, strict=True):
                weight.assign(average.numpy())
            yield
        finally:
            for weight, value in zip(self.weights, before, strict=True):
                weight.assign(value)


def _of_replica(value: float | npt.NDArray[np.float32]) -> tf.Variable:
    """Return a variable that each replica updates on its own; their mean is read and saved.

    BatchNormalization statistics differ between replicas until they are read. The average of means
    is the mean of averages, so nothing has to be sent in a step.
    """
    return tf.Variable(
        value,
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.MEAN,
    )
