"""`bench.json`: what was measured, on what, and for what could not be measured, why.

Design rules: a figure that is not there is null, and `unmeasured` says why; every latency stands
beside what the same system answered, since a fast wrong delegate is a failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Status = Literal["ok", "unavailable", "failed"]
Variant = Literal["fp32", "fp16", "ptq-int8", "qat-int8"]
Milliseconds = Annotated[float, Field(ge=0)]

SCHEMA: Literal["osteoedge.bench/1"] = "osteoedge.bench/1"


class _Part(BaseModel):
    # What is written is whole: the schema lets nothing be left out, though it can be built without.
    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_serialization_defaults_required=True
    )


class Interval(_Part):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Ratio(_Part):
    """How many times longer one system took than another, in the same rounds of one run."""

    row: str = Field(description="`key` of the row")
    reference: str = Field(description="`key` of the row that it is held against")
    what: Literal["invoke", "screen"]
    times: Interval


class Condition(_Part):
    """What may change while one measures; null where the system does not tell."""

    frequency_mhz: float | None = Field(description="of the fastest core")
    temperature_c: float | None = Field(description="hottest sensor of the processor")
    throttled: tuple[str, ...] = Field(description="flags that say the processor was slowed down")
    load_1min: float | None
    uptime_s: float | None = None
    stolen_s: float | None = Field(
        None, description="core seconds since boot that the hypervisor gave to others"
    )
    busy: tuple[str, ...] = Field(
        description="other processes that used a tenth of a core or more, name and share"
    )


class Host(_Part):
    """What the figures were measured on; null where the system does not tell."""

    cpu: str | None
    cores: int | None
    architecture: str
    board: str | None = Field(description="from the device tree, or the firmware's tables")
    governor: str | None
    energy_meter: str | None = Field(None, description="what tells the energy, and of which part")
    memory_mb: int
    system: str
    python: str
    packages: dict[str, str]
    measured_at: str = Field(description="ISO 8601, UTC")
    before: Condition
    after: Condition
    warnings: tuple[str, ...] = Field(description="what makes these figures worth less")
    harness_us: float = Field(ge=0, description="median cost of a query that does nothing")


class Coverage(_Part):
    """How many of the model's operators the delegate computes itself."""

    taken: int
    total: int
    left: dict[str, int] = Field(description="operators that it leaves to others, how many each")


class Error(_Part):
    """The largest differences from the exporter's reference answers to the golden vectors."""

    max_steps: float = Field(ge=0, description="in steps of a head's int8 output")
    mean_steps: float = Field(ge=0, description="the largest mean of a head")
    probability: float = Field(ge=0, le=1)


class Accuracy(_Part):
    """What this very system answered on a dataset."""

    dataset: str
    sha256: str = Field(description="of the dataset's table")
    films: int
    auc_macro: Interval | None
    auc_tumour: Interval | None
    sensitivity: Interval | None = Field(description="at the bundle's tumour point")
    specificity: Interval | None
    dice: Interval | None


