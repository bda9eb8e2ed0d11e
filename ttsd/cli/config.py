"""`ttsd config`: the settings in force, and what every setting means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttsd.cli.options import INFRASTRUCTURE, ConfigOption, JsonOption, ModelOption, SetOption, warn_of_no_sandbox
from ttsd.terminal import json_text

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from ttsd.machine.memory import Memory

app = typer.Typer(no_args_is_help=True, help="Settings: those in force, and what each means.")

_HEAD = """\
# Settings

Later ones decide: the defaults, the file that TTSD_CONFIG names, `ttsd.toml` in the current folder (named on stderr
with what it sets), each `--config NAME|PATH` from left to right, `--model MODEL`, `--set section.key=value`. What
nobody has set of devices, bits and lengths is fitted to the model and the machine; `ttsd config show -m MODEL` prints
it all, and where each value comes from.

*Paper*: the name in table 12 of arXiv 2601.20802. *lasgroup/SDPO*: the key in the paper's code; `rollout`, `model` and
keys without a section stand there under `actor_rollout_ref`, with `optim`, `self_distillation` and the latter under its
`actor`. Where neither has a name, the setting is ours. The paper's `is_clip` has no
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

    shown = [{**row, "learns": f"{'from ' * METHODS[row['method']].learns}{row['learns']}"} for row in rows]
    print_table(shown, whole=("method", "reads", "learns"))


@app.command()
def show(
    model: ModelOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    gpu: Annotated[
        str | None, typer.Option(help="Fit them to another machine, as h100-80, 2xl4-24 or cpu-16.", metavar="MACHINE")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Count the memory of so many that share the engine.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Print the settings that a command with the same options would have, as a TOML file, and the memory they need.

    Each names where it comes from. Nothing is loaded: a model that is not here needs its config.json only. Exit status
    0 if the memory is there, 3 if not, 2 if no settings fit.
    """
    from ttsd.config import flat, layered
    from ttsd.machine.gpus import machine_named, this_machine
    from ttsd.running.fitting import fit_for, memory_for

    found = layered(config or [], set_ or [], model=model)
    warn_of_no_sandbox(found.config, ", ".join(config or []))
    machine = this_machine() if gpu is None else machine_named(gpu)
    fit = fit_for(found.config, machine)
    memory = memory_for(fit.config, machine, questions) if fit.memory else None
    settings = fit.config.model_dump()
    origins = {place: "fit" if place in fit.chosen else found.origins.get(place, "default") for place in flat(settings)}
    if as_json:
        rows = memory.rows() if memory else []
        fits = memory is not None and memory.fits
        print(json_text({"settings": settings, "from": origins, "fit": fit.line, "fits": fits, "memory": rows}))
    else:
        print("\n".join(_as_toml(fit.line, memory, settings, origins)))
    raise typer.Exit(INFRASTRUCTURE if memory and not memory.fits else 0)


def _as_toml(line: str, memory: Memory | None, settings: dict[str, Any], origins: Mapping[str, str]) -> Iterator[str]:
    """Yields the lines of a configuration file; what is not a setting is a comment."""
    from ttsd.config import Config
    from ttsd.config.setting import written

    yield f"# {line}"
    for row in memory.rows() if memory else []:
        yield f"#   {row['where']:<8} {row['what']:<24} {row['memory']:>10}  {row['note']}".rstrip()
    defaults = Config().model_dump()
    yield f"\nmethod = {written(settings.pop('method'))}{_origin(origins['method'])}"
    for name, table in settings.items():
        yield f"\n[{name}]"
        for key, value in table.items():
            default = defaults[name][key]
            note = "" if value == default else f"; default: {written(default)}"
            yield f"{key} = {written(value)}{_origin(origins.get(f'{name}.{key}', 'default'), note)}"


def _origin(origin: str, note: str = "") -> str:
    return "" if origin == "default" else f"  # {origin}{note}"


@app.command()
def reference(as_json: JsonOption = False) -> None:
    """Print every setting with its default, its values, its meaning and its names elsewhere, as Markdown."""
    if not as_json:
        print(_markdown())
        return
    settings = [(f"{name}.{key}".strip("."), field) for name, _, fields in _sections() for key, field in fields.items()]
    print(json_text([{"setting": place, **_facts(field)} for place, field in settings]))


def _sections() -> Iterator[tuple[str, str, Mapping[str, FieldInfo]]]:
    """Yields each section's name, description and settings; the settings above all sections have the name ""."""
    from ttsd.config import Config
    from ttsd.config.setting import section

    kinds = {name: section(Config, name) for name in Config.model_fields}
    yield "", "", {name: field for name, field in Config.model_fields.items() if kinds[name] is None}
    for name, kind in kinds.items():
        if kind is not None:
            yield name, kind.__doc__ or "", kind.model_fields


def _facts(field: FieldInfo) -> dict[str, Any]:
    elsewhere = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    facts = {"default": field.default, "values": _values(field), "description": field.description or ""}
    return facts | {name: elsewhere.get(name, "") for name in ("paper", "code")}


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
    from ttsd.config.setting import written

    lines = [_HEAD]
    for name, about, fields in _sections():
        if not name:
            lines += [
                f"`{key}` (default `{one.default}`) stands above all sections: {one.description}"
                for key, one in fields.items()
            ]
            continue
        lines += ["", f"## {name}", "", about.strip(), ""]
        lines += ["| setting | default | values | meaning | paper | lasgroup/SDPO |", "|---|---|---|---|---|---|"]
        for key, field in fields.items():
            facts = _facts(field)
            default = "none" if facts["default"] is None else written(facts["default"]).strip('"')
            code = f"`{facts['code']}`" if facts["code"] else ""
            cells = [f"`{key}`", f"`{default}`", facts["values"], facts["description"], facts["paper"], code]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
