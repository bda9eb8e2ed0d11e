"""The judge's rules, with a sandbox that answers from a function instead of running anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems.problem import Case, Problem, ProblemError, Split
from sandbox.interface import Ending, Limits, Outcome, Program, SandboxFault
from tests.fakes import ScriptedSandbox, completion, outcome
from ttsd.judging.feedback import readable
from ttsd.judging.judge import (
    MAX_ERROR_CHARACTERS,
    MAX_REMEMBERED,
    MAX_SHOWN_BYTES,
    Judge,
    own_limits,
    own_traceback,
    shown,
)
from ttsd.nouns import Status

SECRET = "hidden-4711"


PROBLEM = Problem(
    name="doubled",
    title="Doubled",
    statement="Print the double.",
    cases=(
        Case("100", "200", public=True),
        Case("2", "4", public=True),
        Case("30", "60"),
        Case(f"{SECRET}-input", f"{SECRET}-output"),
        Case("5", "10"),
    ),
)
SPLIT = Split(visible=(0, 1, 2), hidden=(3, 4))
RIGHT = {case.input: case.expected for case in PROBLEM.cases}


def right_but(**wrong: Outcome) -> Callable[[str, str], Outcome]:
    """Right answers, but for the cases `c0`, `c1`, ... given."""
    changed = {PROBLEM.cases[int(key[1:])].input: value for key, value in wrong.items()}
    return lambda _, given: changed.get(given) or outcome(RIGHT[given] + "\n")


def judge_of(answer: Callable[[str, str], Outcome], *, shuffle_feedback: bool = False) -> tuple[Judge, ScriptedSandbox]:
    sandbox = ScriptedSandbox(answer)
    return Judge(sandbox, PROBLEM, SPLIT, shuffle_feedback=shuffle_feedback), sandbox


def inputs_of(sandbox: ScriptedSandbox) -> list[str]:
    return [given for _, given in sandbox.ran]


async def test_a_right_program_is_accepted_after_all_cases_in_order() -> None:
    judge, sandbox = judge_of(right_but())
    verdict = await judge.program("print")
    assert verdict.accepted
    assert verdict.visible_accepted
    assert (verdict.visible_passed, verdict.visible_total, verdict.hidden_passed, verdict.hidden_total) == (3, 3, 2, 2)
    assert verdict.first_failure is None
    assert verdict.feedback == ""
    assert verdict.cpu_seconds == pytest.approx(5 * 0.25)
    assert inputs_of(sandbox) == [case.input for case in PROBLEM.cases]


async def test_after_a_wrong_answer_the_visible_cases_run_and_the_hidden_ones_do_not() -> None:
    judge, sandbox = judge_of(right_but(c0=outcome("1")))
    verdict = await judge.program("print")
    assert verdict.status is Status.WRONG_ANSWER
    assert (verdict.visible_passed, verdict.hidden_passed, verdict.first_failure) == (2, 0, 0)
    assert inputs_of(sandbox) == ["100", "2", "30"]
    assert verdict.feedback == "Wrong Answer\nInput:\n100\nOutput:\n1\nExpected:\n200"


async def test_a_control_is_told_what_other_visible_cases_expect_and_judged_rightly() -> None:
    judge, _ = judge_of(right_but(c0=outcome("1")), shuffle_feedback=True)
    verdict = await judge.program("print")
    assert (verdict.visible_passed, verdict.first_failure) == (2, 0)
    assert verdict.feedback == "Wrong Answer\nInput:\n100\nOutput:\n1\nExpected:\n4"
    judge, _ = judge_of(right_but(), shuffle_feedback=True)
    assert (await judge.program("print")).accepted


async def test_the_two_shortest_wrong_answers_are_shown() -> None:
    judge, _ = judge_of(lambda _, given: outcome("0"))
    feedback = (await judge.program("print")).feedback
    assert feedback.count("Wrong Answer") == 2
    assert feedback.index("Input:\n2\n") < feedback.index("Input:\n30\n")
    assert "100" not in feedback


@pytest.mark.parametrize(
    ("ending", "status", "words"),
    [
        (Ending.ERROR, Status.RUNTIME_ERROR, "Runtime Error\nValueError: no"),
        (Ending.CPU_LIMIT, Status.TIME_LIMIT, "Time Limit Exceeded"),
        (Ending.WALL_LIMIT, Status.TIME_LIMIT, "Time Limit Exceeded"),
        (Ending.MEMORY_LIMIT, Status.MEMORY_LIMIT, "Memory Limit Exceeded"),
        (Ending.OUTPUT_LIMIT, Status.OUTPUT_LIMIT, "Output Limit Exceeded"),
    ],
)
async def test_an_error_or_a_limit_ends_the_judging_and_is_shown_alone(
    ending: Ending, status: Status, words: str
) -> None:
    judge, sandbox = judge_of(right_but(c1=outcome("4", ending, "ValueError: no")))
    verdict = await judge.program("print")
    assert verdict.status is status
    assert (verdict.visible_passed, verdict.first_failure) == (1, 1)
    assert inputs_of(sandbox) == ["100", "2"]
    assert verdict.feedback == f"{words}\nInput:\n2"


async def test_the_status_is_that_of_the_first_failure_and_the_feedback_that_of_the_error() -> None:
    judge, _ = judge_of(right_but(c0=outcome("1"), c1=outcome("", Ending.ERROR, "KeyError: 1")))
    verdict = await judge.program("print")
    assert (verdict.status, verdict.first_failure) == (Status.WRONG_ANSWER, 0)
    assert verdict.feedback.startswith("Runtime Error\nKeyError: 1")


@pytest.mark.parametrize("failed", [outcome(f"{SECRET}-printed"), outcome("", Ending.ERROR, f"ValueError: {SECRET}")])
async def test_a_hidden_failure_tells_how_and_where_but_nothing_of_its_content(failed: Outcome) -> None:
    judge, sandbox = judge_of(right_but(c3=failed))
    verdict = await judge.program("print")
    assert verdict.visible_accepted
    assert not verdict.accepted
    assert verdict.status in (Status.WRONG_ANSWER, Status.RUNTIME_ERROR)
    assert (verdict.first_failure, verdict.hidden_passed) == (3, 0)
    assert verdict.feedback == ""
    assert SECRET not in repr(verdict)
    assert inputs_of(sandbox)[-1] == f"{SECRET}-input", "judging stops at the first hidden failure"


outcomes = st.builds(
    outcome,
    st.sampled_from(["60", f"{SECRET}-output", f"{SECRET}-printed"]),
    st.sampled_from(Ending),
    st.just(f"ValueError: {SECRET}"),
)


@given(st.dictionaries(st.integers(3, 4), outcomes), st.dictionaries(st.integers(0, 2), st.just(outcome("7"))))
def test_no_hidden_text_leaves_the_judge(hidden: dict[int, Outcome], visible: dict[int, Outcome]) -> None:
    judge, _ = judge_of(right_but(**{f"c{index}": value for index, value in (hidden | visible).items()}))
    verdict = asyncio.run(judge.program("print"))
    assert SECRET not in repr(verdict)
    assert not verdict.accepted or verdict.hidden_passed == 2


async def test_what_could_steer_a_terminal_is_not_shown() -> None:
    judge, _ = judge_of(right_but(c0=outcome("\x1b[2J\r\nx\x07")))
    assert "Output:\n\ufffd[2J\nx\ufffd\nExpected" in (await judge.program("print")).feedback


async def test_function_results_are_compared_and_what_is_printed_does_not_matter() -> None:
    problem = Problem("f", "f", "s", (Case("1\n2", "[3]"),), entry_point="f", starter_code="def f(a, b):")
    for result, accepted in ((b"[3]", True), (b"[4]", False), (None, False), (b"[3", False), (b"\xff", False)):
        sandbox = ScriptedSandbox(lambda *_, result=result: outcome("[3]", result=result))
        verdict = await Judge(sandbox, problem, Split((0,), ())).program("x")
        assert verdict.accepted is accepted


async def test_an_answer_without_a_program_is_not_run() -> None:
    judge, sandbox = judge_of(right_but())
    program, verdict = await judge(completion("I do not know."))
    assert program is None
    assert verdict.status is Status.NO_PROGRAM
    assert verdict.feedback.startswith("No Program")
    program, verdict = await judge(completion("```python\nprint(", "length"))
    assert program is None
    assert verdict.status is Status.TRUNCATED
    assert verdict.feedback.startswith("Truncated Attempt")
    assert (verdict.visible_passed, verdict.visible_total, verdict.hidden_total) == (0, 3, 2)
    assert sandbox.programs == 0


async def test_a_truncated_answer_with_a_whole_program_is_judged_and_told() -> None:
    judge, _ = judge_of(right_but(c0=outcome("1")))
    program, verdict = await judge(completion("```python\nx\n```\nand so", "length"))
    assert program == "x\n"
    assert verdict.feedback.startswith("Truncated Attempt")
    assert (await judge.program("x\n")).feedback.startswith("Wrong Answer")
    accepting, _ = judge_of(right_but())
    assert (await accepting.program("x", truncated=True)).feedback == ""


async def test_equal_programs_are_run_once_at_the_same_time_and_later() -> None:
    judge, sandbox = judge_of(right_but())
    verdicts = await asyncio.gather(*(judge.program("same") for _ in range(8)), judge.program("other"))
    assert all(verdict == verdicts[0] for verdict in verdicts)
    assert await judge.program("same") == verdicts[0]
    assert sandbox.programs == 2


async def test_the_memory_of_verdicts_is_bounded() -> None:
    judge, sandbox = judge_of(right_but(c0=outcome("", Ending.ERROR)))
    for number in range(MAX_REMEMBERED + 1):
        await judge.program(str(number))
    await judge.program(str(MAX_REMEMBERED))
    assert sandbox.programs == MAX_REMEMBERED + 1
    await judge.program("0")
    assert sandbox.programs == MAX_REMEMBERED + 2


async def test_a_sandbox_fault_is_passed_on_and_not_remembered() -> None:
    faults = [SandboxFault("the zygote died")]

    def answer(_: str, given: str) -> Outcome:
        if faults:
            raise faults.pop()
        return outcome(RIGHT[given])

    judge, _ = judge_of(answer)
    with pytest.raises(SandboxFault, match="zygote"):
        await judge.program("x")
    assert (await judge.program("x")).accepted


async def test_outcomes_that_are_missing_are_never_a_pass() -> None:
    class Short(ScriptedSandbox):
        async def run(self, program: Program, inputs: Iterable[bytes], limits: Limits) -> AsyncGenerator[Outcome]:
            for data in list(inputs)[:2]:
                yield self.answer(program.source, data.decode())

    with pytest.raises(SandboxFault, match="2 of 5"):
        await Judge(Short(right_but()), PROBLEM, SPLIT).program("x")


async def test_a_program_that_nobody_waits_for_any_more_is_stopped() -> None:
    gate = asyncio.Event()

    class Slow(ScriptedSandbox):
        async def run(self, program: Program, inputs: Iterable[bytes], limits: Limits) -> AsyncGenerator[Outcome]:
            self.running += 1
            try:
                await gate.wait()
                for data in inputs:
                    yield self.answer(program.source, data.decode())
            finally:
                self.running -= 1

    sandbox = Slow(right_but())
    judge = Judge(sandbox, PROBLEM, SPLIT)
    first, second = (asyncio.create_task(judge.program("x")) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    assert sandbox.running == 1, "the second caller still waits"
    second.cancel()
    await asyncio.sleep(0.01)
    assert sandbox.running == 0
    gate.set()
    assert (await judge.program("x")).accepted


def test_a_split_without_visible_cases_is_refused() -> None:
    with pytest.raises(ProblemError, match="no visible case"):
        Judge(ScriptedSandbox(right_but()), PROBLEM, Split((), (0, 1, 2, 3, 4)))


async def test_the_questions_own_limits_win() -> None:
    problem = replace(PROBLEM, time_limit_seconds=0.5, memory_limit_mib=64)
    assert own_limits(problem, Limits()) == Limits(cpu_seconds=0.5, memory_bytes=64 << 20)
    patient = replace(PROBLEM, time_limit_seconds=20)
    assert own_limits(patient, Limits()) == Limits(cpu_seconds=20, wall_seconds=80, program_wall_seconds=80)
    assert own_limits(PROBLEM, Limits(cpu_seconds=9)) == Limits(cpu_seconds=9)
    sandbox = ScriptedSandbox(right_but())
    await Judge(sandbox, problem, SPLIT).program("x")
    assert sandbox.limits == own_limits(problem, Limits())


TRACEBACK = """\
Traceback (most recent call last):
  File "driver.py", line 7, in <module>
    run()
  File "solution.py", line 3, in <module>
    main()
  File "solution.py", line 2, in main
    return json.loads("x")
  File "/usr/lib/python3/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
