"""A loaded model: what it can be asked, and what its answers say of its latencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from benchmarks.delegates.models import BundledModel, FloatNetwork, Model
from benchmarks.delegates.suspicion import (
    NeverTheSame,
    answers_of_others,
    kept_answers,
    new_films,
    too_few_cycles,
)
from benchmarks.harness import Query
from benchmarks.schema import Coverage, Error
from edge_runtime import delegates
from edge_runtime.delegates import Delegate, find_delegate
from edge_runtime.delegates.gpu import SOFTWARE
from edge_runtime.delegates.isolation import Limits
from edge_runtime.delegates.runtime import (
    coverage,
    first_line,
    interpreter_module,
    probe_runtime,
)
from edge_runtime.engine import load_unproven
from edge_runtime.errors import DelegateError
from edge_runtime.proof import Distance, Proof
from edge_runtime.radiograph import read_radiograph
from edge_runtime.screener import Screener

What = Literal["invoke", "screen"]

# Films that are timed, and those that are asked twice in a row; each is drawn by its own seed.
_FILMS, _TWICE, _SEED = 16, 20, 8
_ON_THE_CPU = ("cpu", "openvino")
_OF_A_UNIT = ("screen_p50_ms", "screen_p50_low_ms", "screen_p50_high_ms", "screen_p90_ms",
              "cold_ms", "rss_mb", "peak_mb", "energy_mj", "accuracy")  # fmt: skip


class UnavailableError(Exception):
    """What a row asks for is not on this machine, or not in the bundle."""


@dataclass(frozen=True)
class Place:
    """Where a model is to run; library and options are those of the delegate `external`."""

    delegate: str
    threads: int
    library: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def plugin(self) -> Delegate:
        """The delegate itself."""
        return find_delegate(self.delegate, self.library, self.options)


@dataclass(frozen=True)
class Verdict:
    """What the answers of a system that was timed are worth.

    Attributes
    ----------
    error
        None where there is no reference.
    failed
        Why its latencies count for nothing; empty where they count.
    suspicious
        Why somebody should look before believing them.
    """

    error: Error | None
    failed: str = ""
    suspicious: str | None = None


class System(Protocol):
    """A loaded model."""

    queries: Mapping[What, Query]
    lacks: Mapping[str, str]
    """Figures that there are none of for a model like this, and why."""

    def facts(self) -> dict[str, Any]:
        """Return what is known of it beside its latencies, as fields of a row."""
        ...

    def judge(self, p50_ms: float) -> Verdict:
        """Look at what it answers, now that it has been timed.

        Raises
        ------
        DelegateError
            It does not answer.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def load(model: Model, place: Place, film: Path) -> System:
    """Load a model.

    Parameters
    ----------
    film
        What is screened; a network that is measured alone needs none.

    Raises
    ------
    UnavailableError
        There is no such delegate here, or it has nothing to run.
    DelegateError
        It is there, and does not work, or computes something else than it must.
    """
    if isinstance(model, FloatNetwork):
        return FloatSystem(model, place)
    return Unit(model, place, film)


class Unit:
    """A bundle on a delegate as a unit has it, proven, and with no other to fall back to."""

    lacks: Mapping[str, str] = {}

    def __init__(self, model: BundledModel, place: Place, film: Path) -> None:
        plugin = place.plugin
        probe = plugin.probe()
        if not probe.available:
            raise UnavailableError(probe.reason)
        if plugin.member not in model.bundle.members:
            raise UnavailableError(f"the bundle holds no {plugin.member}")
        self._place, self._bundle = place, model.bundle
        self._file_bytes = len(model.bundle.members[plugin.member])
        self.screener = Screener(
            model.bundle,
            place.delegate,
            place.threads,
            fallback="forbid",
            external_delegate=place.library,
            external_options=place.options,
        )
        self._stated = self.screener.degraded
        films = new_films(model.bundle.golden.pixels, _FILMS, _SEED)
        self._asked = NeverTheSame(films, self.screener.infer)
        self.queries: Mapping[What, Query] = {
            "invoke": self._asked,
            "screen": partial(self.screener.screen, read_radiograph(film)),
        }

    def facts(self) -> dict[str, Any]:
        """Return version, coverage and size, and what is slower or weaker than it should be."""
        found, degraded = self.screener.coverage, self.screener.degraded
        return {
            "version": self.screener.delegate.version,
            "software_gpu": SOFTWARE in degraded,
            "degraded": degraded,
            "file_mb": self._file_bytes / 1e6,
            "coverage": _coverage(found),
        }

    def judge(self, p50_ms: float) -> Verdict:
        """Hold its answers against the golden vectors, and those to new films against the CPU's.

        Raises
        ------
        DelegateError
            It does not answer.
        """
        name, tolerances = self._place.delegate, self._bundle.manifest.golden.tolerance
        distance = self.screener.distance()
        error = _error(distance)
        if found := distance.beyond(tolerances[name]):
            return Verdict(error, f"after it was timed, {name} answers the golden vectors: {found}")
        if incidents := [what for what in self.screener.degraded if what not in self._stated]:
            return Verdict(error, f"while it was timed, {'; '.join(incidents)}")
        return Verdict(error, suspicious=self._suspicion(p50_ms))

    def close(self) -> None:
        """End the delegate."""
        self.screener.close()

    def _suspicion(self, p50_ms: float) -> str | None:
        name, threads = self._place.delegate, self._place.threads
        if SOFTWARE in self.screener.degraded:
            # Slow, and never ranked: to ask it any more would take minutes.
            return None
        if name in _ON_THE_CPU and (why := too_few_cycles(self._bundle.model, threads, p50_ms)):
            return why
        more = new_films(self._bundle.golden.pixels, 1 + _TWICE, _SEED + 1)
        if why := kept_answers(self.screener.infer, more):
            return why
        if name == "cpu":
            return None
        try:
            with Screener(self._bundle, "cpu", fallback="forbid") as reference:
                expected = [reference.infer(film) for film in self._asked.films]
        except DelegateError as error:
            return f"the CPU cannot say whether films that nobody knew are answered: {error.what}"
        return answers_of_others([self.screener.infer(f) for f in self._asked.films], expected)


