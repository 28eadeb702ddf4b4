"""The bundle (`*.osteo`): the one file that moves from workstation to device.

A zip of exactly these members::

    manifest.json       everything below, validated on load (schema osteoedge.bundle/1)
    model.int8.tflite   int8 in, int8 out
    golden.npz          inputs and reference outputs that every delegate must reproduce
    SHA256SUMS          of every other member

A device refuses whatever does not match: see :func:`load_bundle`.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_runtime.errors import BundleError
from edge_runtime.preprocess import InputSpec

LABELS = ("no_tumour", "benign", "malignant")
MANIFEST, MODEL, GOLDEN, SUMS = "manifest.json", "model.int8.tflite", "golden.npz", "SHA256SUMS"
MEMBERS = frozenset({MANIFEST, MODEL, GOLDEN, SUMS})
# Far above any model of this field; a zip can claim terabytes.
MAX_MEMBER_BYTES = 64 * 1024 * 1024
# The zip format's earliest date: no clock reaches the bytes of a bundle.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)

Purpose = Literal["demo", "research", "evaluated"]
Action = Literal["urgent_review", "routine_review"]
ScoreName = Literal["tumour", "malignant"]
Variant = Literal["qat-int8", "ptq-int8"]
Head = Literal["cam", "mask", "subtype", "region", "embedding"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(_Part):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class TensorSpec(_Part):
    """An int8 tensor of the model: real = (stored - zero_point) * scale."""

    index: int = Field(description="position among the interpreter's inputs or outputs")
    shape: tuple[int, ...]
    scale: float = Field(gt=0)
    zero_point: int = Field(ge=-128, le=127)

    def dequantize(self, stored: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
        """Return real values, float32, same shape."""
        shifted = stored.astype(np.float32) - np.float32(self.zero_point)
        return shifted * np.float32(self.scale)


class ModelSpec(_Part):
    """The TFLite file and its tensors, one output tensor a head."""

    sha256: str
    variant: Variant = Field("qat-int8", description="how its numbers became 8 bits wide")
    backbone: str
    input: TensorSpec
    outputs: dict[Head, TensorSpec] = Field(
        description="cam: class-activation map; mask: lesion logits; where they were trained, "
        "subtype and region: activation maps; embedding: the features under cam"
    )

    @model_validator(mode="after")
    def _what_a_screening_needs(self) -> Self:
        if missing := {"cam", "mask"} - set(self.outputs):
            raise ValueError(f"no output tensor for {', '.join(sorted(missing))}")
        return self


class OperatingPoint(_Part):
    """A threshold fixed before use."""

    name: str
    score: ScoreName = Field(description="the probability that the threshold cuts")
    level: Literal["image"] = "image"
    action: Action
    threshold: float = Field(ge=0, le=1)
    target: str = Field(description="what the threshold was chosen for, in words")
    positives: int
    negatives: int
    sensitivity: Interval
    specificity: Interval


class Fusion(_Part):
    """Class logits from the heads: cam * mean(cam) + mask * lesion evidence + bias.

    Where there is a head of subtypes, subtype / 2 * malignancy goes to malignant, and the same is
    taken from benign: the subtypes say what a tumour is, not whether there is one.
    A multinomial logistic regression, fitted on the int8 outputs; its softmax is calibrated.
    """

    cam: float = Field(gt=0, description="weight of the class head, an inverse temperature")
    mask: tuple[float, float, float] = Field(description="weight of the mask head, by class")
    bias: tuple[float, float, float] = Field(description="by class")
    subtype: float = Field(0.0, ge=0, description="weight of malignant against benign subtypes")
    malignant_subtypes: tuple[int, ...] = Field((), description="which subtypes are malignant")
    context: dict[str, dict[str, tuple[float, float, float]]] = Field(
        default_factory=dict,
        description="what a known age, sex or region adds, by class; one that is unknown adds none",
    )


class Calibration(_Part):
    """What was decided on the outputs of the int8 file, on films kept aside for it."""

    films: int
    patients: int
    mirror: bool = Field(
        description="whether each film is run mirrored, too, and the outputs are averaged"
    )
    fusion: Fusion
    mask_threshold: float = Field(gt=0, lt=1, description="probability that counts as lesion")
    operating_points: tuple[OperatingPoint, ...]
    conformal_alpha: float = Field(gt=0, lt=1, description="allowed miss rate of prediction sets")
    conformal_quantiles: dict[str, float] = Field(
        description="per class: the largest 1 - probability that still enters the prediction set"
    )


class GoldenSpec(_Part):
    """How closely the golden vectors must be reproduced, in steps of each output tensor."""

    sha256: str
    vectors: int
    max_steps: float = Field(description="largest difference allowed anywhere")
    mean_steps: float = Field(description="largest mean difference allowed in one head")


class Provenance(_Part):
    """Where the model comes from. The data licence travels with it."""

    dataset: str
    source: str
    licence: str
    may_ship_weights: bool
    where: str | None
    train_films: int
    train_patients: int
    split_sha256: str
    recipe_sha256: str
    software: dict[str, str]


class Manifest(_Part):
    """The content of manifest.json."""

    schema_: Literal["osteoedge.bundle/1"] = Field("osteoedge.bundle/1", alias="schema")
    name: str
    version: str
    purpose: Purpose
    labels: tuple[str, ...] = LABELS
    subtypes: tuple[str, ...] = Field((), description="channels of the head subtype")
    regions: tuple[str, ...] = Field((), description="channels of the head region")
    input_spec: InputSpec
    input_spec_sha256: str
    model: ModelSpec
    calibration: Calibration
    golden: GoldenSpec
    provenance: Provenance

    def to_json(self) -> bytes:
        """Return the manifest as it lies in the bundle."""
        return (self.model_dump_json(by_alias=True, indent=2) + "\n").encode()


@dataclass(frozen=True)
class GoldenVectors:
    """Network pixels (n, height, width) uint8, and each head's int8 output (n, ...)."""

    pixels: npt.NDArray[np.uint8]
    outputs: Mapping[str, npt.NDArray[np.int8]]

    def to_npz(self) -> bytes:
        """Return the bytes of a golden.npz without a clock in them."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, array in sorted({"pixels": self.pixels, **self.outputs}.items()):
                member = io.BytesIO()
                np.lib.format.write_array(member, array, allow_pickle=False)
                _add(archive, f"{name}.npy", member.getvalue())
        return buffer.getvalue()


@dataclass(frozen=True)
class ModelBundle:
    """A bundle that passed every check of :func:`load_bundle`."""

    manifest: Manifest
    model: bytes
    golden: GoldenVectors
    sha256: str
    file: str


def write_bundle(path: Path, manifest: Manifest, model: bytes, golden: GoldenVectors) -> None:
    """Write a bundle atomically; the same content gives the same bytes."""
    members = {MANIFEST: manifest.to_json(), MODEL: model, GOLDEN: golden.to_npz()}
    sums = "".join(f"{_sha256(data)}  {name}\n" for name, data in sorted(members.items()))
    temporary = path.with_name(path.name + ".part")
    with zipfile.ZipFile(temporary, "w") as archive:
        for name, data in {**members, SUMS: sums.encode()}.items():
            _add(archive, name, data)
    temporary.replace(path)


def load_bundle(path: Path | str) -> ModelBundle:
    """Read and check a bundle.

    Raises
    ------
    BundleError
        No bundle, truncated, a member missing, added or changed, an unknown schema or key, or an
        input spec whose hash does not match.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"the bundle cannot be read ({error.strerror})",
            "Give --bundle the path of a .osteo file made by 'osteoedge export'",
            str(path),
        ) from None
    members = _read_members(data, path.name)
    _check_sums(members, path.name)
    manifest = _parse_manifest(members[MANIFEST], path.name)
    for label, expected, member in (
        ("model", manifest.model.sha256, MODEL),
        ("golden vectors", manifest.golden.sha256, GOLDEN),
    ):
        if _sha256(members[member]) != expected:
            raise BundleError(
                f"the {label} are not those that the manifest names",
                "Copy the bundle again",
                path.name,
            )
    return ModelBundle(
        manifest=manifest,
        model=members[MODEL],
        golden=_parse_golden(members[GOLDEN], manifest, path.name),
        sha256=_sha256(data),
        file=path.name,
    )


