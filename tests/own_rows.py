"""Rows of our own in LiveCodeBench's schema, one of each kind."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any

SUM = "Two whole numbers $a$ and $b$ are given.\n\nInput\n\na b\n\nOutput\n\nPrint their sum, {braces} and all.\n"
TWICE = "You are given an integer n.\n\nReturn twice n.\n\n \nExample 1:\n\nInput: n = 2\nOutput: 4\n"
STARTER = "class Solution:\n    def twice(self, n: int) -> int:\n        "
STDIN_TESTS = [("1 2\n", "3\n"), ("2 2\n", "4\n"), ("0 -5\n", "-5\n"), ("10 20\n", "30\n")]
CALL_TESTS = [("2", "4"), ("0", "0"), ("-3", "-6"), ("5", "10")]


def listed(cases: list[tuple[str, str]], testtype: str) -> str:
    return json.dumps([{"input": given, "output": expected, "testtype": testtype} for given, expected in cases])


def packed(text: str) -> str:
    """As LiveCodeBench packs private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(text))).decode()


def row(name: str, *, public: int, function: bool = False, packing: bool = True) -> dict[str, Any]:
    cases, testtype = (CALL_TESTS, "functional") if function else (STDIN_TESTS, "stdin")
    private = listed(cases[public:], testtype)
    return {
        "question_title": f"Golden {name}",
        "question_content": TWICE if function else SUM,
        "platform": "leetcode" if function else "atcoder",
        "question_id": name,
        "contest_id": "golden",
        "contest_date": "2025-02-01T00:00:00",
        "starter_code": STARTER if function else "",
        "difficulty": "easy",
        "public_test_cases": listed(cases[:public], testtype),
        "private_test_cases": packed(private) if packing else private,
        "metadata": json.dumps({"func_name": "twice"} if function else {}),
    }


ROWS = {
    "stdin": row("stdin", public=2),
    "functional": row("functional", public=2, function=True),
    "no-public": row("no-public", public=0),
    "no-private": row("no-private", public=4, packing=False),
}
