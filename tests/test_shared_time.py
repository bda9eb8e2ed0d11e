"""Shares of what runs share: they add up, waiting costs nothing of it, and nobody starves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter

import pytest

from ttsd.running.shared_time import Shared, Spending, Stopwatch


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_each_moment_is_divided_among_those_who_are_there() -> None:
    clock, one, two = Clock(), Spending(), Spending()
    sampler = Shared("sample", clock=clock)
    async with sampler.use(one):
        clock.now = 2.0
        async with sampler.use(two), sampler.use(two):
            clock.now = 5.0
    clock.now = 9.0
    assert one.take() == pytest.approx({"sample": 3.0})
    assert two.take() == pytest.approx({"sample": 2.0})
    assert (sampler.busy_seconds, sampler.use_seconds) == pytest.approx((5.0, 11.0))
    assert one.take() == {}


async def test_waiting_is_told_apart_and_places_go_in_the_order_of_asking() -> None:
    clock, order, spendings = Clock(), list[int](), [Spending() for _ in range(3)]
    trainer = Shared("train", places=1, clock=clock)

    async def step(number: int) -> None:
        async with trainer.use(spendings[number]):
            order.append(number)
            await asyncio.sleep(0)
            clock.now += 4.0

    await asyncio.gather(*(step(number) for number in range(3)))
    assert order == [0, 1, 2]
    assert [one.take() for one in spendings] == [{"wait_train": waited, "train": 4.0} for waited in (0.0, 4.0, 8.0)]
    assert trainer.busy_seconds == 12.0


async def test_no_run_starves_however_many_ask_and_however_eager_they_are() -> None:
    trainer, steps = Shared("train", places=1), Counter[int]()

    async def run(number: int) -> None:
        while True:
            async with trainer.use(Spending()):
                steps[number] += 1
                assert max(steps.values()) - min(steps[other] for other in range(8)) <= 2
                await asyncio.sleep(0)
            for _ in range(number % 3):
                await asyncio.sleep(0)

    runs = [asyncio.create_task(run(number)) for number in range(8)]
    done, _ = await asyncio.wait(runs, timeout=0.2)
    for task in runs:
        task.cancel()
    await asyncio.gather(*runs, return_exceptions=True)
    assert not done
    assert min(steps.values()) > 10


async def test_a_place_comes_back_from_those_who_fail_or_are_cancelled() -> None:
    judge, spending = Shared("judge", places=1), Spending()

    async def use(seconds: float) -> None:
        async with judge.use(spending):
            await asyncio.sleep(seconds)
            raise OSError("its own fault")

    holding, waiting = asyncio.create_task(use(60)), asyncio.create_task(use(60))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    holding.cancel()
    await asyncio.gather(holding, waiting, return_exceptions=True)
    with pytest.raises(OSError, match="its own"):
        await asyncio.wait_for(use(0), 1)


async def test_usage_counts_wall_time_cores_and_who_was_busy() -> None:
    stopwatch, idle, busy = Stopwatch(), Shared("judge"), Shared("train")
    async with busy.use(Spending()):
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            sum(range(1000))
    usage = stopwatch.usage(idle, busy)
    assert usage.seconds >= 0.2
    assert usage.busy["judge"] == usage.at_once["judge"] == 0.0
    assert 0.5 < usage.busy["train"] <= 1.0
    assert usage.at_once["train"] == pytest.approx(1.0)
    assert usage.cpu_seconds > 0
    assert "train" in str(usage)


def test_usage_counts_children_while_they_live_and_after_they_have_ended() -> None:
    spend = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    stopwatch = Stopwatch()
    with subprocess.Popen([sys.executable, "-c", spend], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert stopwatch.usage().cpu_seconds > 0.25
        child.communicate(b"\n")
    assert stopwatch.usage().cpu_seconds > 0.25
