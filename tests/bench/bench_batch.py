"""Many runs that share an engine, against the same runs one after the other on that engine.

    python -m tests.bench.bench_batch [--questions 8] [--seeds 2] [--attempts 64] [--at-once N] [--blocks 2]

Both ways do the same work: every run spends its whole budget. The questions are divided into blocks, in which the two
ways take turns at being first, so that a busy machine is unfair to both alike. Per way: wall time, how busy sampler,
judge and trainer were, and how many cores all processes took together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from problems import micro
from ttsd.config import Config, load_config
from ttsd.methods import methods_named
from ttsd.record.run import Run
from ttsd.record.store import Store
from ttsd.reporting.live import PlainOverview
from ttsd.running import batch
from ttsd.running.engine import load_tokenizer
from ttsd.running.run import Session, open_session
from ttsd.running.shared_time import Shared, Stopwatch, Usage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--subset", default="micro-very-hard")
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--methods", default="sdpo,best-of-k,multi-turn")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--attempts", type=int, default=64)
    parser.add_argument("--at-once", type=int)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(bench(options, Path(folder)))
    show(found, options)


async def bench(options: argparse.Namespace, folder: Path) -> dict[str, list[Usage]]:
    config = settings(options)
    questions = micro.subset(options.subset)[: options.questions]
    size = -(-len(questions) // options.blocks)
    blocks = [questions[at : at + size] for at in range(0, len(questions), size)]
    found: dict[str, list[Usage]] = defaultdict(list)
    with Store(folder / "unused.sqlite") as store:
        runs = runs_of(blocks[0], options, config)
        room = batch.room_for(runs, len(runs), options.at_once, config)
        print(f"{len(runs)} runs a block; {room}", flush=True)
        async with open_session(config, store, load_tokenizer(config), learns=True, runs_at_once=room.runs) as session:
            await work(session, blocks[0][:1], options, 1, folder / "warm-up.sqlite", seeds=1)
            for number, block in enumerate(blocks):
                ways = {"in turn": 1, "together": room.runs}
                for way in reversed(ways) if number % 2 else ways:
                    usage = await work(session, block, options, ways[way], folder / f"{way}-{number}.sqlite")
                    found[way].append(usage)
                    print(f"block {number + 1}, {way}: {usage}", flush=True)
    return found


def settings(options: argparse.Namespace) -> Config:
    same = ["budget.continue_after_discovery=true", "extensions.history_length=4"]
    return load_config("micro", [*same, f"budget.attempts={options.attempts}", *options.set])


def runs_of(
    questions: Sequence[str], options: argparse.Namespace, config: Config, seeds: int | None = None
) -> list[Run]:
    return batch.planned(questions, methods_named(options.methods), seeds or options.seeds, config)


async def work(
    session: Session,
    questions: Sequence[str],
    options: argparse.Namespace,
    at_once: int,
    path: Path,
    seeds: int | None = None,
) -> Usage:
    """Brings all runs of `questions` to their end, `at_once` at a time, in a database of their own."""
    with Store(path) as store:
        session.engine.sampling, session.engine.training = Shared("sample"), Shared("train", places=1)
        own = replace(
            session, database=store, judging=Shared("judge", len(session.sandbox.zygotes)), stopwatch=Stopwatch()
        )
        runs = runs_of(questions, options, settings(options), seeds)
        results = await batch.all_of(own, [(run, None) for run in runs], at_once, Mute())
        failed = [result for result in results if isinstance(result, batch.Failure)]
        assert not failed, failed
        return own.usage()


class Mute(PlainOverview):
    def say(self, text: str) -> None: ...


def show(found: dict[str, list[Usage]], options: argparse.Namespace) -> None:
    walls = {way: sum(usage.seconds for usage in usages) for way, usages in found.items()}
    for way, usages in found.items():
        idle = {name: 1 - sum(u.busy[name] * u.seconds for u in usages) / walls[way] for name in usages[0].busy}
        cores = sum(usage.cpu_seconds for usage in usages) / walls[way]
        shares = ", ".join(f"{name} idle {share:.0%}" for name, share in idle.items())
        print(f"{way}: {walls[way]:.0f} s, {shares}, {cores:.2f} cores")
    print(f"in turn / together: {walls['in turn'] / walls['together']:.2f}")
    if options.json:
        print(json.dumps({way: [asdict(usage) for usage in usages] for way, usages in found.items()}))


if __name__ == "__main__":
    main()
