"""Questions that ask for an answer instead of a program: what is found in it, how it is compared, who judges it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

import problems
from problems.split import split
from sandbox.interface import Limits
from tests.commands import ROOT
from tests.fakes import ScriptedSandbox, completion, outcome
from tests.folders import made, refusal
from ttsd.errors import UserError
from ttsd.judging.answer_judge import AnswerJudge
from ttsd.judging.extract import extract_answer
from ttsd.judging.judge import judge_for
from ttsd.judging.scoring import open_scorer
from ttsd.nouns import Status, Verdict
from ttsd.prompts import question_text

LIMITS = Limits(wall_seconds=20.0)

JUDGE = """
import os, subprocess, sys, time
from helper import WANTED

def lines(answer):
    print("a judge may print")
    count = len(answer.splitlines())
    return count / WANTED if count < WANTED else True, f"{count} lines\\x1b[31m"

def slow(answer):
    time.sleep(60)

def stops(answer):
    os._exit(7)

def raises(answer):
    raise KeyError("colour")

def says_nothing(answer):
    return None

def endless(answer):
    return float("inf")

def exits(answer):
    sys.exit("no more")

def is_killed(answer):
    print("on its way")
    os.kill(os.getpid(), 11)

def asks(answer):
    run = subprocess.run([sys.executable, "-c", answer], capture_output=True, text=True)
    return 0, run.stderr[-60:] + str(len(sys.stdin.read()))

def starts(answer):
    for alone in (False, True):
        run = [sys.executable, "-c", f"import time; time.sleep(60)  # {answer}"]
        subprocess.Popen(run, start_new_session=alone)
    if answer.startswith("slow"):
        time.sleep(60)
    return 1 if answer.startswith("right") else os._exit(1)
