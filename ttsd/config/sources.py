"""Where a configuration comes from: defaults < TOML file < `--set section.key=value`, or the record of a run."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ttsd.config.model import BUNDLED_MODEL
from ttsd.config.sections import Config
from ttsd.config.setting import explain, read, section, suggest
from ttsd.errors import UserError

BUNDLED_CONFIG = "micro"


def load_config(source: str | None = None, overrides: Sequence[str] = ()) -> Config:
    """Returns the configuration that `source` names, with `section.key=value` overrides applied.

    Without a source it is the bundled model's own configuration while that model is meant, else the defaults.
    UserError: there is no such configuration, or a setting is unknown or has a wrong value.
    """
    changes = _applied({}, overrides)
    if source is None and changes.get("model", {}).get("path", BUNDLED_MODEL) == BUNDLED_MODEL:
        source = BUNDLED_CONFIG
    data = _applied(_file(source), overrides) if source is not None else changes
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise UserError(explain(error, Config)) from None


def recorded_config(recorded: Mapping[str, Any]) -> Config:
    """Returns the settings that a run was recorded with. UserError: they are not settings of this version."""
    try:
        return Config.model_validate(recorded)
    except ValidationError as error:
        raise UserError(f"a recorded run has settings of another version of ttsd ({explain(error, Config)})") from None


def shipped_configs() -> list[str]:
    """Returns the names that `--config` takes without a path."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in resources.files("configs").iterdir()
        if entry.name.endswith(".toml")
    )


def _file(source: str) -> dict[str, Any]:
    path = Path(source)
    if path.suffix != ".toml" and os.sep not in source:
        if source not in shipped_configs():
            raise UserError(
                f"there is no configuration {source!r}{suggest(source, shipped_configs())}; "
                f"shipped ones: {', '.join(shipped_configs())}, or give the path of a .toml file"
            )
        text = (resources.files("configs") / f"{source}.toml").read_text("utf-8")
    else:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            cause = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise UserError(
                f"can't read the configuration {source!r} ({cause}); give the path of a TOML file"
            ) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source!r} is not valid TOML: {error}; correct that line") from None


def _applied(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    for override in overrides:
        _apply(data, override)
    return data


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    name, dot, option = key.strip().partition(".")
    if equals and name == "method" and not dot:
        data["method"] = value.strip()
        return
    if not equals or not dot or not option:
        raise UserError(f"--set {override!r} is not of the form section.key=value, as in budget.attempts=64")
    table = data.setdefault(name, {})
    if not isinstance(table, dict):
        raise UserError(f"--set {override!r}: {name!r} is not a section; use section.key=value")
    kind = section(Config, name)
    table[option] = read(value.strip(), kind.model_fields.get(option) if kind else None)
