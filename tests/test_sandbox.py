"""What crosses the border: endings, bytes, order, and what happens when one side or the other disappears."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import Ending, Limits, Program, Sandbox, SandboxFault, canaries
from sandbox.slot import Slot
from tests.attacks.world import descendants
from tests.in_sandbox import SMALL, lives, outcomes, settled

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def box() -> AsyncIterator[Sandbox]:
    async with Sandbox(slots=2) as sandbox:
        yield sandbox


# --- scripts -------------------------------------------------------------------------------------------------------


async def test_outcomes_come_in_the_order_of_the_inputs(box: Sandbox) -> None:
    found = await outcomes(box, Program("print(int(input()) ** 2)"), [b"1", b"2", b"3"])
    assert [outcome.stdout for outcome in found] == [b"1\n", b"4\n", b"9\n"]
    assert {(outcome.ending, outcome.stderr, outcome.result) for outcome in found} == {(Ending.FINISHED, b"", None)}
    assert all(0 < outcome.cpu_seconds < 2 and outcome.wall_seconds > 0 for outcome in found)


async def test_no_inputs_are_no_outcomes(box: Sandbox) -> None:
    assert await outcomes(box, Program("print(1)"), []) == []


async def test_traceback_shows_the_program_and_nothing_of_ours(box: Sandbox) -> None:
    outcome = await box.once(Program("def f(n):\n    return 1 // n\n\nf(int(input()))\n"), b"0", SMALL)
    assert outcome.ending is Ending.ERROR
    assert outcome.stderr.decode() == (
        "Traceback (most recent call last):\n"
        '  File "solution.py", line 4, in <module>\n'
        "    f(int(input()))\n"
        '  File "solution.py", line 2, in f\n'
        "    return 1 // n\n"
        "           ~~^^~~\n"
        "ZeroDivisionError: integer division or modulo by zero\n"
    )


async def test_a_file_that_is_not_there_is_reported_as_python_does(box: Sandbox) -> None:
    outcome = await box.once(Program("open('input.txt')"), b"", SMALL)
    assert outcome.stderr.decode() == (
        "Traceback (most recent call last):\n"
        '  File "solution.py", line 1, in <module>\n'
        "    open('input.txt')\n"
        "FileNotFoundError: [Errno 2] No such file or directory: 'input.txt'\n"
    )


@pytest.mark.parametrize(
    ("source", "ending", "said"),
    [
        ("x = (", Ending.ERROR, b"SyntaxError: '(' was never closed"),
        ("print(1)\0", Ending.ERROR, b"SyntaxError: source code string cannot contain null bytes"),
        ("print('\ud800')", Ending.ERROR, b"UnicodeEncodeError"),
        ("-" * 100_000 + "1", Ending.MEMORY_LIMIT, b"MemoryError"),
        ("import sys; sys.exit(3)", Ending.ERROR, b""),
        ("exit('bye')", Ending.ERROR, b"bye"),
        ("import sys; sys.exit(256)", Ending.FINISHED, b""),
        ("import os; os.abort()", Ending.ERROR, b"killed by signal"),
        ("x = [0] * 10**9", Ending.MEMORY_LIMIT, b"MemoryError"),
        ("def f(): f()\nf()", Ending.ERROR, b"RecursionError"),
        ("raise ExceptionGroup('two', [ValueError(1), KeyError(2)])", Ending.ERROR, b"KeyError: 2"),
        ("class E(Exception):\n  def __str__(self): 1 / 0\nraise E", Ending.ERROR, b"<exception str() failed>"),
    ],
)
async def test_ending(box: Sandbox, source: str, ending: Ending, said: bytes) -> None:
    outcome = await box.once(Program(source), b"", SMALL)
    assert outcome.ending is ending
    assert said in outcome.stderr


async def test_cpu_time_decides_and_wall_time_ends_sleepers(box: Sandbox) -> None:
    busy = await box.once(Program("while True: pass"), b"", Limits(cpu_seconds=0.2))
    asleep = await box.once(Program("import time\ntime.sleep(60)"), b"", Limits(wall_seconds=0.3))
    assert (busy.ending, asleep.ending) == (Ending.CPU_LIMIT, Ending.WALL_LIMIT)
    assert 0.2 <= busy.cpu_seconds < 0.5
    assert asleep.cpu_seconds < 0.1


@pytest.mark.slow
async def test_endless_compilation_is_the_programs_fault(box: Sandbox) -> None:
    limits = Limits(cpu_seconds=0.1, memory_bytes=4 << 30)
    names = ", ".join(f"a{number}" for number in range(50_000))
    source = f"def f({names}): return " + "lambda: " * 60 + f"[{names}]"  # each level passes on each name
    found = await outcomes(box, Program(source), [b"", b""], limits)
    assert [outcome.ending for outcome in found] == [Ending.CPU_LIMIT] * 2


async def test_sleepers_share_the_wall_time_of_a_program(box: Sandbox) -> None:
    limits = Limits(cpu_seconds=5.0, wall_seconds=1.0, program_wall_seconds=1.0)
    found = await outcomes(box, Program("import time\ntime.sleep(0.7)"), [b""] * 10, limits)
    assert [outcome.ending for outcome in found] == [Ending.FINISHED] + [Ending.WALL_LIMIT] * 9
    assert sum(outcome.wall_seconds for outcome in found) < 2.0


async def test_work_does_not_use_up_the_wall_time_of_a_program(box: Sandbox) -> None:
    limits = Limits(cpu_seconds=1.0, wall_seconds=20.0, program_wall_seconds=0.5)
    program = Program("import time\nwhile time.process_time() < 0.2: pass")
    found = await outcomes(box, program, [b""] * 4, limits)
    assert {outcome.ending for outcome in found} == {Ending.FINISHED}
    assert sum(outcome.wall_seconds for outcome in found) > 0.5


@pytest.mark.parametrize(
    ("source", "ending", "said"),
    [
        ("\n" * (2 << 20), Ending.ERROR, b"SyntaxError: the program is longer than 1048576 bytes"),
        ("#" + "\u20ac" * (1 << 19), Ending.ERROR, b"SyntaxError: the program is longer than 1048576 bytes"),
        ("\n" * (1 << 20), Ending.FINISHED, b""),
    ],
)
async def test_long_source_is_no_fault_of_the_sandbox(box: Sandbox, source: str, ending: Ending, said: bytes) -> None:
    outcome = await box.once(Program(source), b"", SMALL)
    assert (outcome.ending, outcome.stderr.strip()) == (ending, said)


async def test_lines_that_memory_can_not_hold_are_the_programs_fault(box: Sandbox) -> None:
    outcome = await box.once(Program(" \n" * (1 << 19)), b"", Limits(memory_bytes=16 << 20))
    assert outcome.ending is Ending.MEMORY_LIMIT


async def test_traceback_counts_lines_as_the_compiler_does(box: Sandbox) -> None:
    outcome = await box.once(Program("x = '\x0b\u2028'\n1 / 0"), b"", SMALL)
    assert b"line 2, in <module>\n    1 / 0\n" in outcome.stderr


async def test_output_before_the_end_is_kept(box: Sandbox) -> None:
    source = "print('so far', flush=True)\nwhile True: pass"
    outcome = await box.once(Program(source), b"", Limits(cpu_seconds=0.1))
    assert outcome.stdout == b"so far\n"


async def test_hundred_megabytes_of_output(box: Sandbox) -> None:
    outcome = await box.once(Program("for _ in range(100): print('x' * 10**6)"), b"", Limits(output_bytes=4 << 20))
    assert outcome.ending is Ending.OUTPUT_LIMIT
    assert len(outcome.stdout) == 4 << 20


async def test_stderr_keeps_its_end(box: Sandbox) -> None:
    outcome = await box.once(Program("import sys\nsys.stderr.write('x' * 100_000 + 'end')"), b"", SMALL)
    assert len(outcome.stderr) == 16 << 10
    assert outcome.stderr.endswith(b"xend")


async def test_bytes_pass_unchanged(box: Sandbox) -> None:
    data = bytes(range(256)) * 40_000  # ten megabytes with NUL and invalid UTF-8
    program = Program("import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())")
    outcome = await box.once(program, data, Limits())
    assert outcome.stdout == data


async def test_text_streams_carry_invalid_utf_8(box: Sandbox) -> None:
    outcome = await box.once(Program("print(input())"), b"a\xff\0b\n", SMALL)
    assert (outcome.ending, outcome.stdout) == (Ending.FINISHED, b"a\xff\0b\n")


async def test_three_hundred_tests(box: Sandbox) -> None:
    found = await outcomes(box, Program("print(input())"), [str(index).encode() for index in range(300)])
    assert [int(outcome.stdout) for outcome in found] == list(range(300))


async def test_chance_and_hashes_are_the_same_in_every_run(box: Sandbox) -> None:
    program = Program("import random\nprint(random.random(), hash('a'), list({'x', 'y', 'z'}))")
    found = [*await outcomes(box, program, [b"", b""]), await box.once(program, b"", SMALL)]
    async with Sandbox(slots=1) as another:
        found.append(await another.once(program, b"", SMALL))
    assert len({outcome.stdout for outcome in found}) == 1


async def test_a_test_starts_from_a_clean_state(box: Sandbox) -> None:
    program = Program("import builtins\nbuiltins.seen = getattr(builtins, 'seen', 0) + 1\nprint(builtins.seen)")
    assert {outcome.stdout for outcome in await outcomes(box, program, [b""] * 3)} == {b"1\n"}


async def test_numpy_is_there_where_it_is_installed(box: Sandbox) -> None:
    pytest.importorskip("numpy")
    program = Program(
        "import numpy as np\nprint(np.arange(4).reshape(2, 2) @ np.ones(2), np.random.randint(10, size=3))"
    )
    first, second = await outcomes(box, program, [b"", b""])
    assert first.stdout.startswith(b"[1. 5.]")
    assert first.stdout == second.stdout


# --- functions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "arguments", "result"),
    [
        ("def f(a, b):\n    return a + b", "1\n2", "3"),
        ("class Solution:\n    def f(self, a, b):\n        return a + b", "[1]\n[2]\n", "[1, 2]"),
        ("class Solution:\n    pass\ndef f():\n    return 'a function'", "", '"a function"'),
        ("def f(a):\n    return (a, (True, None))", '"x"', '["x", [true, null]]'),
        ("def f():\n    pass", "", "null"),
        ("def f():\n    print('noise')\n    return float('inf')", "", "Infinity"),
        ("def f():\n    return '\\ud800'", "", '"\\ud800"'),
        ("def f():\n    return __name__\nif __name__ == '__main__':\n    1 / 0", "", '"tmp_sol"'),
        ("@dataclasses.dataclass\nclass P:\n    x: 'int'\ndef f():\n    return P(3).x", "", "3"),
        ("def f(n: int) -> List[int]:\n    return list(accumulate(range(n)))", "4", "[0, 1, 3, 6]"),
        ("try:\n    input()\nexcept EOFError:\n    def f(n):\n        return n", "7", "7"),
    ],
)
async def test_function_result(box: Sandbox, source: str, arguments: str, result: str) -> None:
    program = Program("import dataclasses\n" + source, entry_point="f")
    outcome = await box.once(program, arguments.encode(), SMALL)
    assert outcome.ending is Ending.FINISHED, outcome.stderr.decode()
    assert outcome.result is not None
    assert json.loads(outcome.result) == json.loads(result)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def g():\n    pass", "neither a function 'f' nor a class Solution with a method of that name"),
        ("def f():\n    return {1, 2}", "part of type set, which has no JSON form"),
        ("def f():\n    return {(1, 2): 3}", "TypeError: keys must be str"),
        ("def f():\n    return object()", "part of type object"),
        ("def f(a):\n    pass", "missing 1 required positional argument"),
        ("class Solution:\n    def f(self):\n        return self.x", 'File "solution.py", line 3, in f'),
        ("def f():\n    x = []\n    x.append(x)\n    return x", "Circular reference"),
    ],
)
async def test_function_without_a_result(box: Sandbox, source: str, said: str) -> None:
    outcome = await box.once(Program(source, entry_point="f"), b"", SMALL)
    assert (outcome.ending, outcome.result) == (Ending.ERROR, None)
    assert said in outcome.stderr.decode()


async def test_printing_does_not_disturb_the_result(box: Sandbox) -> None:
    outcome = await box.once(Program("def f():\n    print('noise')\n    return 1", "f"), b"", SMALL)
    assert (outcome.stdout, outcome.result) == (b"noise\n", b"1")


# --- laziness, sharing, cancellation -------------------------------------------------------------------------------


async def test_inputs_are_taken_one_at_a_time(box: Sandbox) -> None:
    taken = []

    def inputs() -> Iterator[bytes]:
        for index in range(5):
            taken.append(index)
            yield b""

    async with aclosing(box.run(Program("print(1)"), inputs(), SMALL)) as run:
        await anext(run)
        await anext(run)
    assert taken == [0, 1]
    await settled(box)


async def test_many_runs_share_the_slots(box: Sandbox) -> None:
    programs = [Program(f"print(input(), {index})") for index in range(12)]
    found = await asyncio.gather(*(outcomes(box, program, [b"a", b"b"]) for program in programs))
    assert [[outcome.stdout for outcome in run] for run in found] == [
        [f"a {index}\n".encode(), f"b {index}\n".encode()] for index in range(12)
    ]


async def test_cancelling_the_consumer_ends_the_program(box: Sandbox) -> None:
    zygotes = box.zygotes
    sleepers = [asyncio.create_task(box.once(Program("import time\ntime.sleep(60)"), b"", SMALL)) for _ in range(3)]
    await asyncio.sleep(0.2)
    assert all(map(descendants, zygotes))
    for sleeper in sleepers:
        sleeper.cancel()
    assert all(
        isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*sleepers, return_exceptions=True)
    )
    await settled(box)
    assert (await box.once(Program("print(1)"), b"", SMALL)).stdout == b"1\n"
    assert box.zygotes == zygotes


async def test_leaving_the_sandbox_ends_everything() -> None:
    async with Sandbox(slots=2) as box:
        zygotes = box.zygotes
        sleeper = asyncio.create_task(box.once(Program("import time\ntime.sleep(60)"), b"", SMALL))
        await asyncio.sleep(0.2)
        below = {process for zygote in zygotes for process in descendants(zygote)}
        assert below
        sleeper.cancel()
    assert not list(filter(lives, [*zygotes, *below]))


# --- what holds here -----------------------------------------------------------------------------------------------


async def test_all_canaries_hold(box: Sandbox) -> None:
    assert [row for row in await canaries.rows(box.once) if not row.held and row.essential] == []


@pytest.mark.slow
async def test_canaries_see_what_is_merely_wanted(box: Sandbox) -> None:
    wanted = {row.name: row.held for row in await canaries.rows(box.once) if not row.essential}
    assert wanted["hidden: files"] == ("hidden files" in box.tier)
    async with Sandbox(slots=1, unsafe=True) as unsafe:
        row = next(row for row in await canaries.rows(unsafe.once) if row.name == "hidden: files")
    assert not row.held
    assert "sizes" in row.detail


async def test_a_sandbox_that_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    confined = Slot.__init__

    def unconfined(self: Slot, python: str, options: dict[str, object]) -> None:
        confined(self, python, options | {"unsafe": True})

    monkeypatch.setattr(Slot, "__init__", unconfined)
    with pytest.raises(SandboxFault, match=r"does not hold on this machine: refused: read a file \(it succeeded\)"):
        async with Sandbox(slots=1):
            pass


async def test_unsafe_is_recorded() -> None:
    async with Sandbox(slots=1, unsafe=True) as box:
        outcome = await box.once(Program("import os\nprint(len(os.listdir('/')) > 0)"), b"", SMALL)
        assert (box.tier, outcome.stdout) == ("unsafe", b"True\n")


async def test_tier_and_version(box: Sandbox) -> None:
    assert "seccomp" in box.tier
    assert box.python_version == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users")
async def test_each_slot_has_a_user_where_root_can_give_it_one() -> None:
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        pytest.skip(f"there is no interpreter that everybody may read: no {python}")
    async with Sandbox(slots=2, python=python) as box:
        program = Program("import os, time\ntime.sleep(0.2)\nprint(os.getuid(), open('/dev/stdin').read())")
        found = await asyncio.gather(*(box.once(program, b"x", SMALL) for _ in range(2)))
    users = {int(outcome.stdout.split()[0]) for outcome in found}
    assert len(users) == 2
    assert 0 not in users


async def test_nothing_leaks(box: Sandbox) -> None:
    program = Program("import sys\nprint(len(sys.stdin.read()))")

    async def some(count: int) -> None:
        for _ in range(count):
            await outcomes(box, program, [b"x" * 10_000] * 10)

    await some(5)
    await settled(box)
    before = footprint(box)
    await some(60)
    await settled(box)
    after = footprint(box)
    assert after[:3] == before[:3]
    assert after[3] - before[3] < 8 << 20


def footprint(box: Sandbox) -> tuple[list[int], int, int, int]:
    """Processes, descriptors and temporary files, and the resident bytes of this process and the zygotes."""
    resident = [Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in (os.getpid(), *box.zygotes)]
    temporary = [path for place in ("/tmp", "/dev/shm") for path in Path(place).glob("*sandbox*")]
    return box.zygotes, len(os.listdir("/proc/self/fd")), len(temporary), 4096 * sum(map(int, resident))
