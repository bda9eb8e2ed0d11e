"""Who is waited for, and since when."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future

import pytest

from ttsd.running.bring_up import bring_up
from ttsd.running.shared_time import Shared, Spending
from ttsd.running.watchdog import Watched, silent_things, speaker
from ttsd.sampling.background import in_background


async def test_only_what_is_used_and_does_not_move_is_named_and_more_and_more_rarely() -> None:
    now, tokens = 1_000_000.0, [0]
    sampler, trainer, judge = Shared("sample"), Shared("train", places=1), Shared("judge", places=1)
    watched = [Watched("sampler", sampler, lambda: tokens[0]), Watched("trainer", trainer), Watched("judge", judge)]
    release = asyncio.Event()

    async def hold(shared: Shared) -> None:
        async with shared.use(Spending()):
            await release.wait()

    holding = [asyncio.create_task(hold(shared)) for shared in (sampler, trainer, trainer)]
    await asyncio.sleep(0)
    said = []
    for _ in range(12):
        said.append(silent_things(watched, now, 300))
        now += 100
        tokens[0] += 1  # the sampler decodes; the trainer hangs; nobody is at the judge
    assert [bool(lines) for lines in said] == [False, False, False, True, False, False, True, *[False] * 5]
    (line,) = said[3]
    assert line.startswith("no progress for 300 s: 1 waiting for the trainer since ")
    assert [line.partition(":")[0] for line in silent_things(watched, now, 300)] == ["no progress for 1200 s"]
    now += 300  # and the sampler stands still too
    assert [line.partition(" since")[0] for line in silent_things(watched, now, 300)] == [
        "no progress for 300 s: 1 waiting for the sampler",
    ]
    release.set()
    await asyncio.gather(*holding)
    now += 10_000
    assert silent_things(watched, now, 300) == []


@pytest.mark.parametrize(("in_turn", "named"), [(True, ["sampler"]), (False, ["sampler", "trainer"])])
async def test_who_is_long_in_loading_is_named(in_turn: bool, named: list[str]) -> None:
    said = list[str]()
    speaker.set(said.append)
    sampler, trainer = asyncio.Event(), threading.Event()

    def load() -> str:
        assert trainer.wait(60)
        return "trainer"

    future = in_background(load)
    starting = bring_up(lambda: _when(sampler), lambda: future, in_turn=in_turn, quiet_seconds=0.2)
    task = asyncio.create_task(starting)
    until = time.monotonic() + 30
    while len(said) < len(named) and time.monotonic() < until:
        await asyncio.sleep(0.02)
    assert sorted({line.partition("for the ")[2].split()[0] for line in said}) == named
    assert "1 waiting for the sampler to start since " in "".join(said)
    sampler.set()
    trainer.set()
    assert await task == "trainer"


async def _when(event: asyncio.Event) -> None:
    await event.wait()


async def test_a_sampler_that_asks_for_the_trainers_base_gets_the_one_that_is_loading() -> None:
    loads = list[str]()

    def load() -> str:
        loads.append("base")
        time.sleep(0.1)
        return "base"

    first = threading.Event()

    def begin() -> Future[str]:
        """As slow between looking and keeping as `functools.cache` may be."""
        if not kept:
            first.wait(0.1)
            kept.append(in_background(load))
        return kept[0]

    kept = list[Future[str]]()

    async def start() -> None:
        await asyncio.to_thread(lambda: begin().result())

    assert await bring_up(start, begin, in_turn=False) == "base"
    assert loads == ["base"]
