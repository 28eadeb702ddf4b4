"""An interpreter that can be asked for every tensor after a run."""

from __future__ import annotations

import warnings

from ai_edge_litert.interpreter import Interpreter


def keeping_interpreter(model: bytes) -> Interpreter:
    """Return an interpreter of a TFLite file that keeps the outputs of all operators."""
    with warnings.catch_warnings():
        # It warns that this takes memory; that is what it is for.
        warnings.filterwarnings("ignore", message="(?s).*experimental_preserve_all_tensors")
        interpreter = Interpreter(model_content=model, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    return interpreter
