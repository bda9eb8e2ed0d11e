"""Runs the attacks in one set-up and prints what went wrong as JSON: name of the attack -> complaints.

    python runner.py CHECKOUT landlock|no-landlock [container|UID]

A script of its own so that it can give up root for good, and run under an interpreter that another user may read.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox import Outcome, Sandbox
    from tests.attacks.world import World

PROMISES = [
    "integrity", "processes", "other_processes", "network", "files", "streams", "limits", "kernel_surface", "traces"
]  # fmt: skip
SOON_SECONDS = 2.0
HONEST = "print(sum(map(int, input().split())))"
PRELUDE = """
import ctypes, errno, json, os, platform, signal, socket, struct, sys
world = json.loads(sys.stdin.readline())
X86 = platform.machine() == "x86_64"
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(x86, arm, *arguments):
    number = x86 if X86 else arm
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")
def refused(action, *arguments, **named):
    try:
        result = action(*arguments, **named)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            print("UNCLEAR", action, arguments, error)
    except Exception as error:
        print("UNCLEAR", action, arguments, repr(error))
    else:
        print("BREACH", action, arguments, result)
"""


async def attack(kind: str) -> dict[str, list[str]]:
    from sandbox import Sandbox
    from tests.attacks.world import World

    world = World()
    found = {}
    try:
        async with Sandbox(slots=1, landlock=kind == "landlock") as box:
            found["the set-up"] = [] if ("landlock" in box.tier) == (kind == "landlock") else [f"it is {box.tier}"]
            for promise in PROMISES:
                for name, source in _programs(promise).items():
                    found[f"{promise}: {name}"] = await _one(box, world, source)
        async with Sandbox(slots=2, landlock=kind == "landlock") as box:
            for name, source in _programs("availability").items():
                found[f"availability: {name}"] = await _beside_an_honest_one(box, source)
    finally:
        world.close()
    return found


def _programs(promise: str) -> dict[str, str]:
    programs: dict[str, str] = importlib.import_module(f"tests.attacks.{promise}").PROGRAMS
    return programs


def _expected(source: str) -> list[str]:
    first = source.lstrip().partition("\n")[0]
    return first.removeprefix("# ends:").replace(" ", "").split("|") if first.startswith("# ends:") else ["finished"]


async def _beside_an_honest_one(box: Sandbox, source: str) -> list[str]:
    from sandbox import Limits, Program

    expected = _expected(source)
    wall = 1.0 if "wall_limit" in expected else 60.0
    limits = Limits(cpu_seconds=0.5, wall_seconds=wall, memory_bytes=1 << 28, output_bytes=1 << 20)
    attack = asyncio.create_task(box.once(Program(PRELUDE + source), b"{}\n", limits))
    complaints = []
    while not attack.done():
        started = time.monotonic()
        outcome = await box.once(Program(HONEST), b"1 2", Limits())
        seconds = time.monotonic() - started
        if (outcome.ending, outcome.stdout) != ("finished", b"3\n") or seconds > SOON_SECONDS:
            complaints.append(f"an honest program ended as {outcome.ending} after {seconds:.1f} s")
    outcome = await attack
    if outcome.ending not in expected:
        complaints.append(f"it ended as {outcome.ending}: {outcome.stderr[-1500:].decode(errors='replace')}")
    return complaints + _breaches(outcome)


def _breaches(outcome: Outcome) -> list[str]:
    lines = outcome.stdout.decode(errors="replace").splitlines()
    return [line for line in lines if line.startswith(("BREACH", "UNCLEAR"))]


async def _one(box: Sandbox, world: World, source: str) -> list[str]:
    from sandbox import Limits, Program

    expected = _expected(source)
    cpu, wall = (5.0, 0.6) if "wall_limit" in expected else (0.2, 20.0)
    limits = Limits(cpu_seconds=cpu, wall_seconds=wall, memory_bytes=1 << 28, output_bytes=1 << 20)
    zygote = box.zygotes[0]
    facts = world.addresses() | {"files are hidden": "hidden files" in box.tier}
    data = json.dumps(facts).encode() + b"\n"
    outcome = await box.once(Program(PRELUDE + source), data, limits)
    said = outcome.stdout + outcome.stderr + (outcome.result or b"")
    complaints = _breaches(outcome)
    if outcome.ending not in expected:
        complaints.append(f"it ended as {outcome.ending}: {said[-1500:].decode(errors='replace')}")
    if world.secret.encode() in said:
        complaints.append("it knows the secret")
    if box.zygotes[0] != zygote:
        complaints.append("the zygote had to be replaced")
    return complaints + await _survivors(zygote) + world.damage()


async def _survivors(zygote: int) -> list[str]:
    from tests.attacks.world import descendants

    deadline = time.monotonic() + 5
    while (left := descendants(zygote)) and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return [f"processes survive: {left}"] if left else []


def main() -> None:
    place, kind, *who = sys.argv[1:]
    sys.path.insert(0, place)
    if who == ["container"]:
        from tests.attacks import container

        container.enter()
    elif who:
        os.setgroups([])
        os.setgid(int(who[0]))
        os.setuid(int(who[0]))
    print(json.dumps(asyncio.run(attack(kind))))


if __name__ == "__main__":
    main()
