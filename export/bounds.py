"""Bounds files: what a bundle must reach before it may serve, or may replace another.

TOML, every key optional; what is not named is not asked for::

    films = 200              # labelled films, at least
    centres = 2              # places they are from, at least
    unable_rate = 0.05       # at most
    false_mask_rate = 0.20   # films without tumour on which a lesion is drawn, at most
    dicom_auc_drop = 0.01    # macro AUC lost on the way through DICOM, at most
    malignant_patients = 30  # behind the thresholds, at least; asked for unless said otherwise

    [sensitivity]            # of each operating point, at least
    malignant = 0.80

    [specificity]
    tumour = 0.50
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_runtime.errors import ConfigError

Share = Field(None, ge=0, le=1)
# Fewer cannot hold a sensitivity: of 30, one is worth 3 %.
MALIGNANT_PATIENTS = 30


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServingBounds(_File):
    """What `bundle qualify` asks for; a rate is held by its value, not by its interval."""

    films: int | None = Field(None, ge=1)
    centres: int | None = Field(None, ge=1)
    unable_rate: float | None = Share
    false_mask_rate: float | None = Share
    dicom_auc_drop: float | None = Share
    malignant_patients: int = Field(MALIGNANT_PATIENTS, ge=1)
    sensitivity: dict[str, float] = Field(default_factory=dict)
    specificity: dict[str, float] = Field(default_factory=dict)


class ChangeBounds(_File):
    """What `bundle diff` allows the second bundle.

    ``max_loss`` of a metric of metrics.json, ``max_gain`` where more is worse, ``max_turned`` share
    of decisions, ``max_bytes`` of the second file, and ``unchanged`` keys of the manifest.
    """

    max_loss: dict[str, float] = Field(default_factory=dict)
    max_gain: dict[str, float] = Field(default_factory=dict)
    max_turned: float | None = Share
    max_bytes: int | None = Field(None, ge=1)
    unchanged: tuple[str, ...] = ()


Bounds = TypeVar("Bounds", bound=_File)


def load_bounds(path: Path, kind: type[Bounds]) -> Bounds:
    """Read a bounds file.

    Raises
    ------
    ConfigError
        It cannot be read, is no TOML, holds a key or value that is not known, or asks for nothing.
    """
    try:
        bounds = kind.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", "Give a TOML file", path.name) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{key}: {first['msg']}", f"Use {', '.join(kind.model_fields)}", path.name
        ) from None
    if not bounds.model_fields_set:
        raise ConfigError(
            "asks for nothing", f"Set some of {', '.join(kind.model_fields)}", path.name
        )
    return bounds
