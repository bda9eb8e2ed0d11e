"""What Qwen3 reads, word for word: student's and teacher's prompts through its real tokenizer and template.

The rows are of LiveCodeBench's schema with statements of our own, one for each kind of row; the feedback is what the
real judge says of a wrong program in the real sandbox. Of LiveCodeBench's own rows only hashes are kept here.
`TTSD_WRITE_GOLDEN=1 pytest tests/test_golden_prompts.py` writes the files anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

import problems
from problems.split import split
from sandbox import Limits, Sandbox
from tests.fakes import completion, papers_reprompt
from tests.own_rows import ROWS
from tests.rows import DATA
from ttsd.backbone import Tokenizer
from ttsd.judging.judge import Judge
from ttsd.nouns import Attempt, Problem
from ttsd.prompts import student_prompt
from ttsd.reprompts import Reprompts

GOLDEN = Path(__file__).parent / "golden"
pytestmark = pytest.mark.skipif(
    not (DATA / "qwen3" / "tokenizer.json").is_file(), reason="there is no shared/data beside this checkout"
)

WRONG_STDIN = "```python\na, b = map(int, input().split())\nprint(a * b)\n```"
WRONG_CALL = "```python\nclass Solution:\n    def twice(self, n: int) -> int:\n        return n\n```"
CRASH = "```python\na, b = input()\n```"


# What the student reads of rows of LiveCodeBench's own (SHA-256 of the text, first 16 digits).
OTHERS = {
    "lcb_rows.jsonl#abc374_c": "40b03f9301054cf3",
    "lcb_rows.jsonl#abc374_b": "466957ac0b60be43",
    "lcb_rows.jsonl#3607": "168b727fcbcd01e0",
    "lcb_rows.jsonl#3562": "1ac2ae2c10dc5b4e",
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(str(DATA / "qwen3"))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in ROWS.values()))
    return file


def read(tokenizer: Tokenizer, ids: tuple[int, ...]) -> str:
    """All of it, special tokens included."""
    return "".join(tokenizer.token_text(token) for token in ids)


def check(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("TTSD_WRITE_GOLDEN"):
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8"), f"{file.name} differs"


async def rollout(problem: Problem, answer: str, attempt: int = 1) -> Attempt:
    async with Sandbox(slots=1) as sandbox:
        judge = Judge(sandbox, problem, split(problem, problem.default_split, 0), limits=Limits())
        program, verdict = await judge(completion(answer))
    return Attempt(attempt, 1, completion(answer), program, verdict)


@pytest.mark.parametrize("name", list(ROWS))
async def test_what_student_and_teacher_read(name: str, rows: Path, tokenizer: Tokenizer) -> None:
    problem = problems.load(f"{rows}#{name}")
    reprompts = Reprompts(student_prompt(problem), tokenizer, papers_reprompt(), max_prompt_len=2048)
    check(f"{name}.student", read(tokenizer, reprompts.prompt_ids))
    wrong = await rollout(problem, WRONG_CALL if problem.entry_point else WRONG_STDIN)
    (lesson,) = reprompts.lessons([wrong])
    assert lesson.reprompt_ids is not None
    check(f"{name}.teacher", read(tokenizer, lesson.reprompt_ids))


async def test_what_the_teacher_reads_after_a_success_and_after_a_crash(rows: Path, tokenizer: Tokenizer) -> None:
    problem = problems.load(f"{rows}#stdin")
    reprompts = Reprompts(student_prompt(problem), tokenizer, papers_reprompt(), max_prompt_len=2048)
    right = await rollout(problem, f"<think>\nhm\n</think>\n\nAdd.\n{WRONG_STDIN.replace('*', '+')}", 2)
    crashed = await rollout(problem, CRASH)
    (lesson,) = reprompts.lessons([crashed])
    assert lesson.reprompt_ids is not None
    check("crash.teacher", read(tokenizer, lesson.reprompt_ids))
    lesson, own = reprompts.lessons([crashed, right])
    assert lesson.reprompt_ids == own.reprompt_ids
    assert lesson.reprompt_ids is not None
    check("success.teacher", read(tokenizer, lesson.reprompt_ids))


@pytest.mark.parametrize("question", list(OTHERS))
def test_what_the_student_reads_of_rows_of_livecodebench(question: str, tokenizer: Tokenizer) -> None:
    text = read(tokenizer, tokenizer.chat(student_prompt(problems.load(f"{DATA}/{question}"))))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == OTHERS[question]


@pytest.mark.slow
def test_thinking_on_and_off_differ_in_the_opening_of_the_answer_alone(tokenizer: Tokenizer) -> None:
    thinking = Tokenizer.load(str(DATA / "qwen3"), enable_thinking=True)
    without, with_ = (read(one, one.chat("Q")) for one in (tokenizer, thinking))
    assert without == with_ + "<think>\n\n</think>\n\n"
