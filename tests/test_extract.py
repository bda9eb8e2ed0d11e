"""Finding the program in an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttsd.judging.extract import extract_program


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("```python\nprint(1)\n```", "print(1)\n"),
        ("Text.\n```\nprint(1)\n```\nMore text.", "print(1)\n"),
        ("```python3 title\nprint(1)\n```", "print(1)\n"),
        ("```python\na\n```\n```python\nlonger\n```\n```python\nb\n```", "longer\n"),
        ("```python\na\n```\n```python\nb\n```", "b\n"),
        ("<think>\n```python\ndraft of a program\n```\n</think>\n```python\nx\n```", "x\n"),
        ("```python\nif x:\n    y\n  ```", "if x:\n    y\n"),
        ("```python\nprint('```')\n```", "print('```')\n"),
        ("```python\nclosed\n```\n```python\nnot closed, and longer", "closed\n"),
        ("```python\r\nprint(1)\r\n```", "print(1)\r\n"),
    ],
)
def test_the_longest_closed_block_is_the_program(answer: str, program: str) -> None:
    assert extract_program(answer) == program


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "print(1)",
        "```python\nprint(1)",
        "```python\n```",
        "```\n \n```",
        "`print(1)`",
        "<think>\n```\nx\n```\n</think>",
    ],
)
def test_without_a_closed_block_there_is_no_program(answer: str) -> None:
    assert extract_program(answer) is None


@given(st.lists(st.sampled_from(["```", "python", "\n", "x", " ", "<think>", "</think>", "`"])).map("".join))
def test_whatever_is_found_stands_in_the_answer(answer: str) -> None:
    program = extract_program(answer)
    assert program is None or (program.strip() and program in answer)
