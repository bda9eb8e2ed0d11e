"""Finding the program in an answer: by our rule, by the paper's and by LiveCodeBench's."""

from __future__ import annotations

import re
import textwrap
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttsd.judging.extract import extract_program


def papers_rule(answer: str) -> str | None:
    """Returns the longest fenced block, as the paper's code finds it."""
    blocks = re.findall(r"```(?:\w+)?\n(.*?)```", answer.rpartition("</think>")[2], re.DOTALL)
    return max(blocks, key=len, default=None)


def livecodebenchs_rule(answer: str) -> str | None:
    """Returns what stands between the last two lines that hold a fence."""
    lines = answer.split("\n")
    fences = [number for number, line in enumerate(lines) if "```" in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) > 1 else None


class Row(NamedTuple):
    """A completion, the program in it, and whether the two other rules find that program, too."""

    answer: str
    program: str | None
    paper: bool
    livecodebench: bool


P = "print(2 * int(input()))"
BOTH = (True, True)
DOC = "s = '''\n```\n'''\nprint(s)"
LONGER_DOC = 'def f():\n    """\n    ```\n    f()\n    ```\n    """'
TABLE = [
    # fences as they usually are
    Row(f"```python\n{P}\n```", P, *BOTH),
    Row(f"Text.\n```\n{P}\n```\nMore text.", P, *BOTH),
    Row(f"```python3 title\n{P}\n```", P, False, True),
    Row(f"``` python\n{P}\n```", P, False, True),
    Row(f"```Python\n{P}\n```", P, *BOTH),
    Row(f"```py\n{P}\n```", P, *BOTH),
    Row(f"```{{.python .numberLines}}\n{P}\n```", P, False, True),
    Row(f"```python\r\n{P}\r\n```\r\n", P, False, True),
    Row(f"```python   \n{P}\n```   ", P, False, True),
    Row("```python\nif x:\n    y\n  ```", "if x:\n    y", *BOTH),
    # of any length, and tildes
    Row(f"````python\n{P}\n````", P, *BOTH),
    Row(f"```python\n{P}\n`````", P, *BOTH),
    Row(f"~~~python\n{P}\n~~~", P, False, False),
    Row(f"~~~\n{P}\n~~~~", P, False, False),
    Row(f"`````python\ns = '''\n```\n'''\n{P}\n`````", f"s = '''\n```\n'''\n{P}", False, False),
    Row(f"````markdown\n```python\n{P}\n```\n````", P, False, False),
    Row(f"````\nThe program:\n```python\n{P}\n```\n````", P, False, False),
    Row(f"```markdown\n```python\n{P}\n```\n```", P, False, False),
    # in lists and quotes
    Row(f"1. The program:\n\n   ```python\n   {P}\n   ```", P, *BOTH),
    Row("- So:\n  ```python\n  if x:\n      y\n  ```", "if x:\n    y", *BOTH),
    Row("10. ```python\n    if x:\n        y\n    ```", "if x:\n    y", *BOTH),
    Row("\t```python\n\tif x:\n\t\ty\n\t```", "if x:\n\ty", *BOTH),
    Row("   ```python\nif x:\n    y\n   ```", "if x:\n    y", *BOTH),
    Row("> ```python\n> if x:\n>     y\n> ```", "if x:\n    y", False, False),
    Row("* a\n    * b\n\n      ```python\n      x = 1\n\n      y = 2\n      ```", "x = 1\n\ny = 2", *BOTH),
    # behind and before other text
    Row(f"Here it is: ```python\n{P}\n```", P, *BOTH),
    Row(f"Here it is: ```\n{P}\n```", P, *BOTH),
    Row(f"```python\n{P}```", P, True, False),
    Row(f"```python\nx = 1\n{P}  ```  ", f"x = 1\n{P}", True, False),
    Row(f"```python\n{P}``` That is all.", P, True, False),
    Row(f"```python\n{P}\n``` That is all.", P, *BOTH),
    Row(f"```python\n{P}  # done```", f"{P}  # done", True, False),
    Row(f"\ufeff```python\n{P}\n```", P, *BOTH),
    Row(f"<|im_start|>```python\n{P}\n```<|im_end|>", P, *BOTH),
    Row(f"Use ```sys.stdin``` for speed.\n```python\n{P}\n```", P, *BOTH),
    # fences in strings and comments
    Row("```python\nprint('```')\n```", "print('```')", False, False),
    Row(f"```python\n{DOC}\n```", DOC, False, False),
    Row(f"```python\n{LONGER_DOC}\n```", LONGER_DOC, False, False),
    Row(f"```python\n# ```\n# old\n# ```\n{P}\n```", f"# ```\n# old\n# ```\n{P}", False, False),
    Row(f"```python\nx = 'it''s'  # don't\n{P}\n```", f"x = 'it''s'  # don't\n{P}", *BOTH),
    Row(f"```python\n'''not closed\n{P}\n```\nText.", f"'''not closed\n{P}", *BOTH),
    Row(f"```python\n'''a\n```\n```python\n{P}; x = 11\n```", f"{P}; x = 11", *BOTH),
    # which block
    Row("```python\na\n```\n```python\nlonger\n```\n```python\nb\n```", "longer", True, False),
    Row("```python\na\n```\n```python\nb\n```", "b", False, True),
    Row(f"```python\n{P}\n```\n```bash\npython3 solution.py < input.txt > output.txt\n```", P, False, False),
    Row(f"```python\n{P}\n```\n```text\n{'6 ' * 40}\n```", P, False, False),
    Row(f"```python\n{P}\n```\nIt prints:\n```\n{'6 ' * 40}\n```", P, False, False),
    Row(f"```\n{P}\n```\n```cpp\n{'int x; ' * 20}\n```", P, False, False),
    Row("```cpp\nint x;\n```", "int x;", *BOTH),
    Row(f"```python\ndraft\n```python\n{P}\n```", P, False, True),
    Row("```python\nclosed\n```\n```python\nnot closed, and longer", "closed", True, False),
    # no program
    Row(P, None, *BOTH),
    Row(f"```python\n{P}", None, *BOTH),
    Row("```python\n```", None, *BOTH),
    Row("```\n \n```", None, *BOTH),
    Row("`print(1)` and ```print(2)```", None, *BOTH),
    # thinking
    Row(f"<think>\n```python\na much longer draft of a program\n```\n</think>\n```python\n{P}\n```", P, *BOTH),
    Row(f"opened by the template</think>\n```python\n{P}\n```", P, *BOTH),
    Row(f"</think>\n```python\n{P}\n```\nI closed my `</think>` tag above.", P, False, True),
    Row(f"```python\n{P}\n```\nThere was no </think> to write.", P, False, True),
    Row(f"<think>\n```python\n{P}\n```", None, False, False),
    Row("<think>\n```\nx\n```\n</think>", None, True, False),
    Row(f"<think>A `</think>` in thinking.\n```python\ndraft\n```\n</think>\n```python\n{P}\n```", P, *BOTH),
    Row(f"```python\n{P}\n```\n<think>\n```python\nsecond thoughts, cut off\n```", P, False, False),
]


def same(found: str | None, program: str | None) -> bool:
    """Compares programs but for blank lines around them and what CommonMark takes off an indented block."""
    return textwrap.dedent(found or "").strip() == (program or "")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: repr(row.answer)[:60])
def test_the_program_is_found_where_commonmark_has_it(row: Row) -> None:
    program = row.program
    found = extract_program(row.answer)
    assert (found.strip() if found else None) == program
    assert not found or found[0] not in " \t"
    assert same(papers_rule(row.answer), program) is row.paper
    assert same(livecodebenchs_rule(row.answer), program) is row.livecodebench


def test_the_table_is_large_enough_to_say_something() -> None:
    assert len(TABLE) >= 60


@given(
    st.lists(st.sampled_from(["```", "python", "\n", "x", " ", "<think>", "</think>", "`", "'''", "#"])).map("".join)
)
def test_every_line_of_what_is_found_stands_in_the_answer(answer: str) -> None:
    program = extract_program(answer)
    assert program is None or program.strip()
    assert all(line in answer for line in (program or "").split("\n"))
