"""No text of a hidden case reaches a prompt, a feedback, a log line or the record, whatever a program does.

Every input and every expected output of the hidden cases holds a word that is nowhere else. What a program prints of
its input stays in its own attempt's judging: hidden cases run only once every visible one has passed, and their
outcomes leave nothing but a status, a number and seconds.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path

import pytest

import problems
from problems.split import split
from sandbox import Limits, Sandbox
from tests.fakes import ByteTokenizer, ScriptedPolicy
from ttsd.baselines import Conversation
from ttsd.config import Budget, Reprompt
from ttsd.judging.judge import Judge
from ttsd.loop import START, learn
from ttsd.nouns import Attempt, Problem, Split, Step, Verdict
from ttsd.prompts import student_prompt
from ttsd.record.protocol import Spent
from ttsd.record.store import Store
from ttsd.reporting.attempt import attempt_view, step_view
from ttsd.reporting.live import PlainView, print_table
from ttsd.reporting.show import attempt_text, step_text
from ttsd.reprompts import Reprompts
from ttsd.running.budget import Meter

GIVEN, WANTED = "sentinelgiven", "sentinelwanted"
LIMITS = Limits(cpu_seconds=1.0, wall_seconds=4.0)

VISIBLE_PASS = "word = input()\nif word == 'red':\n    print(1)\nelif word == 'blue':\n    print(2)\nelse:\n    "
PROGRAMS = {
    "nothing": "pass",
    "the visible cases only": VISIBLE_PASS + "print(0)",
    "the input again": VISIBLE_PASS + "print(word * 3)",
    "the input as an exception": VISIBLE_PASS + "raise ValueError(word)",
    "the input on stderr": VISIBLE_PASS + "import sys; sys.stderr.write(word); sys.exit(word)",
    "a variable named as the input": VISIBLE_PASS + "globals()[word]",
    "the input in a file's name": VISIBLE_PASS + "exec(compile('1/0', word, 'exec'))",
    "too much of the input": VISIBLE_PASS + "print(word * 10_000_000)",
    "the input for ever": VISIBLE_PASS + "print(word, flush=True)\n    while True: pass",
    "wrong where all can see": "print(input())",
    "no program": "",
}


@pytest.fixture
def question(tmp_path: Path) -> tuple[Problem, Split]:
    """Two public cases are visible, three others hidden."""
    folder = tmp_path / "colours"
    folder.mkdir()
    (folder / "statement.md").write_text("# Colours\n\nPrint the number of the colour.\n")
    cases = [("red", "1", True), ("blue", "2", True)]
    cases += [(f"{GIVEN}{number}", f"{WANTED}{number}", False) for number in range(3)]
    (folder / "cases.toml").write_text(
        "".join(
            f"[[case]]\ninput = {json.dumps(given + chr(10))}\nexpected = '{wanted}'\npublic = {str(public).lower()}\n"
            for given, wanted, public in cases
        )
    )
    problem = problems.load(str(folder))
    parts = split(problem, problem.default_split, 0)
    assert (parts.visible, parts.hidden) == ((0, 1), (2, 3, 4))
    return problem, parts


@pytest.fixture
async def judge(question: tuple[Problem, Split]) -> AsyncIterator[Judge]:
    problem, parts = question
    async with Sandbox(slots=2) as sandbox:
        yield Judge(sandbox, problem, parts, limits=LIMITS)


def leaks(*texts: object) -> list[str]:
    """The sentinels in what `texts` say, if looked at as a whole."""
    whole = "\n".join(str(text) for text in texts).casefold()
    return [word for word in (GIVEN, WANTED, GIVEN[:12], WANTED[:12], "sentinel") if word in whole]


@pytest.mark.parametrize("name", list(PROGRAMS))
async def test_no_verdict_tells_of_a_hidden_case(name: str, judge: Judge) -> None:
    verdict = await judge.program(PROGRAMS[name])
    assert not verdict.accepted
    assert leaks(verdict, verdict.feedback, json.dumps(asdict(verdict))) == []


@pytest.mark.slow
async def test_nothing_that_is_read_shown_or_kept_tells_of_a_hidden_case(
    question: tuple[Problem, Split], judge: Judge, tmp_path: Path
) -> None:
    problem, parts = question
    answers = [f"```python\n{program}\n```" for program in PROGRAMS.values()]
    answers += answers[: -len(answers) % 4]
    policy, tokenizer = ScriptedPolicy(answers), ByteTokenizer()
    reprompts = Reprompts(
        student_prompt(problem), tokenizer, Reprompt(feedback_blocks=4), max_prompt_len=4096, teacher_fraction=0.5
    )
    conversation = Conversation(student_prompt(problem), tokenizer, Reprompt())
    talk, said = io.StringIO(), io.StringIO()
    rollouts: list[Attempt] = []
    with Store(tmp_path / "t.sqlite") as store, redirect_stderr(talk), redirect_stdout(said):
        run = store.new_run(
            question=problem.name, method="sdpo", seed=0, model="m", split=asdict(parts), environment={},
            config={"reprompt": Reprompt().model_dump(), "judge": {}},
        )  # fmt: skip
        with PlainView() as view:
            meter = Meter(Budget(attempts=len(answers)), Spent(0, 0, 0.0))
            view.begin(1, "colours", START, meter, 4)
            async with aclosing(learn(policy, judge, reprompts, group_size=4, budget=len(answers))) as events:
                async for event in events:
                    view.show(event)
                    if isinstance(event, Step):
                        store.add_step(run, event, None)
                    else:
                        store.add_attempt(run, event)
                        rollouts.append(event)
        print_table(store.attempt_overview(run))
        for number in range(1, len(rollouts) // 4 + 1):
            print(step_text(step_view(store, run, number)))
        for rollout in rollouts:
            print(attempt_text(attempt_view(store, run, rollout.attempt)))
        kept = [dict(row) for row in [*store.attempts(run), *store.steps(run), store.run(run)]]
    prompts = _read(policy, tokenizer, [*reprompts.readings(8, rollouts), *_turns(conversation, rollouts)])
    assert len(rollouts) == len(answers)
    assert "step 1" in talk.getvalue()
    assert "Wrong Answer" in said.getvalue()
    assert leaks(*prompts, talk.getvalue(), said.getvalue(), *kept) == []
    assert any("Expected:\n1" in prompt for prompt in prompts)  # of visible cases the prompts do tell


def _turns(conversation: Conversation, rollouts: Sequence[Attempt]) -> list[tuple[int, ...]]:
    return [conversation.prompt_ids(rollouts[:number]) for number in range(len(rollouts) + 1)]


def _read(policy: ScriptedPolicy, tokenizer: ByteTokenizer, more: Sequence[object]) -> list[str]:
    """Every prompt of student and teacher as text."""
    lessons = [lesson for taught in policy.taught for lesson in taught]
    prompts = [ids for lesson in lessons for ids in (lesson.prompt_ids, lesson.reprompt_ids) if ids]
    prompts += [one if isinstance(one, tuple) else one.prompt_ids for one in more]  # type: ignore[attr-defined]
    return [tokenizer.decode(ids) for ids in prompts]


async def test_a_hidden_case_that_a_program_knows_by_heart_is_found_out_of_its_own(judge: Judge) -> None:
    """The test itself: with the hidden outputs in the program, the sentinel is there to be seen, and accepted."""
    verdict = await judge.program(VISIBLE_PASS + f"print(word.replace('{GIVEN}', '{WANTED}'))")
    assert verdict.accepted
    assert isinstance(verdict, Verdict)
