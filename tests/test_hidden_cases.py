"""No text of a hidden case reaches a prompt, a feedback, a log line or the record, whatever a program does.

Every input and every expected output of the hidden cases holds a word that is nowhere else. What a program prints of
its input stays in its own attempt's judging: hidden cases run only once every visible one has passed, and their
outcomes leave nothing but a status, a number and seconds.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path

import pytest

import problems
from problems.split import split
from sandbox import Limits, Sandbox
from tests.fakes import ByteTokenizer, ScriptedPolicy
from ttsd.config import Budget, Config
from ttsd.judging.judge import Judge
from ttsd.loop import learn
from ttsd.methods import MethodOnQuestion
from ttsd.nouns import Attempt, Problem, Split, Step, Verdict
from ttsd.prompts import PromptWriter
from ttsd.record.protocol import Past, Spent
from ttsd.record.run import Run
from ttsd.record.store import Store
from ttsd.reporting.attempt import attempt_rows, attempt_view, step_view
from ttsd.reporting.live import PlainView, print_table
from ttsd.reporting.show import attempt_text, step_text
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
@pytest.mark.parametrize("method", ["sdpo", "multi-turn+sdpo", "multi-turn"])
async def test_nothing_that_is_read_shown_or_kept_has_a_hidden_case(
    question: tuple[Problem, Split], judge: Judge, tmp_path: Path, method: str
) -> None:
    problem, _ = question
    answers = [f"```python\n{program}\n```" for program in PROGRAMS.values()]
    answers += answers[: -len(answers) % 4]
    policy, tokenizer = ScriptedPolicy(answers), ByteTokenizer()
    extensions = {"feedback_items": 4}
    sections = {"sampling": {"group_size": 4, "max_prompt_len": 4096}, "extensions": extensions}
    run = Run(problem, Config.model_validate({"method": method, "budget": {"attempts": len(answers)}, **sections}))
    on = MethodOnQuestion(run.method, PromptWriter(problem, tokenizer, run.config))
    talk, said = io.StringIO(), io.StringIO()
    attempts: list[Attempt] = []
    with Store(tmp_path / "t.sqlite") as store, redirect_stderr(talk), redirect_stdout(said):
        number = store.new_run(run, {})
        with PlainView() as view:
            view.begin(number, run, Past(), Meter(Budget(attempts=len(answers)), Spent()))
            async with aclosing(learn(policy, judge, on, run.method.rules(run.config))) as events:
                async for event in events:
                    view.show(event)
                    if isinstance(event, Step):
                        store.add_step(number, event, None, {})
                    else:
                        store.add_attempt(number, event)
                        attempts.append(event)
        print_table(attempt_rows(store, number))
        for step in range(1, len(attempts) // 4 + 1):
            print(step_text(step_view(store, number, step)))
        for attempt in attempts:
            print(attempt_text(attempt_view(store, number, attempt.number)))
        kept = [*store.attempts(number), *store.steps(number), store.run(number)]
    teachers = [example.teacher.text for group in policy.learned for example in group if example.teacher]
    prompts = [*map(tokenizer.decode, policy.prompts), *teachers]
    assert len(attempts) == len(answers)
    assert "step 1" in talk.getvalue()
    assert "Wrong Answer" in said.getvalue()
    assert leaks(*prompts, talk.getvalue(), said.getvalue(), *kept) == []
    if run.method.row.waits:  # visible cases are in the prompts; without it a success is the only context
        assert any("Expected:\n1" in prompt for prompt in prompts)


async def test_a_hidden_case_that_a_program_knows_by_heart_is_found_out_of_its_own(judge: Judge) -> None:
    """The test itself: with the hidden outputs in the program, the sentinel is there to be seen, and accepted."""
    verdict = await judge.program(VISIBLE_PASS + f"print(word.replace('{GIVEN}', '{WANTED}'))")
    assert verdict.accepted
    assert isinstance(verdict, Verdict)
