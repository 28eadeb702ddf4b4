"""LiteRT's compiled models: how it reaches GPUs and the accelerators of chip makers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle import ModelSpec
from edge_runtime.delegates.base import Coverage, Outputs
from edge_runtime.delegates.runtime import check_tensors, count_operators, first_line
from edge_runtime.errors import DelegateError


class CompiledLiteRtModel:
    """A model that LiteRT compiled for one accelerator, with no other to fall back to.

    Parameters
    ----------
    options
        An ``ai_edge_litert.options.Options``.

    Raises
    ------
    DelegateError
        The accelerator is not there, refuses the model, or leaves operators to the CPU.
    """

    degraded = ""

    def __init__(self, model: bytes, spec: ModelSpec, options: Any) -> None:
        from ai_edge_litert.compiled_model import CompiledModel

        # Read in place: keep the bytes alive as long as the model lives.
        self._bytes = model
        try:
            self._model = CompiledModel.from_buffer(model, options=options)
            complete = self._model.is_fully_accelerated()
            (signature,) = self._model.get_signature_list()
            # In the order of the graph's inputs and outputs, which is that of the manifest.
            inputs = list(self._model.get_input_tensor_details(signature).values())
            outputs = list(self._model.get_output_tensor_details(signature).values())
            self._inputs = self._model.create_input_buffers(0)
            self._outputs = self._model.create_output_buffers(0)
        except (RuntimeError, ValueError) as error:
            raise DelegateError(
                f"the accelerator refuses the model ({first_line(error)})",
                "Choose another delegate, or look at the accelerator's driver",
            ) from None
        if not complete:
            raise DelegateError(
                "the accelerator leaves operators of this model to the CPU", "Choose cpu"
            )
        self.coverage = Coverage(count_operators(model), left=())
        self._input = spec.input.index
        self._heads = spec.outputs
        check_tensors(spec, inputs, outputs)

    def run(self, tensor: npt.NDArray[np.int8]) -> Outputs:
        """Run one film: int8 (1, height, width, channels) in, each head's int8 tensor out.

        Raises
        ------
        DelegateError
            The accelerator failed.
        """
        try:
            self._inputs[self._input].write(tensor)
            self._model.run_by_index(0, self._inputs, self._outputs)
            return {
                head: self._outputs[t.index].read(int(np.prod(t.shape)), np.int8).reshape(t.shape)
                for head, t in self._heads.items()
            }
        except (RuntimeError, ValueError) as error:
            raise DelegateError(
                f"the accelerator failed while it ran ({first_line(error)})",
                "Choose another delegate, or look at the accelerator's driver",
            ) from None

    def close(self) -> None:
        """Let go of the accelerator."""
        self._model.close()