"""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So it is \boxed{\frac{3}{4}}.", r"\frac{3}{4}"),
        ("Work.\nAnswer: 42", "42"),
        ("**Final Answer:** $5$\n", "$5$"),
        (r"Answer: \boxed{7}", "7"),
        ("\\boxed{1}\nno, wait\nAnswer: 2", "2"),
        ("Answer: 1\nno, wait: \\boxed{2}", "2"),
        (r"\boxed{1} then \boxed{2", "1"),
        ("<think>Answer: 1</think>I do not know", None),
        ("Answer:", None),
        (r"\boxed{}", None),
        ("", None),
        ("\\boxed{" * 300, None),
        ("Adding up:\n\n**Answer:**\n\n73\n\nCheck it.", "73"),
        ("### Final Answer\n\n73", "73"),
        ("Answer:\n\\[\n73\n\\]", "73"),
        ("Answer: 4\n\nAnswer:\n\n5", "5"),
        ("Answer:\n\nFirst, no.\nAnswer: 5", "5"),
        ("- Answer: 73", "73"),
        ("2. **Answer:** 73", "73"),
        ("✅ Answer: 73", "73"),
        ("答 Answer：73", None),
        ("Answer：73", "73"),
        ("The answer is 7.", None),
        ("Answer this: 5", None),
        (r"\boxed {73} and \fbox{74}", "74"),
        (r"\boxed {73}", "73"),
    ],
)
def test_the_final_answer_is_the_last_one_given(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@asynccontextmanager
async def judge_of(folder: Path, limits: Limits = LIMITS) -> AsyncIterator[AnswerJudge]:
    problem = problems.load(str(folder))
    sandbox = ScriptedSandbox(lambda *_: outcome())
    async with judge_for(problem, split(problem, "half", 0), sandbox, limits=limits) as judge:
        assert isinstance(judge, AnswerJudge)
        yield judge
    assert sandbox.programs == 0


async def judged(folder: Path, text: str, limits: Limits = LIMITS) -> tuple[str | None, Verdict]:
    async with judge_of(folder, limits) as judge:
        return await judge(completion(text))


@pytest.mark.slow
async def test_an_answer_is_judged_and_the_right_one_is_never_told(tmp_path: Path) -> None:
    folder = made(tmp_path, problem__toml='kind = "answer"\nanswer = "3/4711"\n')
    assert "boxed" in question_text(problems.load(str(folder)))
    async with judge_of(folder) as judge:
        text, verdict = await judge(completion(r"It is \boxed{\frac{3}{4711}}"))
        assert (text, verdict.accepted, verdict.feedback) == (r"\frac{3}{4711}", True, "")
        assert (verdict.visible_total, verdict.hidden_total) == (1, 0)
        text, verdict = await judge(completion("Answer: 5\x1b[2J"))
        assert verdict.status is Status.UNFINISHED
        assert "5\ufffd" in verdict.feedback
        assert "4711" not in verdict.feedback
        text, verdict = await judge(completion("I give up"))
        assert (text, verdict.status) == (None, Status.NO_PROGRAM)
        text, verdict = await judge(completion("I was about to", "length"))
        assert (text, verdict.status) == (None, Status.TRUNCATED)


@pytest.mark.slow
async def test_an_answer_that_is_not_worked_out_has_a_verdict_of_its_own(tmp_path: Path) -> None:
    folder = made(tmp_path, problem__toml='kind = "answer"\nanswer = "1/3"\n')
    _, verdict = await judged(folder, r"Answer: \int_0^1 x^2 dx")
    assert (verdict.status, verdict.accepted, verdict.visible_passed) == (Status.UNFINISHED, False, 0)
    assert "`\\int` leaves something to work out" in verdict.feedback
    assert "1/3" not in verdict.feedback


@pytest.mark.slow
async def test_an_answer_that_takes_work_costs_its_cpu_time_and_no_waiting(tmp_path: Path) -> None:
    folder = made(tmp_path, problem__toml='kind = "answer"\nanswer = "x^2"\n')
    async with judge_of(folder, Limits(cpu_seconds=1.0, wall_seconds=300.0)) as judge:
        _, verdict = await judge(completion("Answer: x^{7^{7^{11}}}"))
        assert verdict.status is Status.TIME_LIMIT
        _, verdict = await judge(completion("Answer: x \\cdot x"))
        assert verdict.accepted, "the next answer has its own time"


@pytest.mark.slow
async def test_a_small_memory_limit_is_the_answers_own_and_not_the_librarys(tmp_path: Path) -> None:
    folder = made(tmp_path, problem__toml='kind = "answer"\nanswer = "x^2"\n')
    async with judge_of(folder, Limits(wall_seconds=20.0, memory_bytes=64 << 20)) as judge:
        _, verdict = await judge(completion(r"Answer: x \cdot x"))
    assert verdict.accepted


@pytest.mark.slow
async def test_the_right_answer_stands_on_no_command_line(tmp_path: Path) -> None:
    folder = made(tmp_path, problem__toml='kind = "answer"\nanswer = "471108150"\n')
    seen: list[bytes] = []

    async def look() -> None:
        while True:
            children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
            seen.extend(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children)
            await asyncio.sleep(0.05)

    watch = asyncio.create_task(look())
    _, verdict = await judged(folder, "Answer: 471108150")
    watch.cancel()
    assert verdict.accepted
    assert any(b"scoring.worker" in line for line in seen)
    assert not any(b"471108150" in line for line in seen)


@pytest.mark.slow
async def test_a_tower_of_powers_costs_its_time_limit_and_nothing_else(tmp_path: Path) -> None:
    folder, start = made(tmp_path, problem__toml='kind = "answer"\nanswer = "x^2"\n'), time.monotonic()
    _, verdict = await judged(folder, "Answer: $x^{10^{10^{10^{10}}}}$", Limits(wall_seconds=1.0))
    assert verdict.status in (Status.TIME_LIMIT, Status.MEMORY_LIMIT)
    assert verdict.feedback
    assert time.monotonic() - start < 60


def own_judge(path: Path, function: str) -> Path:
    return made(path, problem__toml=f'judge = "judge.py:{function}"\n', judge__py=JUDGE, helper__py="WANTED = 3\n")


async def test_a_judge_of_the_users_own_gives_score_and_feedback(tmp_path: Path) -> None:
    folder = own_judge(tmp_path, "lines")
    assert question_text(problems.load(str(folder))) == problems.load(str(folder)).statement.strip()
    text, verdict = await judged(folder, "<think>one\ntwo</think>a\nb")
    assert (text, verdict.status, verdict.feedback) == ("a\nb", Status.WRONG_ANSWER, "2 lines\ufffd[31m")
    assert verdict.score == pytest.approx(2 / 3)
    assert verdict.visible_fraction == pytest.approx(2 / 3)
    text, verdict = await judged(folder, "a\nb\nc")
    assert (verdict.accepted, verdict.feedback, verdict.score) == (True, "", 1.0)


async def test_a_judge_that_takes_too_long_fails_the_answer(tmp_path: Path) -> None:
    _, verdict = await judged(own_judge(tmp_path, "slow"), "a", Limits(wall_seconds=0.3))
    assert verdict.status is Status.TIME_LIMIT


async def test_a_judge_finds_an_empty_stdin_and_so_does_what_it_starts(tmp_path: Path) -> None:
    _, verdict = await judged(own_judge(tmp_path, "asks"), "input()")
    assert verdict.feedback.endswith("EOFError: EOF when reading a line\n0")


def alive(mark: str) -> bool:
    """Tells whether a process has `mark` on its command line."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes())
    return any(mark.encode() in line for line in lines)


