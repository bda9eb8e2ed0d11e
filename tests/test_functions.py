"""Function questions: long integers, Python literals, LeetCode's nodes, results in place, types that count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import problems
from problems import Case, Problem, livecodebench
from problems.signature import Signature, signature
from problems.split import split
from sandbox import Sandbox
from tests.folders import made
from tests.rows import row
from ttsd.judging.judge import Judge
from ttsd.nouns import Verdict

METHOD = "class Solution:\n    def {name}(self, {arguments}) -> {returns}:\n        "


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def box() -> AsyncIterator[Sandbox]:
    async with Sandbox(slots=1) as running:
        yield running


async def judged(problem: Problem, program: str, box: Sandbox) -> Verdict:
    return await Judge(box, problem, split(problem, "all", 0)).program(program)


def question(given: str, expected: str, starter_code: str = "", **more: object) -> Problem:
    return Problem("f", "F", "Do it.", (Case(given, expected),), "f", starter_code, **more)  # type: ignore[arg-type]


def method(arguments: str, returns: str) -> str:
    return METHOD.format(name="f", arguments=arguments, returns=returns)


@pytest.mark.parametrize(
    ("starter_code", "expected", "found"),
    [
        ("", "1", Signature()),
        ("def f(a, b):\n    ", "1", Signature()),
        (method("a: int, b: Dict[str, int]", "List[int]"), "[1]", Signature()),
        (method("head: Optional[ListNode]", "Optional[ListNode]"), "[1]", Signature(("ListNode",), "ListNode")),
        (method("lists: List[Optional[ListNode]]", "ListNode"), "[1]", Signature(("[ListNode",), "ListNode")),
        (method("n: int", "List[Optional[TreeNode]]"), "[[1]]", Signature(("",), "[TreeNode")),
        (method('root: "TreeNode", k: int = 3', "int"), "1", Signature(("TreeNode", ""), "")),
        (method("root: TreeNode | None", "bool"), "true", Signature(("TreeNode",), "")),
        (method("nums: List[int], k: int", "None"), "[1]", Signature(("", ""), "argument")),
        (method("nums: List[int]", "None"), "null", Signature()),
        ("# class ListNode:\n#     def __init__(self, val=0): ...\n" + method("head: ListNode", "int"), "1",
         Signature(("ListNode",), "")),
        ("def f(" + "(" * 500, "1", Signature()),
    ],
)  # fmt: skip
def test_nodes_are_known_by_the_starter_code(starter_code: str, expected: str, found: Signature) -> None:
    assert signature(starter_code, "f", [expected]) == found


REVERSED = """
class Solution:
    def f(self, head):
        last = None
        while head:
            head.next, last, head = last, head, head.next
        return last
"""
MERGED = """
class Solution:
    def f(self, lists: List[Optional[ListNode]]) -> Optional[ListNode]:
        values = []
        for node in lists:
            while node:
                values.append(node.val)
                node = node.next
        first = None
        for value in sorted(values, reverse=True):
            first = ListNode(value, first)
        return first
"""
MIRRORED = """
class TreeNode:
    def __init__(self, x):
        self.val, self.left, self.right = x, None, None
class Solution:
    def f(self, root: TreeNode) -> TreeNode:
        if root:
            root.left, root.right = self.f(root.right), self.f(root.left)
        return root
