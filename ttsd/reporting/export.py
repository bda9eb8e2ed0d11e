"""Exports a run's adapter as a PEFT folder with a model card, for `peft`, `vllm serve --lora-modules` and sharing."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from ttsd.config import recorded_config
from ttsd.errors import UserError
from ttsd.methods import METHODS
from ttsd.record.store import Row, Store
from ttsd.sampling.vllm_sampler.settings import LORA_RANKS

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
| question | `{question}` |
| base model | `{base}` |
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

```json
{config}
```

## Environment

```json
{environment}
```
"""


def export(store: Store, run: int, folder: Path) -> Path:
    """Writes the newest adapter of `run` to the new folder `folder`. Loads the base model.

    UserError: the run has no adapter, its state is gone, or `folder` exists.
    """
    from ttsd import backbone
    from ttsd.training.trainer import Trainer

    row, state = store.run(run), _state(store, run)
    if folder.exists():
        raise UserError(f"{folder} exists already; name a new folder")
    config = recorded_config(row["config"])
    base = backbone.resolve(config.model.path)
    trainer = Trainer(base, config)
    trainer.load("run", state)
    trainer.export("run", folder)
    backbone.check_loads(folder, base)
    (folder / "README.md").write_text(card(store, row, folder.name, base), "utf-8")
    return folder


def card(store: Store, row: Row, name: str, path: str) -> str:
    """Writes the model card, in Markdown. `path`: what loads the base model here."""
    answer = store.answer(row["run"])
    found = answer.discovery_attempt
    updates = sum((step["metrics"] or {}).get("updated", 0) > 0 for step in store.steps(row["run"]))
    return CARD.format(
        origin=f"base_model: {row['model']}\n" if _is_hub_name(row["model"]) else "",
        base=row["model"],
        path=path,
        question=row["question"],
        method=row["method"],
        seed=row["seed"],
        updates=updates,
        steps=answer.steps,
        attempts=answer.attempts,
        discovery=f"attempt {found}" if found is not None else "none",
        rank=next(rank for rank in (*LORA_RANKS, math.inf) if rank >= row["config"]["lora"]["rank"]),
        name=name,
        program=f"\n## The discovered program\n\n{_fenced(answer.program)}" if answer.program else "",
        config=json.dumps(row["config"], indent=1, sort_keys=True),
        environment=json.dumps(row["environment"], indent=1, sort_keys=True),
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


def _fenced(program: str) -> str:
    fence = "```" if "```" not in program else "~~~~"
    return f"{fence}python\n{program.rstrip()}\n{fence}\n"
