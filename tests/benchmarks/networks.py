"""Float networks of one convolution, written operator by operator: no converter is needed."""

from __future__ import annotations

import numpy as np

from tests.export.graphs import Graph

SIDE, CHANNELS = 32, 4


def float_network(weights: float = 0.1, *, half: bool = False) -> bytes:
    """Return a float32 network, or one with its weights in half precision."""
    graph = Graph()
    film = graph.tensor(1, SIDE, SIDE, 1, dtype="FLOAT32")
    kernel = np.full((CHANNELS, 3, 3, 1), weights, np.float32)
    if half:
        stored = graph.tensor(*kernel.shape, dtype="FLOAT16", data=kernel.astype(np.float16))
        kernels = graph.tensor(*kernel.shape, dtype="FLOAT32")
        graph.op("DEQUANTIZE", [stored], [kernels])
    else:
        kernels = graph.tensor(*kernel.shape, dtype="FLOAT32", data=kernel)
    bias = graph.tensor(CHANNELS, dtype="FLOAT32", data=np.zeros(CHANNELS, np.float32))
    answer = graph.tensor(1, SIDE, SIDE, CHANNELS, dtype="FLOAT32")
    graph.op("CONV_2D", [film, kernels, bias], [answer], strideH=1, strideW=1, padding=0,
             dilationHFactor=1, dilationWFactor=1)  # fmt: skip
    return graph.file([film], [answer])