"""
DEPTH = "def f(root):\n    return 1 + max(f(root.left), f(root.right)) if root else 0"
ROTATED = "class Solution:\n    def f(self, nums, k):\n        nums[:] = nums[-k:] + nums[:-k]"
LONELY = "def f(n):\n    return [TreeNode(k) for k in range(n)] + [None]"
SPLIT = "def f(head):\n    return [head, None]"


@pytest.mark.parametrize(
    ("program", "arguments", "returns", "given", "expected"),
    [
        (REVERSED, "head: Optional[ListNode]", "Optional[ListNode]", "[1, 2, 3]", "[3, 2, 1]"),
        (REVERSED, "head: Optional[ListNode]", "Optional[ListNode]", "[]", "[]"),
        (MERGED, "lists: List[Optional[ListNode]]", "Optional[ListNode]", "[[1, 4], [], [2, 3]]", "[1, 2, 3, 4]"),
        (MERGED, "lists: List[Optional[ListNode]]", "Optional[ListNode]", "[]", "[]"),
        (MIRRORED, "root: Optional[TreeNode]", "Optional[TreeNode]", "[1, 2, 3, null, 4]", "[1, 3, 2, null, null, 4]"),
        (MIRRORED, "root: Optional[TreeNode]", "Optional[TreeNode]", "[]", "[]"),
        (DEPTH, "root: Optional[TreeNode]", "int", "[1, null, 2, 3]", "3"),
        (ROTATED, "nums: List[int], k: int", "None", "[1, 2, 3]\n1", "[3, 1, 2]"),
        (LONELY, "n: int", "List[Optional[TreeNode]]", "2", "[[0], [1], []]"),
        (SPLIT, "head: ListNode", "List[Optional[ListNode]]", "[1, 2]", "[[1, 2], []]"),
        ("def f(head):\n    head.next = None", "head: ListNode", "None", "[1, 2]", "[1]"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_nodes_and_results_in_place(
    box: Sandbox, program: str, arguments: str, returns: str, given: str, expected: str
) -> None:
    problem = question(given, expected, method(arguments, returns))
    assert (await judged(problem, program, box)).accepted
    assert not (await judged(problem, "def f(*a):\n    return [7]", box)).accepted


@pytest.mark.parametrize("digits", [4000, 20_000, 60_000])
@pytest.mark.asyncio(loop_scope="module")
async def test_integers_of_any_length(box: Sandbox, digits: int) -> None:
    number = "7" * digits
    assert (await judged(question(number, number), "def f(n): return n", box)).accepted
    assert not (await judged(question(number, number), "def f(n): return n + 1", box)).accepted


@pytest.mark.asyncio(loop_scope="module")
async def test_integers_of_any_length_in_every_kind_of_cases(box: Sandbox, tmp_path: Path) -> None:
    number = "7" * 5000
    folders = {
        "toml": {"cases__toml": f"[[case]]\nargs = [{number}]\nexpected = {number}\n"},
        "files": {"cases___1__in": f"{number}\n", "cases___1__out": number},
        "tests": {
            "tests__py": f"def test():\n    assert f({number}) == {number}\n    assert f(7 ** 6000) == 7 ** 6000\n"
        },
    }
    for name, files in folders.items():
        path = made(tmp_path / name, problem__toml='entry_point = "f"', **files)
        assert (await judged(problems.load(str(path)), "def f(n): return n", box)).accepted


@pytest.mark.asyncio(loop_scope="module")
async def test_arguments_that_json_can_not_carry(box: Sandbox, tmp_path: Path) -> None:
    tests = "def test():\n    assert f((1, 2), {3}, {4: (5,)}, [set()], frozenset({6})) == [[1, 2], 1, True]\n"
    path = made(tmp_path, tests__py=tests)
    problem = problems.load(str(path))
    assert problem.cases[0].input == "(1, 2)\n{3}\n{4: (5,)}\n[set()]\n{6}"
    program = "def f(a, b, c, d, e): return a, len(b), (c, d, e) == ({4: (5,)}, [set()], {6}) and type(a) is tuple"
    assert (await judged(problem, program, box)).accepted


@pytest.mark.asyncio(loop_scope="module")
async def test_is_true_means_true(box: Sandbox, tmp_path: Path) -> None:
    tests = "def test():\n    assert f(1) is True\n    assert f(0) is False\n    assert f(None) is None\n"
    problem = problems.load(str(made(tmp_path, tests__py=tests)))
    assert (await judged(problem, "def f(n): return None if n is None else n == 1", box)).accepted
    assert (await judged(problem, "def f(n): return n", box)).visible_passed == 1
    equal = problems.load(str(made(tmp_path / "equal", tests__py="def test():\n    assert f(1) == True\n")))
    assert (await judged(equal, "def f(n): return 1", box)).accepted


@pytest.mark.asyncio(loop_scope="module")
async def test_a_row_of_leetcode_with_nodes(box: Sandbox) -> None:
    tests = '[{"input": "[1,2,3]", "output": "[3,2,1]", "testtype": "functional"}]'
    starter = method("head: Optional[ListNode]", "Optional[ListNode]")
    problem = livecodebench.problem(
        row(starter_code=starter, metadata='{"func_name": "f"}', public_test_cases=tests, private_test_cases=tests), "q"
    )
    assert (await judged(problem, REVERSED, box)).accepted
