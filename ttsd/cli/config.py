"""`ttsd config`: the settings in force, and what every setting means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from ttsd.cli.options import ConfigOption, JsonOption, SetOption, settings_of
from ttsd.terminal import json_text

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

app = typer.Typer(no_args_is_help=True, help="Settings: those in force, and what each means.")

_HEAD = """\
# Settings

A TOML file (`--config NAME|PATH`) overrides the defaults, and `--set section.key=value` overrides both; see also
`ttsd config show`. *Paper*: the name in table 12 of arXiv 2601.20802. *lasgroup/SDPO*: the key in the paper's code;
`rollout`, `model` and keys without a section stand there under `actor_rollout_ref`, with `optim`, `self_distillation`
and the latter under its `actor`. Where neither has a name, the setting is ours. The paper's `is_clip` has no
counterpart: each group is used for one update, so there is no ratio of new to old policy to cap.

`ttsd config reference` writes this page.
"""


def methods(as_json: JsonOption = False) -> None:
    """List the methods: what an attempt reads, and what the weights learn from it."""
    from ttsd.methods import METHODS

    rows = [{"method": name, "reads": one.row.reads, "learns": one.column.learns} for name, one in METHODS.items()]
    if as_json:
        print(json_text(rows))
        return
    from ttsd.reporting.live import print_table

    print_table([{**row, "learns": f"{'from ' * METHODS[row['method']].learns}{row['learns']}"} for row in rows])


@app.command()
def show(config: ConfigOption = None, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """Print the settings that a command with the same --config and --set would have, as a TOML file."""
    settings = settings_of(config, set_).model_dump()
    if as_json:
        print(json_text(settings))
        return
    from ttsd.config import Config
    from ttsd.config.setting import written

    defaults = Config().model_dump()
    print(f"method = {written(settings.pop('method'))}\n")
    for name, table in settings.items():
        print(f"[{name}]")
        for key, value in table.items():
            default = defaults[name][key]
            note = "" if value == default else f"  # default: {written(default)}"
            print(f"{key} = {written(value)}{note}")
        print()


@app.command()
def reference(as_json: JsonOption = False) -> None:
    """Print every setting with its default, its values, its meaning and its names elsewhere, as Markdown."""
    print(json_text(list(_settings())) if as_json else _markdown())


def _settings() -> Iterator[dict[str, Any]]:
    """Returns one entry a setting, in the order of the sections."""
    from ttsd.config import Config
    from ttsd.config.setting import section

    own = Config.model_fields["method"]
    names = {"paper": "", "code": ""}
    yield {"setting": "method", "default": own.default, "values": "text", "description": own.description, **names}
    for name in Config.model_fields:
        kind = section(Config, name)
        if kind is None:
            continue
        for key, field in kind.model_fields.items():
            elsewhere = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            yield {
                "setting": f"{name}.{key}",
                "default": field.default,
                "values": _values(field),
                "description": field.description or "",
                "paper": elsewhere.get("paper", ""),
                "code": elsewhere.get("code", ""),
            }


def _values(field: FieldInfo) -> str:
    """Returns what the setting may be, as in `integer, at least 1, or none`."""
    import annotated_types

    from ttsd.config.setting import choices, members

    kinds = {bool: "true, false", int: "integer", float: "number", str: "text", list[str]: "list", type(None): "none"}
    names = [kinds[member] for member in members(field.annotation) if member in kinds]
    bounds = []
    for bound in field.metadata:
        match bound:
            case annotated_types.Ge(least):
                bounds.append(f"at least {least}")
            case annotated_types.Gt(least):
                bounds.append(f"over {least}")
            case annotated_types.Le(most):
                bounds.append(f"at most {most}")
    nullable = [" or none"] if "none" in names else []
    kind = ", ".join([*choices(field), *(name for name in names if name != "none"), *bounds])
    return "".join([kind, *nullable])


def _markdown() -> str:
    from ttsd.config import Config
    from ttsd.config.setting import section, written

    lines = [_HEAD]
    table = ""
    for entry in _settings():
        name, dot, key = entry["setting"].partition(".")
        if not dot:
            lines += [f"`{name}` (default `{entry['default']}`) stands above all sections: {entry['description']}", ""]
            continue
        if name != table:
            table, kind = name, section(Config, name)
            about = (kind.__doc__ or "").strip() if kind else ""
            lines += ["", f"## {name}", "", about, ""] if table != "model" else [f"## {name}", "", about, ""]
            lines += ["| setting | default | values | meaning | paper | lasgroup/SDPO |", "|---|---|---|---|---|---|"]
        default = "none" if entry["default"] is None else written(entry["default"]).strip('"')
        code = f"`{entry['code']}`" if entry["code"] else ""
        cells = [f"`{key}`", f"`{default}`", entry["values"], entry["description"], entry["paper"], code]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
