"""Read, write and compare recipes in TOML.

The recipes of the package are in ``models/*.toml``. A run folder keeps the recipe that it used.
"""

import math
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import tomli_w

from reid_toolkit.config import Recipe, RoundsRecipe, check
from reid_toolkit.errors import RecipeError, did_you_mean

SHIPPED = Path(__file__).parent / "recipes"
"""A link to ``models/`` in a checkout, a copy of ``models/`` in an installed package."""

STAGES_ONLY = {
    "training": {"first_epochs", "later_epochs", "first_learning_rate", "later_learning_rate", "decay_after"},
    "merging": {"fraction", "linkage", "metric", "size_weight"},
}
"""Settings that have no effect in training by rounds."""

BY_CLUSTERING = {
    "dispersion": {
        "rounds": {"until", "until_before_cameras"},
        "merging": {"trade_off", "within", "cannot_link"},
    },
    "dbscan": {"rounds": {"radius"}},
}
"""Settings that have an effect only with this way of clustering in rounds."""


def unused(table: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The settings of a recipe's table that have no effect in it, as (table, key, why)."""
    rounds = table.get("rounds", {})
    if not all(isinstance(table.get(part, {}), dict) for part in (*STAGES_ONLY, "rounds")):
        return []  # a wrong type; parsing reports it
    training = table.get("training", {})
    adam = training.get("optimiser") == "adam"
    found = [("training", "momentum", "training.optimiser is 'adam'")] if adam and "momentum" in training else []
    if not rounds.get("count"):
        return found + [("rounds", key, "rounds.count is 0") for key in rounds if key != "count"]
    if not rounds.get("taught") and "teacher_weight" in rounds:
        found.append(("rounds", "teacher_weight", "rounds.taught is 0"))
    chosen = rounds.get("clustering", RoundsRecipe.clustering)
    others = [parts for name, parts in BY_CLUSTERING.items() if name != chosen]
    reasons = [(STAGES_ONLY, "it is for training by stages, and rounds.count is not 0")]
    reasons += [(parts, f"rounds.clustering is {chosen!r}") for parts in others]
    return found + [
        (part, key, why)
        for parts, why in reasons
        for part, keys in parts.items()
        for key in table.get(part, {})
        if key in keys
    ]


def shipped_recipes() -> list[str]:
    """The names of the package's recipes, sorted."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe of the package by its name ("dbc"), or a TOML file by its path.

    Raises :class:`RecipeError` for an unknown name, invalid TOML, an unknown key, a wrong type or a contradiction.
    """
    shipped = SHIPPED / f"{name_or_path}.toml"
    path = shipped if shipped.is_file() else Path(name_or_path)
    try:
        return parse_recipe(path.read_text(encoding="utf-8-sig"))  # editors on Windows write a byte-order mark
    except (FileNotFoundError, IsADirectoryError):
        names = ", ".join(shipped_recipes())
        near = did_you_mean(name_or_path, shipped_recipes())
        raise RecipeError(f"recipe {name_or_path!r}{near}: neither a shipped recipe ({names}) nor a file") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not TOML: {error}") from None
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def parse_recipe(text: str) -> Recipe:
    """Parse a recipe in TOML. Raises :class:`RecipeError` as :func:`load_recipe` does."""
    try:
        table = tomllib.loads(text)
        for part, key, why in unused(table):
            raise RecipeError(f"{part}.{key} has no effect here ({why}): remove it")
        recipe: Recipe = parse(Recipe, table, "")
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"not TOML: {error}") from None
    except RecursionError:
        raise RecipeError("not a recipe: its brackets are nested too deeply") from None
    except RecipeError:
        raise
    except ValueError:  # Python neither reads nor writes longer numbers
        raise RecipeError("not a recipe: a number has more than 4,300 digits") from None
    return recipe


def parse(kind: type, table: dict[str, Any], prefix: str) -> Any:
    """Make a dataclass of ``kind`` from a TOML table. Unknown keys and wrong types raise :class:`RecipeError`."""
    known = {f.name: f for f in fields(kind)}
    values = {}
    for key, value in table.items():
        check(key in known, f"unknown setting {prefix}{key}: expected one of {', '.join(known)}")
        values[key] = parse_value(known[key].type, value, f"{prefix}{key}")
    return kind(**values)


def parse_value(kind: Any, value: Any, name: str) -> Any:
    if type(value) is int:
        check(abs(value) < 2**63, f"{name} is an integer of {value.bit_length()} bits: expected a smaller number")
    if hasattr(kind, "__dataclass_fields__"):
        check(isinstance(value, dict), f"{name} is {value!r}: expected a table [{name}]")
        return parse(kind, value, f"{name}.")
    if get_origin(kind) is Literal:
        options = get_args(kind)
        # The types are compared too, because in Python True equals 1.
        fits = type(value) is type(options[0]) and value in options
        check(fits, f"{name} is {value!r}: expected one of {', '.join(map(str, options))}")
        return value
    if kind is float and type(value) is int:
        value = float(value)
    check(type(value) is kind, f"{name} is {value!r}: expected a value of type {kind.__name__}")
    check(kind is not float or math.isfinite(value), f"{name} is {value!r}: expected a finite number")
    return value


def as_table(recipe: Recipe) -> dict[str, Any]:
    """All settings of a recipe that have an effect."""
    table = asdict(recipe)
    for part, key, _ in unused(table):
        del table[part][key]
    return table


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as TOML. ``load_recipe`` of this text gives a recipe that trains the same."""
    return tomli_w.dumps(as_table(recipe))


def difference(a: Recipe, b: Recipe) -> list[str]:
    """The settings in which two recipes differ, such as "training.frames: 4 is now 8"."""
    return compare(as_table(a), as_table(b), "")


def compare(a: dict[str, Any], b: dict[str, Any], prefix: str) -> list[str]:
    found = []
    for key in dict.fromkeys((*a, *b)):
        old, new = a.get(key, "not used"), b.get(key, "not used")
        if isinstance(old, dict):
            found += compare(old, b[key], f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key}: {old} is now {new}")
    return found
