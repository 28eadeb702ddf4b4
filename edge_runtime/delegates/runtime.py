"""The TFLite interpreter of whichever runtime is installed, with or without a native delegate."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle import ModelSpec
from edge_runtime.delegates.base import Coverage, Outputs, Probe
from edge_runtime.errors import DelegateError

# Preferred first. Both have the same Interpreter class.
RUNTIMES = (("ai-edge-litert", "ai_edge_litert"), ("tflite-runtime", "tflite_runtime"))


def probe_runtime() -> Probe:
    """Say which runtime is installed, and whether it runs int8 graphs unaccelerated."""
    for distribution, module in RUNTIMES:
        if importlib.util.find_spec(module) is None:
            continue
        slow = module == "tflite_runtime" and platform.machine() in {"x86_64", "AMD64"}
        return Probe(
            available=True,
            version=f"{distribution} {importlib.metadata.version(distribution)}",
            degraded=(
                "tflite-runtime runs int8 models without XNNPACK on this processor, 20 to 50 "
                "times slower than ai-edge-litert"
                if slow
                else ""
            ),
        )
    return Probe(
        available=False, reason="no TFLite runtime is installed (pip install ai-edge-litert)"
    )


def litert_version() -> str | None:
    """Return the version of ai-edge-litert, which alone has compiled models; None without it."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        return None
    return importlib.metadata.version("ai-edge-litert")


def interpreter_module() -> Any:
    """Return the module with `Interpreter` and `load_delegate` of the first installed runtime.

    Raises
    ------
    DelegateError
        None is installed.
    """
    for _, module in RUNTIMES:
        if importlib.util.find_spec(module) is not None:
            return importlib.import_module(f"{module}.interpreter")
    raise DelegateError("no TFLite runtime is installed", "Install one: pip install ai-edge-litert")


def load_native_delegate(library: str, options: Mapping[str, str], hint: str) -> Any:
    """Load a shared library that offers the C functions of a TFLite external delegate.

    Parameters
    ----------
    hint
        What to say where the library itself gives no reason, as libedgetpu does.

    Raises
    ------
    DelegateError
        It is not there, is not one, or refuses the options.
    """
    try:
        return interpreter_module().load_delegate(library, dict(options))
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        said = first_line(error).removesuffix(f"Failed to load delegate from {library}").strip()
        raise DelegateError(
            f"{library} cannot be loaded ({said or hint})",
            "Check the library, its options and its device",
        ) from None


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def check_tensors(
    spec: ModelSpec, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
) -> None:
    """Compare a model's tensors, as its runtime describes them, with the manifest.

    Raises
    ------
    DelegateError
        One has another shape or type.
    """
    for tensor, details in [(spec.input, inputs), *((t, outputs) for t in spec.outputs.values())]:
        found = details[tensor.index]
        # Plain logits have no rows and columns; the manifest gives them one of each.
        same = _sides(found["shape"]) == _sides(tensor.shape)
        if not same or np.dtype(found["dtype"]) != np.int8:
            raise DelegateError(
                f"the model's tensor {found['name']} is not what the manifest says",
                "Export the bundle again",
            )


def _sides(shape: Iterable[int]) -> list[int]:
    return [int(side) for side in shape if side > 1]


class InterpreterModel:
    """An interpreter with its tensors allocated. Not thread-safe: one caller at a time.

    Parameters
    ----------
    native
        From :func:`load_native_delegate`. The interpreter then gets no other delegate, so that
        what the native one does not take is seen, and runs on plain kernels.

    Raises
    ------
    DelegateError
        No runtime, it refuses the model, or the native delegate takes no operator of it.
    """

    def __init__(
        self, model: bytes, spec: ModelSpec, threads: int, native: Any | None = None
    ) -> None:
        self.degraded = ""
        # The interpreter reads the model in place: keep the bytes alive as long as it lives.
        self._model = model
        runtime = interpreter_module()
        chosen: dict[str, Any] = {}
        if native is not None:
            plain = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            chosen = {"experimental_delegates": [native], "experimental_op_resolver_type": plain}
        try:
            self._interpreter = runtime.Interpreter(
                model_content=model, num_threads=threads, **chosen
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise DelegateError(
                f"the TFLite runtime refuses the model ({first_line(error)})",
                "Install the ai-edge-litert version that the bundle names, or export it again",
            ) from None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        check_tensors(spec, inputs, outputs)
        self._input = inputs[spec.input.index]["index"]
        self._outputs = {
            head: (outputs[t.index]["index"], t.shape) for head, t in spec.outputs.items()
        }
        self.coverage = coverage(self._interpreter, (index for index, _ in self._outputs.values()))
        if native is not None:
            self.degraded = _judge(self.coverage)

    def run(self, tensor: npt.NDArray[np.int8]) -> Outputs:
        """Run one film: int8 (1, height, width, channels) in, each head's int8 tensor out.

        Raises
        ------
        DelegateError
            The native delegate failed.
        """
        self._interpreter.set_tensor(self._input, tensor)
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise DelegateError(
                f"the model failed while it ran ({first_line(error)})",
                "Choose another delegate, or another version of this one",
            ) from None
        return {
            head: self._interpreter.get_tensor(index).reshape(shape)
            for head, (index, shape) in self._outputs.items()
        }

    def close(self) -> None:
        """Let go of the interpreter and the delegate under it."""
        self._interpreter = None


def coverage(interpreter: Any, outputs: Iterable[int]) -> Coverage:
    """Tell which operators of an interpreter no delegate took.

    The list of nodes keeps those that were replaced, so the answer is found backwards, from the
    tensors ``outputs`` to whatever really computes each of them.
    """
    # No public method tells; both runtimes have had this one for years.
    nodes = interpreter._get_ops_details()
    original = [node for node in nodes if node["op_name"] != "DELEGATE"]
    # Delegates' nodes come last, and win.
    maker = {int(tensor): node for node in nodes for tensor in node["outputs"]}
    left: dict[int, str] = {}
    wanted, seen = [int(tensor) for tensor in outputs], set[int]()
    while wanted:
        node = maker.get(wanted.pop())
        if node is None or node["index"] in seen:
            continue
        seen.add(node["index"])
        if node["op_name"] != "DELEGATE":
            left[node["index"]] = str(node["op_name"])
        wanted += [int(tensor) for tensor in node["inputs"] if tensor >= 0]
    return Coverage(len(original), tuple(left[index] for index in sorted(left)))


def count_operators(model: bytes) -> int:
    """Return how many operators a TFLite file has, whatever will run it."""
    return len(interpreter_module().Interpreter(model_content=model)._get_ops_details())


def _judge(taken: Coverage) -> str:
    """Return what a native delegate left to the CPU, as one sentence; empty where nothing.

    Raises
    ------
    DelegateError
        It took nothing: the CPU would run everything, under another name.
    """
    if len(taken.left) == taken.total:
        raise DelegateError(
            "the delegate takes no operator of this model",
            "Choose cpu, or a delegate that is made for int8 models",
        )
    return f"the delegate takes only {taken}" if taken.left else ""
