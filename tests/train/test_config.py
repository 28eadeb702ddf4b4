"""Recipes: defaults, overrides, and errors that say what was meant."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from edge_runtime.errors import ConfigError
from train.config import RECIPES, Recipe, load_recipe, with_export


def test_the_default_recipe_lists_every_key_with_its_default() -> None:
    text = (RECIPES / "default.toml").read_text()
    assert load_recipe(RECIPES / "default.toml") == Recipe()
    listed = tomllib.loads(text)
    expected = Recipe().model_dump(by_alias=True)
    assert {k: set(v) if isinstance(v, dict) else v for k, v in listed.items()} == {
        k: set(v) if isinstance(v, dict) else v for k, v in expected.items()
    }
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#"):
            assert lines[number - 1].startswith("# "), f"{line} is not explained"


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_that_comes_along_is_valid(recipe: Path) -> None:
    assert load_recipe(Path(recipe.stem)) == load_recipe(recipe)


def test_overrides() -> None:
    recipe = load_recipe(None, ["float.epochs=3", 'data.where="centre == 1"', "model.weights=none"])
    assert (recipe.float_.epochs, recipe.data.where, recipe.model.weights) == (
        3,
        "centre == 1",
        "none",
    )
    assert recipe.sha256() != Recipe().sha256()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("float.epoch=3", r"no key is called float\.epoch\. Did you mean float\.epochs"),
        ("rotation_degrees=3", r"Did you mean augment\.rotation_degrees"),
        ("model.zzz=3", r"Known keys here: backbone, alpha"),
        ("float.epochs=lots", r"float\.epochs: .*integer"),
        ("model.backbone=resnet", r"model\.backbone: .*efficientnet_lite0"),
        ("epochs", r"is not key=value"),
    ],
)
def test_mistakes_are_explained_in_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(None, [override])
    assert "\n" not in str(caught.value)


def test_only_what_is_decided_at_export_can_be_changed_after_training() -> None:
    recipe = Recipe()
    changed = with_export(recipe, ["export.mirror=false", "export.context=['age']"])
    assert (changed.export.mirror, changed.export.context) == (False, ("age",))
    assert changed.model_copy(update={"export": recipe.export}) == recipe
    assert with_export(recipe, []) == recipe
    with pytest.raises(ConfigError, match="trained with"):
        with_export(recipe, ["input.smooth=0.6"])
    with pytest.raises(ConfigError, match="no key is called"):
        with_export(recipe, ["export.miror=false"])


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read.*btxrd"):
        load_recipe(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[float\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_recipe(broken)
