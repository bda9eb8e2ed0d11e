"""A plan as rows to show: `ttsd doctor --plan CARD`, or `--plan FILE.json` with measurements of a card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttsd.config import Config
from ttsd.machine.cards import GIB, Card, card_named
from ttsd.machine.measured import Measured, Rate, read
from ttsd.machine.step_plan import Plan, plan
from ttsd.machine.step_time import IN_BACKGROUND

SHARED = (1, 8, 32)  # questions on one engine that a plan compares

Rows = list[dict[str, str]]


def plan_table(
    config: Config, sizes: Mapping[str, Any], on: str, questions: int, tokens: int | None
) -> tuple[Rows, Rows, bool]:
    """Memory and seconds of a step, what sharing the engine would gain, and whether `questions` questions fit.

    `on`: a card's name or a file of measurements. `tokens`: of a completion on average; None: all at their limits.
    """
    card, measured = _card(on)
    if measured is None and card.is_cpu:
        config = _without_this_processor(config)
    counts = sorted({*SHARED, questions})
    plans = {
        count: plan(config, sizes, card, questions=count, completion_tokens=tokens, measured=measured)
        for count in counts
    }
    own = plans[questions]
    return [*_memory_rows(own), *_time_rows(own)], [_shared_row(one, plans[1]) for one in plans.values()], own.fits


def _card(on: str) -> tuple[Card, Measured | None]:
    if not on.endswith(".json"):
        return card_named(on), None
    found = read(Path(on))
    return Card(found.card_gib, 1.0, 1.0, is_cpu=found.is_cpu), found


def _without_this_processor(config: Config) -> Config:
    """`dtype = "auto"` asks the processor at hand; a laptop of the table has AVX2 only, and so float32."""
    model = config.model
    dtype = "float32" if model.dtype == "auto" else model.dtype
    return config.model_copy(update={"model": model.model_copy(update={"dtype": dtype})})


def _row(where: str, what: str, amount: str, note: str) -> dict[str, str]:
    return {"where": where, "what": what, "amount": amount, "note": note}


def _memory_rows(made: Plan) -> Rows:
    memory, own = made.memory, " of its own card" if made.apart else ""
    return [_row(part.where, part.what, f"{part.bytes / GIB:.2f} GiB", part.note) for part in memory.parts] + [
        _row(process, "all", f"{memory.needs[process] / GIB:.2f} GiB", f"of {limit / GIB:.2f} GiB{own}")
        for process, limit in memory.limits.items()
    ]


def _time_rows(made: Plan) -> Rows:
    return [_row(part.where, part.what, f"{part.seconds} s", part.note) for part in made.time]


def _shared_row(one: Plan, alone: Plan) -> dict[str, str]:
    row = {
        "questions": str(one.questions),
        "memory": f"{one.gib:.1f} GiB{'' if one.fits else ', too much'}",
        "completions at once": str(one.at_once),
        "tokens/s": f"{one.tokens_per_second.low:.0f} to {one.tokens_per_second.high:.0f}",
        "decode s": str(one.decode_seconds),
        "learn s": str(one.learn_seconds),
        "other s": str(one.other_seconds),
        "wall s, a step of all": str(one.wall_seconds),
        "gain": f"{one.gain(alone):.2f}",
    }
    return row if one.fits else {name: value if name in ("questions", "memory") else "-" for name, value in row.items()}


def measured_table(found: Measured) -> Rows:
    """What was measured, and beside the memory what the plan says."""
    rows = [
        _row("machine", "load", f"{found.load_seconds:.1f} s", f"{found.model} on {found.device}"),
        _row("sampler", "keys and values", f"{found.kv_cache_tokens} tokens", ""),
    ]
    rows += [
        _row("sampler", "decode", f"{rate.tokens_per_second:.0f} tokens/s", f"{rate.at_once} at once" + _with(rate))
        for rate in found.rates
    ]
    rows += [_row("trainer", "learn", f"{one.seconds:.1f} s", f"{one.tokens} tokens") for one in found.learning]
    moved = (("trainer", "export", found.export_seconds), ("sampler", "swap", found.swap_seconds))
    rows += [_row(where, what, f"{seconds:.2f} s", "") for where, what, seconds in moved]
    rows.append(_row("trainer", "copy state", f"{found.copy_seconds:.2f} s", ""))
    rows.append(_row("store", "save", f"{found.save_seconds:.2f} s", IN_BACKGROUND))
    return rows + [
        _row(process, "memory", f"{gib:.2f} GiB", f"planned: {found.planned_gib[process]:.2f} GiB")
        for process, gib in found.peak_gib.items()
    ]


def _with(rate: Rate) -> str:
    return ", with an adapter" if rate.with_adapter else ""