class FloatSystem:
    """A float network in the interpreter on the CPU, with XNNPACK where the runtime has it.

    Weights of 16 bits are made 32 bits wide when it is loaded: the processor computes with those.
    """

    lacks: Mapping[str, str] = {
        **dict.fromkeys(_OF_A_UNIT, "a unit screens with the int8 file alone"),
        "error": "golden vectors are what the int8 file answers, and no other network",
    }

    def __init__(self, model: FloatNetwork, place: Place) -> None:
        if place.delegate != "cpu":
            raise UnavailableError("float networks are measured on the CPU alone")
        probe = probe_runtime()
        if not probe.available:
            raise UnavailableError(probe.reason)
        self._model, self._threads, self._version = model, place.threads, probe.version
        try:
            self._interpreter = interpreter_module().Interpreter(
                model_content=model.model, num_threads=place.threads
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise DelegateError(
                f"the runtime refuses the model ({first_line(error)})",
                "Convert it with the runtime's own operators alone",
            ) from None
        (entry,) = self._interpreter.get_input_details()
        self._entry = entry["index"]
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]
        # As films are: real numbers of about -1 to 1.
        generator = np.random.default_rng(_SEED)
        self._films = generator.uniform(-1, 1, (2, *entry["shape"])).astype(np.float32)
        self.queries: Mapping[What, Query] = {"invoke": partial(self._run, 0)}

    def facts(self) -> dict[str, Any]:
        """Return version, coverage and size."""
        return {
            "version": self._version,
            "file_mb": len(self._model.model) / 1e6,
            "coverage": _coverage(coverage(self._interpreter, self._outputs)),
        }

    def judge(self, p50_ms: float) -> Verdict:
        """See whether what it answers depends on what it is asked."""
        if why := too_few_cycles(self._model.model, self._threads, p50_ms):
            return Verdict(None, suspicious=why)
        first, second = self._run(0), self._run(1)
        if not all(np.isfinite(answer).all() for answer in (*first, *second)):
            return Verdict(None, "it answers with what is no number")
        if all(np.array_equal(one, other) for one, other in zip(first, second, strict=True)):
            return Verdict(None, suspicious="two different films get the same answer")
        return Verdict(None)

    def close(self) -> None:
        """Let go of the interpreter."""
        self._interpreter = None

    def _run(self, film: int) -> list[Any]:
        self._interpreter.set_tensor(self._entry, self._films[film])
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise DelegateError(
                f"the model failed while it ran ({first_line(error)})",
                "Convert it with the runtime's own operators alone",
            ) from None
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def how_wrong(model: Model, place: Place) -> Error | None:
    """Return how far a delegate that may not serve is off; None where it does not even answer."""
    if isinstance(model, FloatNetwork):
        return None
    try:
        loaded = load_unproven(model.bundle, place.plugin, place.threads, Limits())
        try:
            return _error(Proof(model.bundle).measure(loaded))
        finally:
            loaded.close()
    except DelegateError:
        return None


def _coverage(found: delegates.Coverage) -> Coverage:
    left = Counter(found.left)
    return Coverage(taken=found.total - left.total(), total=found.total, left=dict(left))


def _error(distance: Distance) -> Error:
    return Error(
        max_steps=distance.max_steps,
        mean_steps=distance.mean_steps,
        probability=distance.probability,
    )
