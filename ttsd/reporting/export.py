"""Exports a run's adapter as a PEFT folder with a model card, for `peft`, `vllm serve --lora-modules` and sharing."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from problems.collection import SOURCES
from ttsd.config import recorded_config
from ttsd.errors import UserError
from ttsd.methods import METHODS
from ttsd.record.store import Row, Store
from ttsd.reporting.attempt import check_model
from ttsd.sampling.vllm_sampler.settings import LORA_RANKS
from ttsd.terminal import json_text, one_line, readable

SCHEMES = ("micro", *SOURCES)  # of questions whose names are no paths
CARD = """\
---
{origin}library_name: peft
pipeline_tag: text-generation
tags: [lora, sdpo, test-time-training]
---

# {question}

A LoRA adapter that `ttsd` trained at test time, on this one question, with {method} (seed {seed}).

| | |
|---|---|
| question | {question} |
| base model | {base} |
| method | {method} |
| gradient steps | {updates} in {steps} steps |
| attempts | {attempts} |
| discovery | {discovery} |

It has seen the visible cases of one question and is meant for that question; nothing is known about others.

## Use

    vllm serve {path} --enable-lora --max-lora-rank {rank} --lora-modules {name}=PATH_OF_THIS_FOLDER

    from peft import PeftModel
    model = PeftModel.from_pretrained(base_model, "PATH_OF_THIS_FOLDER")
{program}
## Configuration

{config}
## Environment

{environment}"""


def export(store: Store, run: int, folder: Path, model: str | None) -> Path:
    """Writes the newest adapter of `run` to the new folder `folder`. Loads the base model, which `model` names.

    UserError: the run has no adapter, its state is gone, `folder` exists, or only the database names its model.
    """
    from ttsd import backbone
    from ttsd.training.trainer import Trainer

    check_model(store, run, model)
    row, state = store.run(run), _state(store, run)
    if folder.exists():
        raise UserError(f"{folder} exists already; name a new folder")
    config = recorded_config(row["config"])
    base = backbone.resolve(config.model.path, config.model.revision)
    trainer = Trainer(base, config)
    trainer.load("run", state)
    trainer.export("run", folder)
    backbone.check_loads(folder, base)
    (folder / "README.md").write_text(card(store, row, folder.name), "utf-8")
    facts = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    shared = facts | {"base_model_name_or_path": _base(row)}
    (folder / "adapter_config.json").write_text(json_text(shared, indent=2), "utf-8")
    return folder


def card(store: Store, row: Row, name: str) -> str:
    """Writes the model card, in Markdown, for others: without this machine's paths.

    What a question or a program wrote is code in it, never Markdown.
    """
    answer, base = store.answer(row["run"]), _base(row)
    found = answer.discovery_attempt
    settings = {section: value for section, value in row["config"].items() if section != "store"}
    settings["model"] = settings["model"] | {"path": base}
    program = f"\n## The discovered program\n\n{_fenced(readable(answer.program), 'python')}" if answer.program else ""
    updates = sum((step["metrics"] or {}).get("updated", 0) > 0 for step in store.steps(row["run"]))
    return CARD.format(
        origin=f"base_model: {row['model']}\n" if _is_hub_name(row["model"]) else "",
        base=_code(base),
        path=one_line(shlex.quote(base)),
        question=_code(_shared(row["question"])),
        method=_code(row["method"]),
        seed=_code(row["seed"]),
        updates=updates,
        steps=answer.steps,
        attempts=answer.attempts,
        discovery=f"attempt {_code(found)}" if found is not None else "none",
        rank=next(rank for rank in (*LORA_RANKS, math.inf) if rank >= row["config"]["lora"]["rank"]),
        name=one_line(shlex.quote(name)),
        program=program,
        config=_fenced(json_text(_shared(settings), indent=1), "json"),
        environment=_fenced(json_text(_shared(row["environment"]), indent=1), "json"),
    )


def _is_hub_name(model: str) -> bool:
    """Tells whether a hub can know the base by this name: not the bundled model, a folder or a file."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model) is not None and not Path(model).exists()


def _state(store: Store, run: int) -> Path:
    states = [row["state"] for row in store.steps(run) if row["state"]]
    if not states:
        method = store.run(run)["method"]
        learning = ", ".join(name for name, one in METHODS.items() if one.learns)
        raise UserError(f"run {run} ({method}) has no adapter; export a run that has finished a step, of {learning}")
    state = store.state_folder(run, states[-1])
    if not state.is_dir():
        raise UserError(f"the learner's state of run {run} ({state}) is gone; set store.state_dir to where it is now")
    return state


def _base(row: Row) -> str:
    """Returns the base model's name for others: the hub's, or the last name of its folder or file."""
    return row["model"] if _is_hub_name(row["model"]) else str(_shared(f"/{row['model']}"))


def _shared(value: Any) -> Any:
    """Returns `value` with the last name alone of every path in it."""
    if isinstance(value, Mapping):
        return {name: _shared(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_shared(one) for one in value]
    if not isinstance(value, str) or "/" not in value or value.partition(":")[0] in SCHEMES:
        return value
    is_path = value[0] in "/~." or not re.search(r"\s", value)
    return Path(value).name if is_path else value


def _fenced(text: str, language: str) -> str:
    fence = "`" * max(3, _longest_ticks(text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _code(value: object) -> str:
    """Returns `value` as code within a line or a cell of a table; a number as it is."""
    text = one_line(value).replace("|", "\\|")
    ticks = "`" * (_longest_ticks(text) + 1)
    return text if isinstance(value, int) else f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
