"""Who is waited for, and since when."""

from __future__ import annotations

import asyncio
import time

from ttsd.running.shared_time import Shared, Spending
from ttsd.running.watchdog import Watched, silent_things, speaker, waiting_for


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


async def test_who_is_long_in_loading_is_named() -> None:
    said = list[str]()
    speaker.set(said.append)
    async with waiting_for("sampler to start", quiet_seconds=0.2):
        until = time.monotonic() + 30
        while not said and time.monotonic() < until:
            await asyncio.sleep(0.02)
    assert "1 waiting for the sampler to start since " in said[0]