json.decoder.JSONDecodeError: Expecting value: <object at 0x7f00aa>
"""


def test_a_traceback_keeps_the_programs_own_lines_and_no_addresses() -> None:
    assert own_traceback(b"noise\n" + TRACEBACK.encode()) == (
        '  File "solution.py", line 3, in <module>\n    main()\n'
        '  File "solution.py", line 2, in main\n    return json.loads("x")\n'
        "json.decoder.JSONDecodeError: Expecting value: <object at 0x...>"
    )


def test_of_chained_tracebacks_the_last_is_kept() -> None:
    stderr = "Traceback (most recent call last):\nKeyError: 1\n\nDuring handling ...:\n\n" + TRACEBACK
    assert "KeyError" not in own_traceback(stderr.encode())


def test_a_long_traceback_keeps_the_innermost_frames_and_the_exception() -> None:
    frames = "".join(f'  File "solution.py", line {n}, in f\n    {"x" * 80}\n' for n in range(50))
    text = own_traceback(f"Traceback (most recent call last):\n{frames}ValueError: {'y' * 9999}\n".encode())
    assert len(text) <= MAX_ERROR_CHARACTERS
    assert "ValueError: yyy" in text
    assert "line 49" in text
    assert "line 1," not in text


def test_a_syntax_error_is_its_own_frame() -> None:
    text = '  File "solution.py", line 1\n    x = = 1\n        ^\nSyntaxError: invalid syntax'
    assert own_traceback(text.encode()) == text


@pytest.mark.parametrize("stderr", [b"", b"\n\n", b"  \n"])
def test_silence_is_explained(stderr: bytes) -> None:
    assert "error status" in own_traceback(stderr)


def test_hostile_stderr_is_only_text() -> None:
    for stderr in (b"\xff\x00" * 9000, b"Traceback (most recent call last)" * 900, b'  File "' * 3000, b"\n" * 16384):
        assert len(own_traceback(stderr)) <= MAX_ERROR_CHARACTERS


async def test_output_is_cut_before_it_is_made_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(text: str) -> str:
        seen.append(len(text))
        return readable(text)

    monkeypatch.setattr("ttsd.judging.judge.readable", counted)
    judge, _ = judge_of(right_but(c0=outcome("\0" * (1 << 20))))
    feedback = (await judge.program("x")).feedback
    assert "... (1048576 bytes)" in feedback
    assert max(seen) <= MAX_SHOWN_BYTES


def test_an_output_is_shown_whole_where_it_fits_and_never_longer() -> None:
    assert shown(b"12\n") == "12"
    assert shown("é".encode() * 250) == "é" * 250
    assert shown(b"\xff" * 251).endswith("... (251 characters)")
    assert shown(b"x" * 5000).endswith("x... (5000 bytes)")
    assert all(len(shown(b"x" * count)) <= 250 for count in range(245, 1100))


async def test_after_a_wrong_answer_the_other_cases_share_the_cpu_time_of_one() -> None:
    cases = tuple(Case(str(n), str(n)) for n in range(100))
    problem = replace(PROBLEM, cases=cases)
    sandbox = ScriptedSandbox(lambda _, given: replace(outcome("no" if given == "3" else given), cpu_seconds=4.0))
    judge = Judge(sandbox, problem, Split(tuple(range(100)), ()), limits=Limits(cpu_seconds=6.0))
    verdict = await judge.program("x")
    assert (verdict.status, verdict.first_failure) == (Status.WRONG_ANSWER, 3)
    assert len(sandbox.ran) == 4 + 2, "two cases of four seconds have used up the six of one"
    assert verdict.feedback.startswith("Wrong Answer")
