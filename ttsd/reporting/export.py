"""Exports what a run learned with a model card: its adapter as a PEFT folder, or base and adapter as one model.

What was written is loaded again as its user loads it, and must give the trainer's log-probabilities.
"""

from __future__ import annotations

import gc
import json
import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from problems.collection import SOURCES
from ttsd.config import Config, recorded_config
from ttsd.errors import InfrastructureError, UserError
from ttsd.methods import METHODS
from ttsd.record.store import Row, Store
from ttsd.reporting.attempt import check_model
from ttsd.sampling.vllm_sampler.launch import LORA_RANKS
from ttsd.terminal import json_text, one_line, readable

SCHEMES = ("micro", *SOURCES)  # of questions whose names are no paths
HUB_NAME = r"[\w-][\w.-]*/[\w-][\w.-]*"
Tokens = tuple[int, ...]
COMPARED_TOKENS = 64  # of a prompt, and of its completion
MAX_DIFFERENCE = {"float32": 1e-3}  # nats, mean over tokens
MAX_DIFFERENCE_ROUNDED = 0.1  # the same in 16 bits, whose rounding alone makes half of it in small models


def export(
    store: Store,
    run: int,
    folder: Path,
    model: str | None = None,
    *,
    step: int | None = None,
    best: bool = False,
    merge: bool = False,
) -> Path:
    """Writes what `run` had learned after `step` to the new folder `folder`. Loads the base model, twice in turn.

    `model`: what the user calls the base model; only the bundled one may be left out. `best`: after the step with the
    best state; without both, after the last one. `merge`: a whole model.
    UserError: the run has no adapter, its state is gone, `folder` exists, or only the database names its model.
    InfrastructureError: what was written gives other log-probabilities than the trainer.
    """
    from ttsd import backbone

    check_model(store, run, model)
    row = store.run(run)
    number, state = _state(store, run, step, best)
    if folder.exists():
        raise UserError(f"{folder} exists already; name a new folder")
    config = recorded_config(row["config"])
    if merge and config.model.base_bits != "none":
        raise UserError(f"run {run} trained on a base of four bits, which can't be merged; export without --merge")
    base = backbone.resolve(config.model.path, config.model.revision)
    first = store.attempts(run, last=1)[0]
    tokens = (*first.prompt.token_ids[-COMPARED_TOKENS:], *first.completion.token_ids[:COMPARED_TOKENS])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".export-") as work:
        adapter, merged = Path(work, "adapter"), Path(work, "merged")
        trained, dtype = _written(config, base, state, adapter, tokens)
        backbone.check_loads(adapter, base)
        _check(config, base, adapter, tokens, trained, dtype, merged if merge else None)
        made = merged if merge else adapter
        text = card(store, row, folder.name, step=number, merged=merge, loads=backbone.model_class(base))
        (made / "README.md").write_text(text, "utf-8")
        if not merge:
            facts = json.loads((made / "adapter_config.json").read_text("utf-8"))
            shared = facts | {"base_model_name_or_path": _base(row)}
            (made / "adapter_config.json").write_text(json_text(shared, indent=2), "utf-8")
        made.rename(folder)
    return folder


def _written(config: Config, base: str, state: Path, adapter: Path, tokens: Tokens) -> tuple[list[float], str]:
    """Writes the adapter of `state`; returns the trainer's log-probabilities of `tokens`, and its precision."""
    from ttsd.training.trainer import Trainer

    trainer = Trainer(base, config)
    trainer.load("run", state)
    trainer.export("run", adapter)
    return trainer.logprobs("run", tokens[:1], tokens[1:]), str(trainer.base.dtype).removeprefix("torch.")


def _check(
    config: Config, base: str, adapter: Path, tokens: Tokens, trained: list[float], dtype: str, merged: Path | None
) -> None:
    """Checks the adapter; or writes the folder `merged` and checks that. InfrastructureError: it computes otherwise."""
    from ttsd import backbone

    gc.collect()  # the trainer's base makes room
    settings, temperature = config.model, config.sampling.temperature
    options: dict[str, Any] = {
        "dtype": dtype, "device": settings.trainer_on, "max_model_len": settings.max_model_len,
    }  # fmt: skip
    model, what = backbone.plain_model(base, adapter, quantize=settings.base_bits, **options), "the adapter in PEFT"
    if merged is not None:
        backbone.write_merged(model, base, merged)
        del model
        model, what = backbone.plain_model(str(merged), **options), "the merged model"
    _compare(what, trained, backbone.plain_logprobs(model, tokens, temperature), dtype)