class Row(_Part):
    """One model on one delegate with one number of threads."""

    bundle: str
    synthetic: bool | None = Field(
        description="trained on drawings; null: a bare .tflite does not say"
    )
    variant: Variant
    delegate: str
    threads: int
    status: Status
    reason: str | None = Field(description="why not, where the status is not ok")
    version: str | None = Field(None, description="of the delegate")
    software_gpu: bool = Field(False, description="a Vulkan driver on the CPU: never ranked")
    degraded: tuple[str, ...] = ()
    suspicious: str | None = Field(
        None, description="why a latency is too low to be believed before somebody has looked"
    )

    n: int | None = None
    p50_ms: Milliseconds | None = None
    p50_low_ms: Milliseconds | None = None
    p50_high_ms: Milliseconds | None = None
    p90_ms: Milliseconds | None = None
    p90_low_ms: Milliseconds | None = None
    p90_high_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None
    p99_low_ms: Milliseconds | None = None
    p99_high_ms: Milliseconds | None = None
    max_ms: Milliseconds | None = None
    per_second: float | None = Field(None, description="network runs, one after the other")
    warmup_ms: Milliseconds | None = None
    screen_p50_ms: Milliseconds | None = Field(None, description="display pixels to screening")
    screen_p50_low_ms: Milliseconds | None = None
    screen_p50_high_ms: Milliseconds | None = None
    screen_p90_ms: Milliseconds | None = None
    cold_ms: Milliseconds | None = Field(None, description="process start to first screening")
    rss_mb: float | None = Field(None, description="resident once the first film is screened")
    peak_mb: float | None = Field(None, description="highest resident memory until then")
    file_mb: float | None = Field(None, description="of the model file, millions of bytes")
    energy_mj: float | None = Field(None, description="a screening, idle baseline subtracted")
    coverage: Coverage | None = None
    error: Error | None = None
    accuracy: Accuracy | None = None
    unmeasured: dict[str, str] = Field(description="why a figure is null, by its name")

    @property
    def key(self) -> str:
        """What names the row among those of a run, and among those of another run."""
        return f"{self.bundle.partition(' ')[0]} {self.variant} {self.delegate}/{self.threads}"

    @property
    def ranked(self) -> bool:
        """Whether its latency is held against others: measured on hardware, and believed."""
        return self.status == "ok" and not self.software_gpu and self.suspicious is None

    @model_validator(mode="after")
    def _nothing_is_left_out(self) -> Self:
        null = {name for name in FIGURES if getattr(self, name) is None}
        if unexplained := null - set(self.unmeasured):
            raise ValueError(f"no reason is given for {', '.join(sorted(unexplained))}")
        if explained := set(self.unmeasured) - null:
            raise ValueError(
                f"a reason is given for {', '.join(sorted(explained))}, which is there"
            )
        if (self.status == "ok") == bool(self.reason):
            raise ValueError("a row that is not ok has a reason, and no other")
        return self


FIGURES = tuple(
    name
    for name in Row.model_fields
    if name.endswith(("_ms", "_mb", "_mj"))
    or name in ("n", "per_second", "coverage", "error", "accuracy")
)


class FilmStages(_Part):
    """Where the time of one kind of film goes: medians, milliseconds."""

    coding: str = Field(description="DICOM transfer syntax, or the kind of picture")
    rows: int
    columns: int
    file_mb: float
    n: int
    status: Status
    reason: str | None
    stages_ms: dict[str, Milliseconds] = Field(
        description="read, decode, preprocess, invoke, postprocess, report: in this order"
    )
    total_ms: Milliseconds | None
    total_low_ms: Milliseconds | None
    total_high_ms: Milliseconds | None


class QueueCost(_Part):
    """How long a unit takes for a number of films that came at once."""

    films: int
    total_ms: Milliseconds
    per_film_ms: Milliseconds


class Bench(_Part):
    """bench.json."""

    schema_: Literal["osteoedge.bench/1"] = Field(SCHEMA, alias="schema")
    host: Host
    rows: tuple[Row, ...]
    ratios: tuple[Ratio, ...] = ()
    films: tuple[FilmStages, ...] = ()
    queue: tuple[QueueCost, ...] = ()

    model_config = ConfigDict(populate_by_name=True)

    @model_validator(mode="after")
    def _rows_have_names_of_their_own(self) -> Self:
        keys = [row.key for row in self.rows]
        if len(set(keys)) < len(keys):
            raise ValueError("two rows have the same bundle, variant, delegate and threads")
        return self

    def to_json(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def absent(reason: str, but: Mapping[str, object] | None = None) -> dict[str, str]:
    """Return `unmeasured` of a row of which nothing is known but the figures in ``but``."""
    return {name: reason for name in FIGURES if name not in (but or {})}
