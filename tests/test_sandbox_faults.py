"""What happens when the sandbox's own processes die, can't start, or can't be had."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import Program, Sandbox, SandboxFault
from tests.attacks.world import children, descendants
from tests.in_sandbox import CHECKOUT, SMALL, interpreter_for_all, lives, outcomes

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def box() -> AsyncIterator[Sandbox]:
    async with Sandbox(slots=2) as sandbox:
        yield sandbox


@pytest.mark.slow
async def test_killed_zygote_costs_a_retry(box: Sandbox) -> None:
    zygotes = box.zygotes
    slow = Program("import time\ntime.sleep(0.5)\nprint(input())")
    tasks = [asyncio.create_task(outcomes(box, slow, [b"1", b"2"])) for _ in zygotes]
    await asyncio.sleep(0.2)
    below = {process for zygote in zygotes for process in descendants(zygote)}
    for zygote in zygotes:
        os.kill(zygote, signal.SIGKILL)
    found = await asyncio.gather(*tasks)
    assert [[outcome.stdout for outcome in run] for run in found] == [[b"1\n", b"2\n"]] * len(zygotes)
    assert not set(box.zygotes) & set(zygotes)
    assert below
    assert not list(filter(lives, below))


async def test_killed_supervisor_costs_a_retry(box: Sandbox) -> None:
    task = asyncio.create_task(outcomes(box, Program("import time\ntime.sleep(0.5)\nprint(input())"), [b"1", b"2"]))
    await asyncio.sleep(0.2)
    for zygote in box.zygotes:
        for supervisor in children(zygote):
            os.kill(supervisor, signal.SIGKILL)
    assert [outcome.stdout for outcome in await task] == [b"1\n", b"2\n"]


async def test_killed_child_costs_a_retry(box: Sandbox) -> None:
    task = asyncio.create_task(box.once(Program("import time\ntime.sleep(0.5)\nprint(input())"), b"1", SMALL))
    await asyncio.sleep(0.2)
    for zygote in box.zygotes:
        for supervisor in children(zygote):
            for child in children(supervisor):
                os.kill(child, signal.SIGKILL)
    assert (await task).stdout == b"1\n"


@pytest.mark.slow
async def test_kills_at_any_moment_change_no_outcome(box: Sandbox) -> None:
    chance = random.Random(0)

    started = time.perf_counter()
    async with Sandbox(slots=1):
        pause = time.perf_counter() - started  # how fast this machine is now

    async def kill_now_and_then() -> None:
        while True:
            await asyncio.sleep(chance.uniform(0.5, 2) * pause)
            for zygote in box.zygotes[:1] if chance.random() < 0.5 else box.zygotes[1:]:
                os.kill(zygote, signal.SIGKILL)

    killer = asyncio.create_task(kill_now_and_then())
    program = Program("import time\ntime.sleep(0.002)\nprint(int(input()) ** 2)")
    inputs = [str(index).encode() for index in range(5)]
    try:
        found = await asyncio.gather(*(outcomes(box, program, inputs) for _ in range(300)))
    finally:
        killer.cancel()
        await asyncio.gather(killer, return_exceptions=True)
    assert {tuple(outcome.stdout for outcome in run) for run in found} == {(b"0\n", b"1\n", b"4\n", b"9\n", b"16\n")}


async def test_zygote_killed_between_runs(box: Sandbox) -> None:
    for zygote in box.zygotes:
        os.kill(zygote, signal.SIGKILL)
    found = await asyncio.gather(*(outcomes(box, Program("print(1)"), [b""]) for _ in range(4)))
    assert all(run[0].stdout == b"1\n" for run in found)


async def test_fault_that_persists_is_raised(box: Sandbox) -> None:
    async def kill_again_and_again() -> None:
        while True:
            for zygote in box.zygotes:
                os.kill(zygote, signal.SIGKILL)
            await asyncio.sleep(0.05)

    killer = asyncio.create_task(kill_again_and_again())
    with pytest.raises(SandboxFault, match="failed 4 times in a row at one test"):
        await box.once(Program("import time\ntime.sleep(5)"), b"", SMALL)
    killer.cancel()
    await asyncio.gather(killer, return_exceptions=True)


async def test_missing_interpreter_is_one_sentence() -> None:
    with pytest.raises(
        SandboxFault, match=r"/no/such/python did not start as the programs' interpreter, Python 3.10 or newer"
    ):
        async with Sandbox(slots=1, python="/no/such/python"):
            pass


async def test_something_else_than_python() -> None:
    with pytest.raises(SandboxFault, match="/bin/true did not start"):
        async with Sandbox(slots=1, python="/bin/true"):
            pass


async def test_no_slots() -> None:
    with pytest.raises(ValueError, match="a sandbox with 0 slots"):
        Sandbox(slots=0)


CROWDED = """
import asyncio, resource
from sandbox import Limits, Program, Sandbox, SandboxFault

async def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    async with Sandbox(slots=1) as box:
        [zygote] = box.zygotes

        def allow(processes):
            resource.prlimit(zygote, resource.RLIMIT_NPROC, (processes, hard))

        allow(1)
        asyncio.get_running_loop().call_later(0.3, allow, soft)
        outcome = await box.once(Program("print(1)"), b"", Limits())
        print(outcome.stdout, box.zygotes == [zygote])
        allow(1)
        resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
        try:
            await box.once(Program("print(1)"), b"", Limits())
        except SandboxFault as fault:
            print(fault)

asyncio.run(main())
"""


@pytest.fixture
def place_for_all() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="crowded-"))
    place.chmod(0o755)
    shutil.copytree(CHECKOUT / "sandbox", place / "sandbox")
    yield place
    shutil.rmtree(place)


@pytest.mark.slow
async def test_a_limit_on_processes_is_waited_for_and_then_named(place_for_all: Path) -> None:
    user = None if os.geteuid() else 40_000 + random.SystemRandom().randrange(10_000)  # one without processes
    python = interpreter_for_all() if user else sys.executable
    if not python:
        pytest.skip("there is no interpreter that everybody may read")
    command = [python, "-c", CROWDED]
    ended = subprocess.run(command, cwd=place_for_all, user=user, group=user, capture_output=True, text=True)
    waited, _, fault = ended.stdout.partition("\n")
    assert waited == r"b'1\n' True", ended.stderr
    assert "raise this user's limit on processes (`ulimit -u`)" in fault
    assert "unsafe" not in fault
