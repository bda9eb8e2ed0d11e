"""Where a configuration comes from, the weakest first.

The defaults; for the bundled model, and where none is named, its own `micro`; the file that TTSD_CONFIG names;
`ttsd.toml` in the current folder; each `--config`, left to right; `--model`; `--set section.key=value`. Or the record
of a run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from problems.values import plain_text, plain_toml
from ttsd.config.model import BUNDLED_MODEL, is_url
from ttsd.config.sections import Config
from ttsd.config.setting import expanded, explain, flat, read, section, suggest
from ttsd.errors import UserError

BUNDLED_CONFIG = "micro"
FOLDER_CONFIG = "ttsd.toml"
VARIABLE = "TTSD_CONFIG"
DISTRUSTED = ("judge.unsafe_no_sandbox", "judge.python")  # what lets a program out of the sandbox, or starts another


@dataclass(frozen=True, slots=True)
class Layer:
    """Some settings by section, and where they come from."""

    origin: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layered:
    """Settings, and the origin of each by its place, as in `lora.lr`; one without an origin has its default."""

    config: Config
    origins: Mapping[str, str]


def load_config(
    sources: str | Sequence[str] | None = None, overrides: str | Sequence[str] = (), *, model: str | None = None
) -> Config:
    """Returns the configuration that `sources` name, merged left to right, with `section.key=value` overrides.

    UserError: there is no such configuration, or a setting is unknown or has a wrong value.
    """
    given = [overrides] if isinstance(overrides, str) else overrides
    return layered([sources] if isinstance(sources, str) else sources or [], given, model=model).config


def layered(sources: Sequence[str], overrides: Sequence[str] = (), *, model: str | None = None) -> Layered:
    """Returns what `load_config` does, with the origin of each setting.

    `ttsd.toml` is said on stderr with all that it sets, and may not set everything: the current folder may be somebody
    else's. A configuration in which nobody names a model has the bundled one, and `model.path` is then not among the
    fields that are set.
    """
    layers = [*_usual(), *(Layer(f"-c {source}", _file(source)) for source in sources)]
    if model is not None:
        layers.append(Layer("-m", {"model": {"path": model}}))
    layers += [Layer("--set", _override(override)) for override in overrides]
    path = flat(_merged(layers)).get("model.path")
    if path in (None, BUNDLED_MODEL):
        bundled = _file(BUNDLED_CONFIG)
        if path is None:
            del bundled["model"]["path"]
        layers.insert(0, Layer(f"the bundled model's {BUNDLED_CONFIG}", bundled))
    try:
        config = Config.model_validate(_merged(layers))
    except ValidationError as error:
        raise UserError(explain(error, Config)) from None
    return Layered(config, {place: layer.origin for layer in layers for place in flat(layer.values)})


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


def _usual() -> list[Layer]:
    """Returns the layers that no command line names."""
    layers = []
    if named := os.environ.get(VARIABLE):
        layers.append(Layer(f"{VARIABLE}={named}", _file(named)))
    if Path(FOLDER_CONFIG).is_file():
        values = _file(FOLDER_CONFIG)
        _say(flat(values))
        layers.append(Layer(FOLDER_CONFIG, values))
    return layers


def _say(values: Mapping[str, Any]) -> None:
    """Names what `ttsd.toml` sets on stderr. UserError: it weakens the sandbox, or an address would get your key."""
    file = Path(FOLDER_CONFIG).absolute()
    if risky := [place for place, value in values.items() if place in DISTRUSTED or is_url(value)]:
        raise UserError(
            f"{file} sets {' and '.join(risky)}, which a folder's own file may not; remove that, and give it with "
            f"--set or in a file that {VARIABLE} names"
        )
    print(f"ttsd: {file} sets {', '.join(values) or 'nothing'}", file=sys.stderr)


def _merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """Returns the settings of all layers by section; a later one decides."""
    merged: dict[str, Any] = {}
    for name, value in ((name, value) for layer in layers for name, value in layer.values.items()):
        before = merged.get(name)
        merged[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _file(source: str) -> dict[str, Any]:
    text, name = _text(source), repr(source if source in shipped_configs() else _whole(source))
    try:
        return plain_toml(text)
    except ValueError as error:
        raise UserError(f"{name} is not valid TOML: {error}; correct that line") from None


def _text(source: str) -> str:
    if not source.endswith(".toml") and os.sep not in source:
        if source not in shipped_configs():
            raise UserError(
                f"there is no configuration {source!r}{suggest(source, shipped_configs())}; "
                f"shipped ones: {', '.join(shipped_configs())}, or give the path of a .toml file, or a model with -m"
            )
        return (resources.files("configs") / f"{source}.toml").read_text("utf-8")
    try:
        return plain_text(Path(_whole(source)))
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(
            f"can't read the configuration {_whole(source)!r} ({cause}); give the path of a TOML file"
        ) from None


def _whole(path: str) -> str:
    return str(Path(expanded(path)).absolute())


def _override(override: str) -> dict[str, Any]:
    key, equals, value = override.partition("=")
    name, dot, option = key.strip().partition(".")
    if equals and name == "method" and not dot:
        return {"method": value.strip()}
    if not equals or not dot or not option:
        raise UserError(f"--set {override!r} is not of the form section.key=value, as in budget.attempts=64")
    kind = section(Config, name)
    return {name: {option: read(value.strip(), kind.model_fields.get(option) if kind else None)}}
