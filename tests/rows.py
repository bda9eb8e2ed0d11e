"""Rows as data sets have them: LiveCodeBench, HumanEval, MBPP, Codeforces; and where the real ones lie."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1].parent / "shared" / "data"
ROWS = DATA / "lcb_rows.jsonl"
needs_data = pytest.mark.skipif(not ROWS.is_file(), reason="there is no shared/data beside this checkout")
HUMANEVAL = DATA / "HumanEval.jsonl.gz"
STDIN = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]


def packed(text: object) -> str:
    """As LiveCodeBench stores its private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(text))).decode()


def row(**changes: object) -> dict[str, object]:
    plain: dict[str, object] = {
        "question_title": "Sum",
        "question_content": "Print the sum.",
        "platform": "atcoder",
        "question_id": "abc1_a",
        "contest_id": "abc1",
        "contest_date": "2025-02-01T00:00:00",
        "starter_code": "",
        "difficulty": "hard",
        "public_test_cases": json.dumps(STDIN),
        "private_test_cases": packed(json.dumps(STDIN * 2)),
        "metadata": "{}",
    }
    return plain | changes


SUM = "Two whole numbers $a$ and $b$ are given.\n\nInput\n\na b\n\nOutput\n\nPrint their sum, {braces} and all.\n"
TWICE = "You are given an integer n.\n\nReturn twice n.\n\n \nExample 1:\n\nInput: n = 2\nOutput: 4\n"
STARTER = "class Solution:\n    def twice(self, n: int) -> int:\n        "
STDIN_TESTS = [("1 2\n", "3\n"), ("2 2\n", "4\n"), ("0 -5\n", "-5\n"), ("10 20\n", "30\n")]
CALL_TESTS = [("2", "4"), ("0", "0"), ("-3", "-6"), ("5", "10")]


def own_row(name: str, *, public: int, function: bool = False) -> dict[str, object]:
    """A row with a statement of our own, whose first `public` tests are public."""
    cases, kind = (CALL_TESTS, "functional") if function else (STDIN_TESTS, "stdin")
    tests = [{"input": given, "output": expected, "testtype": kind} for given, expected in cases]
    asked = {"question_content": TWICE, "platform": "leetcode", "starter_code": STARTER}
    return row(
        question_title=f"Golden {name}",
        question_id=name,
        public_test_cases=json.dumps(tests[:public]),
        private_test_cases=packed(json.dumps(tests[public:])),
        metadata=json.dumps({"func_name": "twice"} if function else {}),
        **(asked if function else {"question_content": SUM}),
    )


OWN_ROWS = {
    "stdin": own_row("stdin", public=2),
    "functional": own_row("functional", public=2, function=True),
    "no-public": own_row("no-public", public=0),
    "no-private": own_row("no-private", public=4) | {"private_test_cases": "[]"},
}


def humaneval_row(**changes: object) -> dict[str, object]:
    return {
        "task_id": "HumanEval/7",
        "prompt": 'def add(numbers):\n    """Add."""\n',
        "entry_point": "add",
        "canonical_solution": "    return sum(numbers)\n",
        "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n",
    } | changes


def mbpp_row(**changes: object) -> dict[str, object]:
    return {
        "task_id": 11,
        "text": "Write a function to add numbers.",
        "code": "def add(n):\n  return sum(n)",
        "test_list": ["assert add([1, 2]) == 3", "assert add([5]) == 5"],
        "test_setup_code": "",
    } | changes


def codeforces_row(**changes: object) -> dict[str, object]:
    return {
        "id": "852/A",
        "title": "Digits",
        "description": "Add the digits.",
        "input_format": "A number.",
        "output_format": "Its sum.",
        "note": None,
        "examples": [{"input": "12\n", "output": "3\n"}],
        "official_tests": [{"input": "12\n", "output": "3\n"}, {"input": "5\n", "output": "5\n"}],
        "time_limit": 2.0,
        "memory_limit": 256.0,
        "contest_start": 1504535700,
        "rating": 2500,
        "input_mode": "stdio",
        "interaction_format": None,
        "generated_checker": None,
    } | changes


def apps_row(**changes: object) -> dict[str, object]:
    return {
        "problem_id": 7,
        "question": "Add the numbers.",
        "solutions": json.dumps(["print(1)"]),
        "input_output": json.dumps({"inputs": ["1 2\n", ["4", "5"]], "outputs": ["3\n", ["9"]]}),
        "difficulty": "interview",
        "url": "https://example.org/7",
        "starter_code": "",
    } | changes


def code_contests_row(**changes: object) -> dict[str, object]:
    return {
        "name": "1575_A. Sum",
        "description": "Add the numbers.",
        "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
        "private_tests": {"input": ["4 5\n", "1 2\n"], "output": ["9\n", "3\n"]},
        "generated_tests": {"input": ["6 7\n"], "output": ["13\n"]},
        "source": 2,
        "solutions": {"language": [2, 3], "solution": ["int main() {}", "print(3)"]},
        "time_limit": {"seconds": 2, "nanos": 500_000_000},
        "memory_limit_bytes": 256 << 20,
        "input_file": "",
        "output_file": "",
    } | changes