def _compare(what: str, trained: list[float], found: list[float], dtype: str) -> None:
    hint = ", and try --merge" if "PEFT" in what else ""
    difference = sum(abs(a - b) for a, b in zip(trained, found, strict=True)) / len(trained)
    if not difference <= MAX_DIFFERENCE.get(dtype, MAX_DIFFERENCE_ROUNDED):
        raise InfrastructureError(
            f"{what} differs from the trainer by {difference:.3g} nats per token, so nothing was exported; report this "
            f"with the model's name{hint}"
        )


def check_push(name: str) -> None:
    """Checks a repository's name. UserError: it is not ORG/NAME."""
    if not re.fullmatch(HUB_NAME, name):
        raise UserError(f"{name!r} is no repository of a hub; give --push ORG/NAME")


def push(folder: Path, name: str) -> str:
    """Uploads an exported folder to the repository `name`, which is private where it is new; returns its address.

    Key and address of the hub are the environment's. InfrastructureError: the hub can't be reached or refuses.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        address = str(hub.create_repo(name, private=True, exist_ok=True))
        hub.upload_folder(repo_id=name, folder_path=folder, commit_message="Export of ttsd")
    except Exception as error:  # the client lets its HTTP library's through, which changes with its version
        reason = one_line(str(error).strip().partition("\n")[0])
        raise InfrastructureError(
            f"can't push to {name} ({reason}); {folder} stays: check the network and `hf auth whoami`, or upload it "
            "later"
        ) from error
    return address


def card(
    store: Store, row: Row, name: str, *, step: int, merged: bool = False, loads: str = "AutoModelForCausalLM"
) -> str:
    """Writes the model card, in Markdown, for others: without this machine's paths.

    `loads`: the class of transformers that loads the base. What a question or a program wrote is code, never Markdown.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    base, config = _base(row), row["config"]
    settings = {section: value for section, value in config.items() if section != "store"}
    settings["model"] = settings["model"] | {"path": base}
    loader = PackageLoader("ttsd.reporting.report")
    jinja = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    shell, quoted = lambda text: one_line(shlex.quote(text)), lambda text: repr(one_line(text))
    jinja.filters |= {"code": _code, "fenced": _fenced, "shell": shell, "quoted": quoted}
    return jinja.get_template("card.md.jinja").render(
        hub=_is_hub_name(row["model"]),
        model=row["model"],
        base=base,
        revision=config["model"]["revision"],
        question=_code(_shared(row["question"])),
        method=_code(row["method"]),
        seed=_code(row["seed"]),
        step=step,
        merged=merged,
        loads=loads,
        name=name,
        rank=next(rank for rank in (*LORA_RANKS, math.inf) if rank >= config["lora"]["rank"]),
        answer=store.answer(row["run"]),
        updates=sum((step["metrics"] or {}).get("updated", 0) > 0 for step in store.steps(row["run"])),
        settings=json_text(_shared(settings), indent=1),
        environment=json_text(_shared(row["environment"]), indent=1),
    )


def _is_hub_name(model: str) -> bool:
    """Tells whether a hub can know the base by this name: not the bundled model, a folder or a file."""
    return re.fullmatch(HUB_NAME, model) is not None and not Path(model).exists()


def _state(store: Store, run: int, step: int | None, best: bool) -> tuple[int, Path]:
    """Returns the wanted step and the folder of the state after it. UserError: it is not there."""
    rows = {row["step"]: row for row in store.steps(run) if row["state"]}
    if not rows:
        method = store.run(run)["method"]
        learning = ", ".join(name for name, one in METHODS.items() if one.learns)
        raise UserError(f"run {run} ({method}) has no adapter; export a run that has finished a step, of {learning}")
    last = max(rows)
    wanted = int(rows[last]["metrics"].get("best_state", 0)) if best else last if step is None else step
    if best and wanted == 0:
        raise UserError(f"run {run} was best before its first step, with its base model alone; leave out --best")
    there = {number: store.state_folder(run, row["state"]) for number, row in rows.items()}
    kept = [str(number) for number, state in there.items() if state.is_dir()]
    if not kept:
        raise UserError(f"the learner's state of run {run} ({there[last]}) is gone; set store.state_dir to its place")
    if str(wanted) not in kept:
        raise UserError(f"run {run} has no state of step {wanted}; choose from the kept ones: {', '.join(kept)}")
    return wanted, there[wanted]


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
    return f"{fence}{language}\n{readable(text).rstrip()}\n{fence}"


def _code(value: object) -> str:
    """Returns `value` as code within a line or a cell of a table; a number as it is."""
    text = one_line(value).replace("|", "\\|")
    ticks = "`" * (_longest_ticks(text) + 1)
    return text if isinstance(value, int) else f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
