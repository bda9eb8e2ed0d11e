"""What works on this machine: software, devices, sandbox, disk, and whether a configuration's model fits it.

Nothing is loaded and nothing is fetched for that: a model's sizes come from its own config.json where the model is on
this machine, else from a table. On request the engine is started and an adapter swapped.
"""

from __future__ import annotations

import asyncio
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sandbox import Row, probe
from ttsd.config import Config
from ttsd.errors import TtsdError, UserError
from ttsd.machine.gpus import GIB, hardware_for
from ttsd.machine.shape import Shape, known_shape, model_folder
from ttsd.sampling.kinds import sampler_named

LIBRARIES = ("torch", "transformers", "peft", "sqlite-utils", "datasets")
LEAST_FREE_GIB = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing: False where something that ttsd needs is missing or broken, None where it was not checked."""

    what: str
    works: bool | None
    detail: str

    @property
    def answer(self) -> str:
        """Returns `works` in words."""
        return "not checked" if self.works is None else "yes" if self.works else "NO"


def examine(
    config: Config, facts: tuple[Mapping[str, Any], bool] | None, *, every_promise: bool = False
) -> list[Finding]:
    """Examines everything that can be seen without loading a model.

    `facts`: what `model_facts` returns of the model; None where it knows nothing. `every_promise`: a finding for each
    promise of the sandbox instead of one for them all.
    """
    common, sandbox = _software(config), _sandbox(config, every_promise)
    if not config.model.local:
        return [*common, *sandbox, _endpoint(config), *_disk(config)]
    return [*common, _device(config), *sandbox, *(examine_model(config, *facts) if facts else _disk(config))]


def conclusion(findings: Sequence[Finding]) -> str:
    """Returns whether a run can start here, and why not or what was not checked, in one line."""
    if broken := {one.detail: one.what for one in reversed(findings) if one.works is False}:
        return f"not ready: {'; '.join(f'{what}: {detail}' for detail, what in reversed(broken.items()))}"
    unchecked = ", ".join(one.what for one in findings if one.works is None)
    return f"ready; not checked: {unchecked}" if unchecked else "ready"


def examine_model(config: Config, sizes: Mapping[str, Any], here: bool) -> list[Finding]:
    """Examines whether the configured model can be trained and has room. `here`: its weights are on this machine."""
    from ttsd.backbone import check_weight_files

    try:
        if here:
            check_weight_files(model_folder(config.model.path, config.model.revision) or config.model.path)
        place = "is on this machine" if here else "is not on this machine: the first run fetches it from the hub"
        return [
            Finding("model", here or None, f"{config.model.path} {place}"),
            _template(config),
            _context(config, sizes),
            _memory(config, sizes),
            *_disk(config, sizes, here),
        ]
    except UserError as error:
        return [Finding("model", False, str(error)), *_disk(config)]


def _endpoint(config: Config) -> Finding:
    """Asks the endpoint which models it serves."""
    try:
        from ttsd.sampling.endpoint import served

        names = asyncio.run(served(config))
    except TtsdError as error:
        return Finding("endpoint", False, str(error))
    url, wanted = config.model.path, config.model.name
    if wanted in names:
        return Finding("endpoint", True, f"{config.model.label} serves {', '.join(names[:8])}")
    if wanted is not None and not names:  # some servers have no list; at a wrong URL there is none either
        return Finding("endpoint", None, f"{url} lists no models, so it may be a wrong URL: most end in /v1")
    served_there = ", ".join(names[:8]) or "nothing that it lists"
    return Finding("endpoint", False, f"model.name={wanted or 'none'}, but {url} serves {served_there}; correct it")


def _template(config: Config) -> Finding:
    from ttsd.backbone import Tokenizer

    folder = model_folder(config.model.path, config.model.revision)
    if folder is None:
        return Finding("chat template", None, "can be seen once the model is on this machine")
    try:
        tokenizer = Tokenizer.load(folder, **config.model.template_settings)
        tokens = len(tokenizer.chat("?"))
    except UserError as error:
        return Finding("chat template", False, str(error))
    thinking = "on" if config.model.enable_thinking else "off"
    detail = f"{tokens} tokens around a user turn, thinking {thinking}"
    return Finding("chat template", True, "; ".join([detail, *tokenizer.notes]))


def _context(config: Config, sizes: Mapping[str, Any]) -> Finding:
    """Checks that the longest sequences fit the positions that the model was trained on."""
    from ttsd.backbone import own_length
    from ttsd.machine.memory import longest_lengths

    completion = config.sampling.max_tokens
    longest = longest_lengths(config)
    needed = max(longest.prompt, longest.teacher_prompt) + completion
    has = min(own_length(sizes), config.model.max_model_len or needed)
    if needed > has:
        detail = f"prompts and completions may have {needed} tokens, more than {has}; lower sampling.max_tokens"
        return Finding("context length", False, f"{detail} or reprompt.max_reprompt_len")
    return Finding("context length", True, f"{needed} tokens at most, of {has}")


def _memory(config: Config, sizes: Mapping[str, Any]) -> Finding:
    """Compares what one question needs with what this machine has."""
    from ttsd.machine.memory import memory_of

    try:
        hardware = hardware_for(config.model)
    except UserError as error:
        return Finding("memory", False, str(error))
    try:
        shape = Shape.read(sizes)
    except UserError as error:
        return Finding("memory", None, str(error))
    memory = memory_of(config, shape, hardware, questions=1)
    return Finding("memory", memory.fits, memory.in_words(hardware))


def _software(config: Config) -> list[Finding]:
    rows = [Finding("python", True, platform.python_version())]
    rows += [Finding(name, bool(version := installed(name)), version or "missing") for name in LIBRARIES]
    if config.model.base_bits == "nf4":
        found = installed("bitsandbytes")
        rows.append(Finding("bitsandbytes", bool(found), found or 'missing: pip install "ttsd[nf4]"'))
    return [*rows, _sampler(config.model.sampler)]


def _sampler(name: str) -> Finding:
    packages = sampler_named(name).packages
    found = [f"{package} {version}" for package in packages if (version := installed(package))]
    if found and find_spec(packages[0]) is not None:
        return Finding("sampler", True, found[0])
    extra, other = ("gpu", ", or sample with --set model.sampler=transformers") if name == "vllm" else (name, "")
    return Finding("sampler", False, f'{name} is missing: pip install "ttsd[{extra}]"{other}')


def installed(name: str) -> str:
    """Returns the version of an installed package; empty: it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _device(config: Config) -> Finding:
    import torch

    from ttsd.backbone import cpu_computes_bfloat16, cpu_threads, device_named, resolved_dtype

    model = config.model
    try:
        places = [device_named(name) for name in (*model.sampler_on, model.trainer_on)]
    except UserError as error:
        return Finding("device", False, str(error))
    if places[0].type == "cpu":
        threads = cpu_threads(model.threads, alone=True)
        able = "computes" if cpu_computes_bfloat16() else "has no instructions for"
        used = resolved_dtype(model.dtype, "cpu")
        return Finding("device", True, f"cpu, {threads} threads, {able} bfloat16; {model.path} runs in {used}")
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    found = ", ".join(f"{gpu.name} {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus)
    on = f"; sampler on {', '.join(model.sampler_on)}, trainer on {model.trainer_on}, each with a whole GPU"
    return Finding("device", True, found + on * model.apart)


def _sandbox(config: Config, every_promise: bool) -> list[Finding]:
    """Tries to break out of the sandbox. Its first row names what confines programs here, or why nothing does."""
    (tier, *promises) = probe(config.judge.python)
    if every_promise or not tier.held:
        return [Finding(f"sandbox: {row.name}", *_kept(row)) for row in (tier, *promises)]
    works = all(row.held or not row.essential for row in promises)
    broken = "".join(f"; not {row.name}: {_kept(row)[1]}" for row in promises if not row.held)
    held = sum(row.held for row in promises)
    return [Finding("sandbox", works, f"{tier.detail}; {held} of {len(promises)} promises hold{broken}")]


def _kept(row: Row) -> tuple[bool, str]:
    detail = row.detail.partition("\n")[0]
    return row.held or not row.essential, detail if row.held or row.essential else f"no, and not needed: {detail}"


def _disk(config: Config, sizes: Mapping[str, Any] | None = None, here: bool = True) -> list[Finding]:
    """Examines the room for the database and three states of a run, for adapters, and for a download."""
    from ttsd.machine.memory import adapters_bytes, scratch_parent, state_bytes

    shape = known_shape(sizes) if sizes else None
    states = 3 * state_bytes(config, shape) if shape else 0.0
    adapters = adapters_bytes(config, sizes, 1) if sizes else 0.0
    rows = [
        _free("store", Path(config.store.path).absolute().parent, LEAST_FREE_GIB + states / GIB),
        _free("adapters", scratch_parent(adapters), adapters / GIB),
    ]
    if shape and not here:
        rows.append(_free("the download", _hub_cache(), 2 * (shape.linear + shape.embedding) / GIB))
    return [row for row in rows if row is not None]


def _hub_cache() -> Path:
    """Returns the nearest folder that exists on the way to the hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    place = Path(HF_HUB_CACHE)
    return next(folder for folder in (place, *place.parents) if folder.is_dir())


def _free(what: str, place: Path, least_gib: float) -> Finding | None:
    if not place.is_dir():
        return None
    free = shutil.disk_usage(place).free / GIB
    enough = (
        "" if free >= least_gib else f", of the {least_gib:.1f} GiB that are needed; make room or choose another place"
    )
    return Finding(f"disk for {what}", not enough, f"{free:.1f} GiB free in {place}{enough}")
