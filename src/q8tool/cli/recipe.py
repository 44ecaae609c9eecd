"""Recipes: the options of a command in a TOML file, to be read, and written for the next time.

    calibration = "mse"
    exclude = ["head/*", "op:Softmax"]
    max-drop = 0.005

Keys are the long names of options. What is typed wins over the recipe.
"""

import difflib
import functools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["recipe_options"]

F = TypeVar("F", bound=Callable[..., Any])

# What a run is about, and how it is reported, is not part of how to do it.
_NO_RECIPE = frozenset(
    {"input_path", "output_path", "force", "as_json", "debug", "help", "recipe", "dump_recipe",
     "threads", "state", "report"}
)  # fmt: skip


def recipe_options(function: F) -> F:
    """--recipe FILE and --dump-recipe FILE; neither reaches the command's function."""

    @functools.wraps(function)
    def with_recipe(*args: Any, dump_recipe: Path | None, **kwargs: Any) -> Any:
        if dump_recipe is not None:
            _write(click.get_current_context(), dump_recipe)
        return function(*args, **kwargs)

    dump = click.option(
        "--dump-recipe", type=click.Path(path_type=Path), metavar="FILE",
        help="Write all options as they take effect to a TOML file.",
    )  # fmt: skip
    read = click.option(
        "--recipe", type=click.Path(path_type=Path), metavar="FILE", is_eager=True,
        expose_value=False, callback=_load,
        help="Take options from a TOML file, by their long names; what is typed wins.",
    )  # fmt: skip
    return cast(F, read(dump(with_recipe)))


def _load(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    """Callback: the file's values become the defaults of the options."""
    if path is None:
        return
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise click.BadParameter(f"{path}: {reason.lower()}", ctx, param) from error
    except tomllib.TOMLDecodeError as error:
        raise click.BadParameter(f"{path}: is not TOML: {error}", ctx, param) from error
    except (RecursionError, ValueError) as error:  # nested too deeply, a number too long
        raise click.BadParameter(f"{path}: is no recipe: {error}", ctx, param) from error
    known = {key: found for found in ctx.command.params for key in _keys(found)}
    defaults = {}
    for key, value in document.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"\ndid you mean {near[0]}?" if near else ""
            raise click.BadParameter(f"{path}: there is no option '{key}'{hint}", ctx, param)
        defaults[known[key].name or ""] = _typed(known[key], value)
    ctx.default_map = defaults


def _keys(param: click.Parameter) -> list[str]:
    """The names under which an option may stand in a recipe: without dashes in front."""
    is_option = isinstance(param, click.Option) and param.name not in _NO_RECIPE
    return [name[2:] for name in param.opts if name.startswith("--")] if is_option else []


def _typed(param: click.Parameter, value: Any) -> Any:
    """The value as somebody would have typed it."""
    if isinstance(value, Mapping):
        return [f"{name}={_word(item)}" for name, item in value.items()]
    if isinstance(param, click.Option) and param.multiple:
        return [_word(item) for item in (value if isinstance(value, list) else [value])]
    return value if isinstance(value, bool) else _word(value)


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _write(ctx: click.Context, path: Path) -> None:
    from q8tool.model.files import write_atomically

    with write_atomically(path, force=bool(ctx.params.get("force"))) as file:
        file.write(_text(ctx).encode("utf-8"))


def _text(ctx: click.Context) -> str:
    """The options that have a value, as TOML, in the order of the help."""
    lines = []
    for param in ctx.command.params:
        keys, value = _keys(param), ctx.params.get(param.name or "")
        if not keys or value is None or value == () or value == {}:
            continue
        is_chosen = ctx.get_parameter_source(param.name or "") is not ParameterSource.DEFAULT
        note = "" if is_chosen else "  # default"
        lines.append(f"{keys[0]} = {_toml(param, value)}{note}")
    return "\n".join(lines) + "\n"


def _toml(param: click.Parameter, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(name)} = {_toml(param, list(v))}" for name, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if param.name == "size":
        return json.dumps("x".join(map(str, value)))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(param, item) for item in value) + "]"
    return repr(value) if isinstance(value, int | float) else json.dumps(str(value))
