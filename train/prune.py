"""Pruning a trained network: its smallest weights become zero, and stay zero when quantized.

What it gives is a smaller bundle, which is a compressed file. No speed: the int8 kernels of a CPU
multiply by zero as by anything else.
"""

from __future__ import annotations

import tensorflow_model_optimization as tfmot
import tf_keras

# The sparsity rises in so many steps at most: finding the smallest weights sorts all of them.
_RISES = 100
# Share of the training in which it rises; the rest is for the weights that are left.
_RISING = 0.75


def prune_gradually(model: tf_keras.Model, sparsity: float, steps: int) -> tf_keras.Model:
    """Return a network that prunes itself in its training steps.

    In each kernel of :func:`pruned_kernels` the share of zeros rises by a cubic schedule, fast
    while many weights are redundant and slowly in the end (Zhu and Gupta, ICLR 2018 workshop,
    arXiv:1710.01878).

    Parameters
    ----------
    model
        A trained network of :func:`train.model.heads.build_model`.
    sparsity
        The share of zeros in the end, above 0 and below 1.
    steps
        Training steps that will follow. The last quarter of them has the full sparsity.

    Returns
    -------
    tf_keras.Model
        Same inputs, outputs and variables as ``model``: what trains the one trains the other. It
        adds masks and the count of steps, which are among its variables, so that a checkpoint
        holds them. An optimizer moves pruned weights; calling this network, in training or not,
        makes them zero again.
    """
    interval = max(1, steps // _RISES)
    end = max(1, int(steps * _RISING) // interval) * interval
    pruning = tfmot.sparsity.keras.prune_low_magnitude(
        model,
        tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, 0, end, frequency=interval),
        pruning_policy=_Pointwise(model.output_names),
    )
    # Outside of Model.fit nothing else starts the count of steps.
    callback = tfmot.sparsity.keras.UpdatePruningStep()
    callback.set_model(pruning)
    callback.on_train_begin()
    return pruning


def pruned_kernels(model: tf_keras.Model) -> list[tf_keras.layers.Layer]:
    """Return the layers of a float network whose kernels are pruned: 1 x 1 convolutions.

    They hold nine of ten weights. Stem and depthwise kernels have so few for each channel that one
    zero is a hole in a filter, and the outputs have nothing behind them that could make up for it.
    """
    policy = _Pointwise(model.output_names)
    return [layer for layer in model.layers if policy.allow_pruning(layer)]


class _Pointwise(tfmot.sparsity.keras.PruningPolicy):  # type: ignore[misc]
    """Chooses what :func:`pruned_kernels` lists."""

    def __init__(self, outputs: list[str]) -> None:
        self.outputs = outputs

    def allow_pruning(self, layer: tf_keras.layers.Layer) -> bool:
        return (
            isinstance(layer, tf_keras.layers.Conv2D)
            and layer.kernel_size == (1, 1)
            and layer.name not in self.outputs
        )

    def ensure_model_supports_pruning(self, model: tf_keras.Model) -> None:
        """Take any network: the layers that are not chosen are left as they are."""
