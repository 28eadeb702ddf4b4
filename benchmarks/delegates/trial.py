"""What becomes a row: a model in a place, what was measured of it, and why the rest was not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.delegates.models import Model
from benchmarks.delegates.systems import Place, System, UnavailableError, What, how_wrong, load
from benchmarks.harness import Latencies, Percentile
from benchmarks.schema import FIGURES, Row, Status, absent
from edge_runtime.errors import DelegateError

_UNBOUND = "too few independent queries to bound it"


class BrokenTrialError(Exception):
    """A system failed while it was measured."""

    def __init__(self, trial: Trial, why: str) -> None:
        self.trial, self.why = trial, why
        super().__init__(why)


class Trial:
    """What becomes a row."""

    def __init__(self, model: Model, place: Place) -> None:
        self.model, self.place = model, place
        self.system: System | None = None
        self.times: dict[What, Latencies] = {}
        self._status: Status = "ok"
        self._reason: str | None = None
        self._facts: dict[str, Any] = {}
        self._unmeasured: dict[str, str] = {}

    def load(self, film: Path, loaded: ExitStack) -> None:
        """Load the model, or keep why that cannot be."""
        try:
            self.system = load(self.model, self.place, film)
        except UnavailableError as error:
            self._status, self._reason = "unavailable", str(error)
        except DelegateError as error:
            # It is there, and must work.
            self.fail(error.what)
            self._facts["error"] = how_wrong(self.model, self.place)
        else:
            loaded.callback(self.system.close)
            self.without(self.system.lacks)

    def fail(self, why: str) -> None:
        """Take back every figure but the error, and say why."""
        self._status, self._reason, self.system, self.times = "failed", why, None, {}
        self._facts = {name: self._facts[name] for name in self._facts if name not in FIGURES}

    def state(self, **facts: Any) -> None:
        """Set fields of the row."""
        self._facts |= facts

    def without(self, reasons: Mapping[str, str]) -> None:
        """Keep why figures stay null."""
        self._unmeasured |= reasons

    def query(self, what: What) -> Callable[[], None]:
        """Return a query that says whose failure it was."""
        assert self.system is not None
        ask = self.system.queries[what]

        def asked() -> None:
            try:
                ask()
            except DelegateError as error:
                raise BrokenTrialError(self, error.what) from None

        return asked

    def row(self) -> Row:
        """Return the row, each null with its reason."""
        figures = dict(self._facts)
        if self.times:
            figures |= _invoke(self.times["invoke"])
        if "screen" in self.times:
            figures |= _screen(self.times["screen"])
        known = {name: figure for name, figure in figures.items() if figure is not None}
        if self._reason is None:
            unbound = {name: _UNBOUND for name in figures if name.endswith("_high_ms")}
            why = unbound | self._unmeasured
            reasons = {name: why[name] for name in FIGURES if name not in known}
        else:
            reasons = absent(self._reason, known)
        return Row(
            bundle=self.model.name,
            synthetic=self.model.synthetic,
            variant=self.model.variant,
            delegate=self.place.delegate,
            threads=self.place.threads,
            status=self._status,
            reason=self._reason,
            unmeasured=reasons,
            **known,
        )


def _invoke(times: Latencies) -> dict[str, Any]:
    return {
        "n": len(times.milliseconds),
        **{
            f"p{percent}{end}_ms": value
            for percent in (50, 90, 99)
            for end, value in _ends(times.percentile(percent)).items()
        },
        "max_ms": float(times.milliseconds.max()),
        "per_second": times.per_second,
        "warmup_ms": times.warmup_ms,
    }


def _screen(times: Latencies) -> dict[str, Any]:
    middle = _ends(times.percentile(50))
    return {
        **{f"screen_p50{end}_ms": value for end, value in middle.items()},
        "screen_p90_ms": times.percentile(90).value,
    }


def _ends(found: Percentile) -> dict[str, float | None]:
    """Return a percentile and its interval; None for an end that is not known."""
    return {"": found.value, "_low": found.low, "_high": found.known_high}