def _read_members(data: bytes, name: str) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            if MANIFEST not in names:
                raise BundleError(
                    "a zip file, but no osteoedge bundle (no manifest.json)",
                    "Give --bundle a .osteo file made by 'osteoedge export'",
                    name,
                )
            if sorted(names) != sorted(MEMBERS):
                odd = sorted(set(names) ^ MEMBERS) or ["a member twice"]
                raise BundleError(
                    f"members missing or added: {', '.join(odd)}", "Copy the bundle again", name
                )
            if any(info.file_size > MAX_MEMBER_BYTES for info in infos):
                raise BundleError("a member is implausibly large", "Do not use this file", name)
            return {member: archive.read(member) for member in names}
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError):
        raise BundleError(
            "truncated, damaged, or no bundle at all",
            "Copy the .osteo file again from where it was exported",
            name,
        ) from None


def _check_sums(members: dict[str, bytes], name: str) -> None:
    expected = "".join(
        f"{_sha256(data)}  {member}\n" for member, data in sorted(members.items()) if member != SUMS
    )
    if members[SUMS] != expected.encode():
        stated = set(members[SUMS].decode(errors="replace").splitlines())
        changed = [line.split("  ")[1] for line in expected.splitlines() if line not in stated]
        raise BundleError(
            f"{', '.join(changed) or SUMS} was changed after export",
            "Do not use this bundle; export or copy it again",
            name,
        )


def _parse_manifest(data: bytes, name: str) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise BundleError(
            f"the manifest is not understood ({key}: {first['msg']})",
            "Use an osteoedge of the version that exported it",
            name,
        ) from None
    if manifest.input_spec.sha256() != manifest.input_spec_sha256:
        raise BundleError("the input spec does not match its hash", "Do not use this bundle", name)
    return manifest


def _parse_golden(data: bytes, manifest: Manifest, name: str) -> GoldenVectors:
    wanted = {"pixels", *manifest.model.outputs}
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            loaded = {key: arrays[key] for key in wanted}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise BundleError("the golden vectors cannot be read", "Export it again", name) from None
    return GoldenVectors(pixels=loaded.pop("pixels"), outputs=loaded)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _ZIP_EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
