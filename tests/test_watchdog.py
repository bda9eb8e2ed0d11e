"""Who is waited for, and since when."""

from __future__ import annotations

import asyncio

from ttsd.running.shared_time import Shared, Spending
from ttsd.running.watchdog import Watchdog, Watched


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_only_what_is_used_and_does_not_move_is_named_and_more_and_more_rarely() -> None:
    clock, tokens = Clock(), [0]
    sampler, trainer, judge = Shared("sample"), Shared("train", places=1), Shared("judge", places=1)
    watched = [Watched("sampler", sampler, lambda: tokens[0]), Watched("trainer", trainer), Watched("judge", judge)]
    watchdog = Watchdog(watched, 300, clock)
    release = asyncio.Event()

    async def hold(shared: Shared) -> None:
        async with shared.use(Spending()):
            await release.wait()

    holding = [asyncio.create_task(hold(shared)) for shared in (sampler, trainer, trainer)]
    await asyncio.sleep(0)
    said = []
    for _ in range(12):
        said.append(watchdog.look())
        clock.now += 100
        tokens[0] += 1  # the sampler decodes; the trainer hangs; nobody is at the judge
    assert [bool(lines) for lines in said] == [False, False, False, True, False, False, True, *[False] * 5]
    (line,) = said[3]
    assert line.startswith("no progress for 300 s: 1 waiting for the trainer since ")
    assert [line.partition(":")[0] for line in watchdog.look()] == ["no progress for 1200 s"]
    clock.now += 300  # and the sampler stands still too
    assert [line.partition(" since")[0] for line in watchdog.look()] == [
        "no progress for 300 s: 1 waiting for the sampler",
    ]
    release.set()
    await asyncio.gather(*holding)
    clock.now += 10_000
    assert watchdog.look() == []
