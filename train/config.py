"""The recipe: one TOML file that says everything about a training run.

Every key has a default and an explanation below; `train/recipes/default.toml` lists them all. A key
that is not known is an error that names the nearest one that is.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_runtime.config import explain
from edge_runtime.errors import ConfigError
from edge_runtime.preprocess import InputSpec

RECIPES = Path(__file__).parent / "recipes"
Backbone = Literal["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "mobilenet_v2"]

Precision = Literal["float32", "mixed_bfloat16"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """Which films, how patients are shared out, and how often each film is seen."""

    where: str = Field("", description="use only these films, e.g. 'centre != 3'")
    hold_out: str = Field(
        "", description="films kept for the test, with their patients, e.g. 'centre == 2'"
    )
    folds: int = Field(0, ge=0, le=50, description="cross-validation: number of folds, 0 for none")
    fold: int = Field(0, ge=0, description="the fold that is the test, from 0")
    validation: float = Field(
        0.12, gt=0, lt=0.5, description="share of patients that choose the model"
    )
    calibration: float = Field(
        0.18, gt=0, lt=0.5, description="share of patients kept for thresholds of the int8 file"
    )
    balance: tuple[str, ...] = Field(
        (), description="columns whose values are seen equally often, e.g. ['centre', 'label']"
    )

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if self.folds and (self.hold_out or self.fold >= self.folds):
            raise ValueError("give hold_out or folds, not both, and a fold below folds")
        return self


class ModelConfig(_Section):
    """The network."""

    backbone: Backbone = Field("efficientnet_lite0", description="feature extractor")
    alpha: float = Field(1.0, description="width of mobilenet_v2 (0.35, 0.5, 0.75, 1.0)")
    weights: str = Field("imagenet", description="'imagenet', 'none', or a weights file")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of features dropped before cam")
    heads: tuple[Literal["subtype", "region", "embedding"], ...] = Field(
        (), description="heads beside cam and mask; subtype and region need columns of that name"
    )
    mask_channels: int = Field(48, ge=8, le=256, description="width of the mask decoder")


class AugmentConfig(_Section):
    """Random changes of training films."""

    flip_horizontal: float = Field(0.5, ge=0, le=1, description="share of films mirrored")
    flip_vertical: float = Field(0.0, ge=0, le=1, description="share of films upside down")
    rotation_degrees: float = Field(15.0, ge=0, le=180, description="largest rotation")
    scale: float = Field(0.15, ge=0, lt=1, description="largest relative zoom, in and out")
    close_up: float = Field(
        0.0, ge=0, le=4, description="largest magnification of half of the films, lesions in view"
    )
    shift: float = Field(0.06, ge=0, lt=0.5, description="largest shift, of the film's side")
    gamma: float = Field(0.2, ge=0, description="largest relative change of gamma, both ways")
    contrast: float = Field(0.15, ge=0, lt=1, description="largest relative change of contrast")
    brightness: float = Field(0.05, ge=0, lt=1, description="largest change of brightness, of 1")
    noise: float = Field(0.0, ge=0, lt=1, description="standard deviation of added noise, of 1")
    inversion: float = Field(0.0, ge=0, le=1, description="share of films turned black for white")
    collimation: float = Field(0.0, ge=0, lt=0.5, description="largest share blackened, each side")
    erase: float = Field(0.0, ge=0, le=1, description="share of films with a patch made grey")
    blur: float = Field(0.0, ge=0, le=10, description="largest sigma of a Gaussian blur, in pixels")
    jpeg: float = Field(0.0, ge=0, le=1, description="share of films compressed, quality 30 to 95")


class LossConfig(_Section):
    """What is minimised."""

    class_weights: Literal["frequency", "effective_number"] = Field(
        "frequency", description="how rare classes gain weight: a power of 1/n, or Cui et al. 2019"
    )
    class_balance: float = Field(
        0.5, ge=0, le=1, description="0: films weigh the same; 1: classes weigh the same"
    )
    focal_gamma: float = Field(
        0.0, ge=0, le=5, description="focus on films that are still wrong, 0 for none"
    )
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="share of each label spread out")
    mask_weight: float = Field(
        20.0, ge=0, description="weight of the mask loss, a mean over cells of which 1 % are lesion"
    )
    subtype_weight: float = Field(0.3, ge=0, description="weight of the head of subtypes")
    region_weight: float = Field(0.1, ge=0, description="weight of the head of regions")
    dice_share: float = Field(0.1, ge=0, le=1, description="Dice share of the mask loss, rest BCE")


class FloatConfig(_Section):
    """The float phases: heads alone, then everything."""

    batch: int = Field(32, ge=2, description="films per step, on all devices together")
    warmup_epochs: int = Field(1, ge=0, description="epochs with the backbone frozen")
    epochs: int = Field(12, ge=1, description="epochs of fine-tuning")
    learning_rate: float = Field(3e-4, gt=0, description="of the backbone: peak of the schedule")
    head_learning_rate: float = Field(2e-3, gt=0, description="of the heads, which start at random")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's decoupled weight decay")
    precision: Precision = Field(
        "float32", description="arithmetic of this phase; bfloat16 is faster where hardware has it"
    )
    average: float = Field(
        0.99, ge=0, lt=1, description="decay of the moving average of weights, 0 for none"
    )


class PruneConfig(_Section):
    """Pruning between float and quantization: zeros that make the bundle smaller, not faster."""

    sparsity: float = Field(
        0.0, ge=0, lt=1, description="share of zeros in the 1 x 1 convolutions, 0 for no pruning"
    )
    epochs: int = Field(4, ge=1, description="epochs; the share has risen after three quarters")
    learning_rate: float = Field(1e-4, gt=0, description="peak of the cosine schedule")
    distillation: float = Field(
        0.8, ge=0, le=1, description="share of the loss that follows the float model, rest labels"
    )


class QatConfig(_Section):
    """Quantization-aware training, with the float model as teacher."""

    calibration_batches: int = Field(
        20, ge=1, description="batches that set the activation ranges before the first step"
    )
    batch: int = Field(32, ge=2, description="films per step, on all devices together")
    epochs: int = Field(2, ge=0, description="epochs; 0 keeps the calibrated float weights")
    learning_rate: float = Field(2e-5, gt=0, description="peak of the cosine schedule")
    distillation: float = Field(
        0.8, ge=0, le=1, description="share of the loss that follows the teacher, rest labels"
    )


class ExportConfig(_Section):
    """What export decides on the calibration films."""

    tumour_sensitivity: float = Field(
        0.90, gt=0, lt=1, description="aim of the routine_review point"
    )
    malignant_sensitivity: float = Field(
        0.80, gt=0, lt=1, description="aim of the urgent_review point"
    )
    mirror: bool = Field(
        True, description="run each film mirrored, too, and average: twice the time, fewer errors"
    )
    max_false_masks: float = Field(
        0.10, gt=0, le=1, description="share of tumour-free films that may get a lesion mask"
    )
    context: tuple[Literal["age", "sex", "region"], ...] = Field(
        (), description="facts beside the pixels that are weighed with them where they are known"
    )
    conformal_alpha: float = Field(0.10, gt=0, lt=1, description="miss rate of prediction sets")
    max_auc_drop: float = Field(
        0.01, ge=0, description="the export fails if int8 loses more macro AUC to Keras float"
    )
    max_sensitivity_drop: float = Field(
        0.05, ge=0, description="the same of the share of benign, or of malignant films referred"
    )
    max_dice_drop: float = Field(0.05, ge=0, description="the same of the Dice of tumours")
    max_ece_rise: float = Field(0.05, ge=0, description="the same of the calibration error, upward")
    max_mean_steps: float = Field(
        4.0, gt=0, description="mean error of a head against Keras, in steps of its int8 output"
    )
    min_snr_db: float = Field(
        10.0, description="least signal to noise of a head against Keras, in decibels"
    )
    clip_outliers: float = Field(
        0.01, ge=0, lt=0.5, description="ptq-int8: share of films that may leave a tensor's range"
    )
    min_edge_tpu_share: float = Field(
        0.9, ge=0, le=1, description="the same if an Edge TPU compiler maps less of the operators"
    )
    min_levels: int = Field(
        64, ge=2, le=256, description="the export fails if a head uses fewer int8 levels"
    )


class Recipe(_Section):
    """A training run, in full."""

    seed: int = Field(0, ge=0, lt=10_000, description="of the split, the order and augmentation")
    data: DataConfig = DataConfig()
    input: InputSpec = InputSpec()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    float_: FloatConfig = Field(FloatConfig(), alias="float")
    prune: PruneConfig = PruneConfig()
    qat: QatConfig = QatConfig()
    export: ExportConfig = ExportConfig()

    def to_json(self) -> str:
        """Return every key with its value, as indented JSON."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    def sha256(self) -> str:
        """Return the hash that names the recipe."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def load_recipe(path: Path | None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply ``section.key=value`` overrides.

    Parameters
    ----------
    path
        A TOML file, the name of a recipe that comes with osteoedge, or None for the defaults.
    overrides
        Values are TOML; what is no TOML is taken as text.

    Raises
    ------
    ConfigError
        The file is absent or no TOML, a key is not known, or a value is not allowed.
    """
    values = _read(path) if path else {}
    for override in overrides:
        _apply(values, override)
    name = str(path) if path else "--set"
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, Recipe, name) from None


def with_export(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with ``export.key=value`` applied: what training had no part in.

    Raises
    ------
    ConfigError
        A key of another section, one that is not known, or a value that is not allowed.
    """
    values = recipe.model_dump(mode="json", by_alias=True)
    for override in overrides:
        if not override.strip().startswith("export."):
            raise ConfigError(
                f"--set {override!r} is of a section that the run was trained with",
                "Set keys of [export], or train again",
            )
        _apply(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, Recipe, "--set") from None


def _read(path: Path) -> dict[str, Any]:
    if not path.exists() and (RECIPES / f"{path}.toml").exists():
        path = RECIPES / f"{path}.toml"
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise ConfigError(
            f"the recipe cannot be read ({error.strerror})",
            f"Give a TOML file, or one of the recipes that come with osteoedge: {known}",
            str(path),
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML ({error})", "Correct the recipe", str(path)) from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(
            f"--set {override!r} is not key=value", "Write for example --set float.epochs=20"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, last = key.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {key}: {section} is no section", "See 'train/recipes'")
    values[last] = value
