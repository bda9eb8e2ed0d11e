"""One setting: its meaning, the names that others give it, how its text is read, how a mistake in it is explained.

Which settings there are is in `sections.py` and `model.py`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from problems.values import plain_toml
from ttsd.errors import UserError

_NULL = ("none", "null")


def setting(default: Any, description: str, *, paper: str = "", code: str = "", **bounds: Any) -> Any:
    """Returns a field of a section.

    `paper` and `code`: what the paper's table 12 and its code, lasgroup/SDPO, call it.
    """
    return Field(default, description=description, json_schema_extra={"paper": paper, "code": code}, **bounds)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested values as one dictionary; the names are places, as in `lora.lr`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def expanded(path: str) -> str:
    """Returns a path with `~` and variables of the environment replaced. UserError: there is no such variable."""
    found = os.path.expandvars(os.path.expanduser(path))
    if missing := re.search(r"\$(\w+|\{\w+\})", found):
        raise UserError(f"{path!r} names {missing[0]}, and the environment has no such variable; set it")
    return found


class Section(BaseModel):
    """A group of settings. An unknown one is an error; `none` is null wherever a setting may be null."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_has_a_word(cls, values: Any) -> Any:
        # TOML has no null, and neither has a command line.
        if not isinstance(values, dict):
            return values
        return {name: None if cls._is_null(name, value) else value for name, value in values.items()}

    @classmethod
    def _is_null(cls, name: str, value: object) -> bool:
        field = cls.model_fields.get(name)
        if field is None or not isinstance(value, str) or value.lower() not in _NULL:
            return False
        return type(None) in members(field.annotation) and value not in choices(field)


def section(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Returns the section of that name, if `model` has one."""
    field = model.model_fields.get(name)
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def members(annotation: Any) -> tuple[Any, ...]:
    """Returns the types that a setting may have, as in int and None."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def choices(field: FieldInfo) -> list[str]:
    """Returns the words that a setting may be, as in none, nf4."""
    literals = [member for member in members(field.annotation) if get_origin(member) is Literal]
    return [word for literal in literals for word in get_args(literal)]


def read(text: str, field: FieldInfo | None) -> Any:
    """Returns the value that `text` means: a string where the setting takes this string, else as TOML writes values."""
    if field is not None and text in choices(field):
        return text
    takes_any_string = field is not None and str in members(field.annotation)
    if takes_any_string and not text.startswith(('"', "'")):
        return text
    try:
        return plain_toml(f"v = {text}")["v"]
    except ValueError:
        return text  # the section says what it wants instead


def written(value: Any) -> str:
    """Returns a value as TOML, which `read` and a configuration file take back."""
    return '"none"' if value is None else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Returns the first mistake as one sentence with its remedy."""
    first = error.errors()[0]
    # Members of a union add their type's name to the location; a setting's place has two parts.
    where = ".".join(str(part) for part in first["loc"][:2])
    if first["type"] == "extra_forbidden":
        known = _siblings(model, first["loc"])
        return f"unknown setting {where!r}{suggest(str(first['loc'][-1]), known)}; known here: {', '.join(known)}"
    if first["type"] == "value_error":
        return f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"
    if first["type"] == "string_too_short":
        return f"setting {where} is empty; give it a value, or leave it out"
    if any(problem["type"] == "list_type" for problem in error.errors() if problem["loc"][:2] == first["loc"][:2]):
        word = str(first["input"])
        return f"setting {where} = {word!r}: " + _wanted_list(first["loc"], word)
    given = json.dumps(first["input"], default=str)
    return f"setting {where} = {given}: {first['msg'][0].lower()}{first['msg'][1:]}"


def suggest(word: str, known: Sequence[str]) -> str:
    """Returns ` (did you mean 'attempts'?)`, or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _wanted_list(location: tuple[int | str, ...], word: str) -> str:
    names = json.dumps([part.strip() for part in word.strip("[]").split(",")])
    return f"write a list, as in --set '{location[0]}.{location[1]}={names}'"


def _siblings(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    fields: Mapping[str, Any] = model.model_fields
    if len(location) > 1:
        owner = section(model, str(location[0]))
        fields = owner.model_fields if owner else {}
    return sorted(fields)
