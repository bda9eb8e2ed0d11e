"""What Qwen3 reads, word for word: student's and teacher's prompts through its real tokenizer and template.

The rows are of LiveCodeBench's schema with statements of our own, one for each kind of row; the feedback is what the
real judge says of a wrong program in the real sandbox. Of LiveCodeBench's own rows only hashes are kept here.
`TTSD_WRITE_GOLDEN=1 pytest tests/test_golden_prompts.py` writes the files.
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
from tests.fakes import ByteTokenizer, completion
from tests.rows import DATA, OWN_ROWS
from ttsd.backbone import Tokenizer
from ttsd.config import Config
from ttsd.examples import self_teacher
from ttsd.judging.judge import Judge
from ttsd.nouns import Attempt, History, Problem
from ttsd.prompts import PromptWriter, question_text

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
    file.write_text("".join(json.dumps(one) + "\n" for one in OWN_ROWS.values()))
    return file


def read(tokenizer: Tokenizer, ids: tuple[int, ...]) -> str:
    """All of it, special tokens included."""
    return "".join(tokenizer.whole_text([token]) for token in ids)


def check(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("TTSD_WRITE_GOLDEN"):
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8"), f"{file.name} differs"


async def attempt(problem: Problem, answer: str, number: int = 1) -> Attempt:
    async with Sandbox(slots=1) as sandbox:
        judge = Judge(sandbox, problem, split(problem, problem.default_split, 0), limits=Limits())
        program, verdict = await judge(completion(answer))
    question = PromptWriter(problem, ByteTokenizer(), Config().changed("sampling", max_prompt_len=9999)).question
    return Attempt(number, 1, 1, question, completion(answer), program, verdict)


@pytest.mark.parametrize("name", list(OWN_ROWS))
async def test_what_student_and_teacher_read(name: str, rows: Path, tokenizer: Tokenizer) -> None:
    problem = problems.load(f"{rows}#{name}")
    writer = PromptWriter(problem, tokenizer, Config())
    check(f"{name}.student", read(tokenizer, writer.question.token_ids))
    wrong = await attempt(problem, WRONG_CALL if problem.entry_point else WRONG_STDIN)
    (example,) = self_teacher(writer, [wrong], History())
    assert example.teacher is not None
    check(f"{name}.teacher", read(tokenizer, example.teacher.token_ids))


async def test_what_the_teacher_reads_after_a_success_and_after_a_crash(rows: Path, tokenizer: Tokenizer) -> None:
    problem = problems.load(f"{rows}#stdin")
    writer = PromptWriter(problem, tokenizer, Config())
    right = await attempt(problem, f"<think>\nhm\n</think>\n\nAdd.\n{WRONG_STDIN.replace('*', '+')}", 2)
    crashed = await attempt(problem, CRASH)
    (example,) = self_teacher(writer, [crashed], History())
    assert example.teacher is not None
    check("crash.teacher", read(tokenizer, example.teacher.token_ids))
    example, own = self_teacher(writer, [crashed, right], History())
    assert example.teacher == own.teacher
    assert example.teacher is not None
    check("success.teacher", read(tokenizer, example.teacher.token_ids))


@pytest.mark.parametrize("question", list(OTHERS))
def test_what_the_student_reads_of_rows_of_livecodebench(question: str, tokenizer: Tokenizer) -> None:
    text = read(tokenizer, tokenizer.chat(question_text(problems.load(f"{DATA}/{question}"))))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == OTHERS[question]


@pytest.mark.slow
def test_thinking_on_and_off_differ_in_the_opening_of_the_answer_alone(tokenizer: Tokenizer) -> None:
    thinking = Tokenizer.load(str(DATA / "qwen3"), enable_thinking=True)
    without, with_ = (read(one, one.chat("Q")) for one in (tokenizer, thinking))
    assert without == with_ + "<think>\n\n</think>\n\n"