@pytest.mark.parametrize("answer", ["slow", "right", "dies"])
async def test_what_a_judge_starts_ends_with_it(tmp_path: Path, answer: str) -> None:
    mark = f"{answer} {uuid.uuid4()}"
    with suppress(UserError):
        await judged(own_judge(tmp_path, "starts"), mark, Limits(wall_seconds=3.0))
    assert not alive(mark.split()[1])


async def test_a_judge_ends_with_its_owner(tmp_path: Path) -> None:
    folder, mark = own_judge(tmp_path, "starts"), f"slow {uuid.uuid4()}"
    (tmp_path / "answer.txt").write_text(mark)
    command = [sys.executable, "-m", "ttsd", "judge", str(folder), str(tmp_path / "answer.txt")]
    owner = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    async with asyncio.timeout(30):
        while not alive(mark.split()[1]):
            await asyncio.sleep(0.1)
        owner.kill()
        await owner.wait()
        while alive(mark.split()[1]):
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("raises", "KeyError: 'colour'"),
        ("says_nothing", "neither a score"),
        ("absent", "no attribute 'absent'"),
        ("endless", "the score inf, which is not finite"),
        ("exits", r"it called sys\.exit\('no more'\)"),
        ("stops", "its process ended with exit status 7"),
        ("is_killed", "ended by a signal, Segmentation fault; it printed 'on its way'"),
    ],
)
async def test_a_broken_judge_is_the_users_mistake(tmp_path: Path, function: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        await judged(own_judge(tmp_path, function), "a")
    assert str(tmp_path) in str(caught.value)
    assert "on the answer 'a'" in str(caught.value)


@pytest.mark.slow
async def test_processes_are_shared_replaced_and_ended(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import os, time\n"
        "def pid(answer):\n    time.sleep(60 if answer == 'slow' else 0.2)\n    return 0, str(os.getpid())\n"
    )
    spec = {"kind": "judge", "judge": f"{tmp_path}/own.py:pid"}
    async with open_scorer(spec, seconds=2.0, workers=2) as scorer:
        scores = await asyncio.gather(*(scorer(str(number)) for number in range(6)))
        pids = {int(score.feedback) for score in scores}
        assert len(pids) == 2
        assert (await scorer("slow")).ended == "time"
        assert int((await scorer("again")).feedback) in pids
        asked = asyncio.create_task(scorer("slow"))
        await asyncio.sleep(0.1)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('kind = "answer"\n', "the right answer"),
        ('kind = "riddle"\nanswer = "x"\n', 'kind = "answer"'),
        ('answer = "x"\n', 'kind = "answer"'),
        ('kind = "answer"\nanswer = "x"\nentry_point = "f"\n', "entry_point"),
        ('kind = "answer"\nanswer = "x"\nexact = true\ntolerance = 1\n', "leave one"),
        ('kind = "answer"\nanswer = "x"\nexact = 1\n', "wrong type"),
        ('kind = "answer"\nanswer = 1\ntolerance = -1\n', "above zero"),
        ('judge = "score"\n', "judge.py:function"),
        ('judge = "absent.py:score"\n', "absent.py"),
        ('judge = "m:score"\nanswer = "x"\n', "leave one"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, settings: str, said: str) -> None:
    assert said in refusal(made(tmp_path, problem__toml=settings))


def test_cases_beside_an_answer_are_refused(tmp_path: Path) -> None:
    assert "cases" in refusal(made(tmp_path, problem__toml='kind = "answer"\nanswer = 1\n', cases__toml=""))


def test_a_negative_answer_is_an_answer(tmp_path: Path) -> None:
    problem = problems.load(str(made(tmp_path, problem__toml='kind = "answer"\nanswer = -2.5\n')))
    assert (problem.kind, problem.cases[0].expected) == ("answer", "-2.5")
