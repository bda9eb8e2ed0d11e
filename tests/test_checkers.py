"""Checkers: built in, of the user's own, published with a question; and points for groups of cases."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import problems
from problems import Case, Problem, codeforces
from problems.checker import Checker
from problems.problem import Points, several_answers_warning
from problems.split import split
from sandbox import Sandbox
from tests.fakes import ScriptedSandbox, outcome
from tests.folders import made, refusal
from tests.rows import codeforces_row
from ttsd.errors import UserError
from ttsd.judging.judge import Judge, judge_for
from ttsd.judging.same_output import same_output, same_result
from ttsd.nouns import Status, Verdict

WITHIN = Checker("floats", 1e-6, 1e-6)
CASES = '[[case]]\ninput = "6\\n"\nexpected = "2\\n"\n[[case]]\ninput = "9\\n"\nexpected = "3\\n"\n'
DIVISOR = """
def check(input, output, expected):
    if not output.strip().isdigit():
        return 0, f"{output.strip()!r} is no number"
    n, divisor = int(input), int(output)
    return 1 < divisor < n and n % divisor == 0
"""


@pytest.mark.parametrize(
    ("kind", "printed", "expected", "right"),
    [
        ("exact", "a  b\n", "a  b", True),
        ("exact", "a b\n", "a  b\n", False),
        ("exact", "1.0", "1", False),
        ("exact", " 1", "1", False),
        ("case-insensitive", "YES\nno", "Yes\nNO\n", True),
        ("case-insensitive", "YES", "No", False),
        ("case-insensitive", "1.0 2", "1 2.0", True),
        ("unordered", "3\n1\n2", "1\n2\n3", True),
        ("unordered", "1.0\n2", "2\n1", True),
        ("unordered", "1\n1\n2", "1\n2\n2", False),
        ("unordered", "1 2\n3 4", "3 4\n1 2", True),
        ("unordered", "2 1\n4 3", "1 2\n3 4", False),
        ("unordered", "3 1 2", "1 2 3", True),
        ("unordered", "3\n2 3 1", "3\n1 2 3", True),
        ("unordered", "3\n2 3 3", "3\n1 2 3", False),
        ("unordered", "b\na\nnan", "nan\na\nb", True),
        ("tokens", "2\n1", "1\n2", False),
    ],
)
def test_built_in_rules_of_output(kind: str, printed: str, expected: str, right: bool) -> None:
    assert same_output(printed.encode(), expected, Checker(kind)) is right  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("printed", "expected", "right"),
    [
        ("0.3333333333333333", "0.333333333333333", True),
        ("0.333334", "0.333333", True),
        ("0.33334", "0.333333", False),
        ("1000001", "1000000", True),
        ("1000002", "1000000", False),
        ("0.0000005", "0", True),
        ("1e-5", "0", False),
        ("YES 0.5", "YES\n0.5000001", True),
        ("Yes 0.5", "YES 0.5", False),
        ("1 2", "1", False),
        ("inf", "inf", True),
        ("inf", "1e308", False),
        ("nan", "0.5", False),
        ("nan", "nan", True),
        ("9" * 40, "9" * 39 + "8", True),
        ("9" * 5000, "8" * 5000, False),
        ("1e999999999999", "1", False),
        ("x", "1", False),
        ("", "", True),
    ],
)
def test_numbers_may_differ_by_the_tolerance(printed: str, expected: str, right: bool) -> None:
    assert same_output(printed.encode(), expected, WITHIN) is right


@pytest.mark.parametrize(
    ("absolute", "relative", "printed", "right"),
    [(0.01, 0, "100.5", False), (0, 0.01, "100.5", True), (0.5, 0, "100.5", True), (0, 0.001, "100.5", False)],
)
def test_absolute_and_relative_tolerances(absolute: float, relative: float, printed: str, right: bool) -> None:
    assert same_output(printed.encode(), "100", Checker("floats", absolute, relative)) is right


@pytest.mark.parametrize(
    ("kind", "returned", "expected", "right"),
    [
        ("exact", "true", "1", False),
        ("exact", "1.0", "1", False),
        ("exact", '[{"a": [1]}]', '[{"a": [1]}]', True),
        ("tokens", "true", "1", True),
        ("case-insensitive", '["YES"]', '["yes"]', True),
        ("case-insensitive", '["YES", 1]', '["yes", 2]', False),
        ("unordered", "[[3, 4], [1, 2]]", "[[1, 2], [3, 4]]", True),
        ("unordered", "[[2, 1]]", "[[1, 2]]", False),
        ("unordered", '[1.0, true, "a"]', '["a", 1, 1]', True),
        ("unordered", "[1, 1]", "[1]", False),
        ("unordered", "3", "3.0", True),
    ],
)
def test_built_in_rules_of_results(kind: str, returned: str, expected: str, right: bool) -> None:
    assert same_result(returned.encode(), expected, Checker(kind)) is right  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("returned", "expected", "right"),
    [
        ("0.33333333", "0.3333333", True),
        ("[0.1, [0.30000000000000004]]", "[0.1, [0.3]]", True),
        ('{"a": 0.2500001}', '{"a": 0.25}', True),
        ("[0.1]", "[0.1, 0.2]", False),
        ("2", "2.0000001", True),
        ("true", "1.0000001", False),
        ('"0.1"', "0.1", False),
        ("null", "0", False),
        ("NaN", "0.1", False),
        (f"1{'0' * 5000}", f"1{'0' * 4999}1", True),
        (f"1{'0' * 5000}", "0.5", False),
    ],
)
def test_results_may_differ_by_the_tolerance_at_every_depth(returned: str, expected: str, right: bool) -> None:
    assert same_result(returned.encode(), expected, WITHIN) is right


lines = st.lists(st.sampled_from(["1", "1.0", "2 3", "a", "nan", ""]), max_size=5)


@given(lines, st.randoms())
def test_every_order_of_the_same_lines_is_right(parts: list[str], random: object) -> None:
    shuffled = [*parts]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    expected = "x\n" + "\n".join(parts) + "\nx"
    assert same_output(f"x\n{chr(10).join(shuffled)}\nx".encode(), expected, Checker("unordered"))


@pytest.mark.parametrize("checker", ["exact", "floats", "case-insensitive", "unordered", "tokens"])
@given(st.binary(max_size=60), st.text(max_size=20))
def test_hostile_bytes_are_never_more_than_wrong(checker: str, data: bytes, expected: str) -> None:
    assert same_output(data, expected, Checker(checker)) in (True, False)  # type: ignore[arg-type]
    assert same_result(data, json.dumps(expected), Checker(checker)) in (True, False)  # type: ignore[arg-type]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(slots=1) as running:
        yield running


async def judged(problem: Problem, program: str, sandbox: Sandbox, comparison: str = "question") -> Verdict:
    everything = split(problem, problem.default_split, 0)
    async with judge_for(problem, everything, sandbox, comparison=comparison) as judge:  # type: ignore[arg-type]
        assert isinstance(judge, Judge)
        return await judge.program(program)


def folder(path: Path, settings: str, **files: str) -> Problem:
    return problems.load(str(made(path, problem__toml=settings, **({"cases__toml": CASES} | files))))


async def test_a_tolerance_is_a_checker(tmp_path: Path, sandbox: Sandbox) -> None:
    cases = '[[case]]\ninput = "1\\n"\nexpected = "0.333333\\n"\n'
    for settings in ("tolerance = 1e-6", 'checker = "floats"\nabs = 1e-6\n', 'checker = "floats"'):
        problem = folder(tmp_path, settings, cases__toml=cases)
        assert (await judged(problem, "print(int(input()) / 3)", sandbox)).accepted
        assert not (await judged(problem, "print(0.334)", sandbox)).accepted


async def test_livecodebenchs_rule_holds_whatever_the_statement_grants(tmp_path: Path, sandbox: Sandbox) -> None:
    cases = '[[case]]\ninput = "1\\n"\nexpected = "0.333333333333\\n"\n'
    statement = "# Third\n\nPrint n / 3. An absolute or relative error of at most 10^{-6} is accepted."
    problem = folder(tmp_path, "", cases__toml=cases, statement__md=statement)
    program = "print(int(input()) / 3)"
    assert (await judged(problem, program, sandbox)).accepted
    assert not (await judged(problem, program, sandbox, "livecodebench")).accepted
    own = folder(tmp_path, "tolerance = 1e-6", cases__toml=cases, statement__md=statement)
    assert (await judged(own, program, sandbox, "livecodebench")).accepted, "the question's author decides"


async def test_a_checker_of_the_users_own_judges_outputs_and_says_why(tmp_path: Path, sandbox: Sandbox) -> None:
    problem = folder(tmp_path, 'checker = "check.py"', check__py=DIVISOR)
    assert not problem.several_answers
    assert (await judged(problem, "n = int(input())\nprint(n // 2 if n % 2 == 0 else 3)", sandbox)).accepted
    verdict = await judged(problem, "print('x' if input() == '9' else 2)", sandbox)
    assert (verdict.status, verdict.first_failure, verdict.visible_fraction) == (Status.WRONG_ANSWER, 1, 0.5)
    assert verdict.feedback == "Wrong Answer\nInput:\n9\nOutput:\nx\n'x' is no number"
    verdict = await judged(problem, "print(1)", sandbox)
    assert "Expected:\n2" in verdict.feedback, "without a word from the checker"
    assert not (await judged(problem, "import sys; sys.stdout.buffer.write(b'\\xff')", sandbox)).accepted


async def test_a_checker_gets_a_functions_values(tmp_path: Path, sandbox: Sandbox) -> None:
    check = (
        "def check(input, output, expected):\n    return sorted(output) == sorted(input[0]) and expected == [1, 2]\n"
    )
    cases = "[[case]]\nargs = [[2, 1]]\nexpected = [1, 2]\n"
    problem = folder(tmp_path, 'entry_point = "f"\nchecker = "check.py"', cases__toml=cases, check__py=check)
    assert (await judged(problem, "def f(a): return a", sandbox)).accepted
    assert not (await judged(problem, "def f(a): return [a]", sandbox)).accepted
    assert not (await judged(problem, "def f(a): return float('nan')", sandbox)).accepted


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise KeyError('colour')", "KeyError: 'colour'"),
        ("return None", "neither a score"),
        ("return float('inf')", "not finite"),
        ("import sys; sys.exit(3)", r"sys\.exit\(3\)"),
        ("import os; print('last words', flush=True); os._exit(3)", "exit status 3; it printed 'last words'"),
    ],
)
async def test_a_broken_checker_is_the_users_mistake(tmp_path: Path, sandbox: Sandbox, body: str, said: str) -> None:
    check = f"def check(input, output, expected):\n    {body}\n"
    problem = folder(tmp_path, 'checker = "check.py"', check__py=check)
    with pytest.raises(UserError, match=said) as caught:
        await judged(problem, "print(2)", sandbox)
    assert "on the output '2\\n'; correct" in str(caught.value)


async def test_a_score_in_between_is_partial_credit(tmp_path: Path, sandbox: Sandbox) -> None:
    check = "def check(input, output, expected):\n    return (0.5, 'half') if output.strip() == '1' else 1\n"
    problem = folder(tmp_path, 'checker = "check.py"', check__py=check)
    verdict = await judged(problem, "print(1 if input() == '6' else 2)", sandbox)
    assert (verdict.accepted, verdict.visible_passed) == (False, 1)
    assert verdict.visible_fraction == pytest.approx(0.75)


PUBLISHED = """
import sys
def main():
    given, right, printed = (open(path).read().split() for path in sys.argv[1:4])
    n = int(given[0])
    print(int(len(printed) == 1 and 1 < int(printed[0]) < n and n % int(printed[0]) == 0))
if __name__ == "__main__":
    main()
"""


async def test_a_published_checker_runs_in_the_sandbox(tmp_path: Path, sandbox: Sandbox) -> None:
    tests = [{"input": f"{n}\n", "output": f"{d}\n"} for n, d in ((9, 3), (15, 5), (35, 7), (77, 7))]
    row = codeforces_row(
        examples=[{"input": "6\n", "output": "2\n"}], official_tests=tests, generated_checker=PUBLISHED
    )
    problem = codeforces.problem(row, "codeforces:1/A")
    assert (problem.comparison.kind, problem.several_answers) == ("published", False)
    right = "n = int(input())\nprint(max(d for d in range(2, n) if n % d == 0))"
    verdict = await judged(problem, right, sandbox)
    assert (verdict.accepted, verdict.visible_passed, verdict.hidden_passed) == (True, 3, 2)
    for wrong in ("print(1)", "print('x')", "print()", "import os; os._exit(0)", "print(2, 3)"):
        verdict = await judged(problem, wrong, sandbox)
        assert (verdict.status, verdict.first_failure) == (Status.WRONG_ANSWER, 0)
    verdict = await judged(problem, "n = int(input())\nprint(2 if n == 6 else 1 / 0)", sandbox)
    assert (verdict.status, verdict.visible_passed) == (Status.WRONG_ANSWER if False else Status.RUNTIME_ERROR, 1)
    assert "ZeroDivisionError" in verdict.feedback


async def test_a_published_checker_can_reach_no_file_and_can_not_be_reached(sandbox: Sandbox) -> None:
    spy = "import os\ntry:\n    os.listdir('/')\n    print(0)\nexcept OSError:\n    print(1)\n"
    problem = codeforces.problem(codeforces_row(generated_checker=spy), "codeforces:1/A")
    assert (await judged(problem, "print(3)", sandbox)).accepted
    never = codeforces.problem(codeforces_row(generated_checker="while True: pass"), "codeforces:1/A")
    assert not (await judged(never, "print(3)", ScriptedCheckers())).accepted  # type: ignore[arg-type]


class ScriptedCheckers(ScriptedSandbox):
    """Says 0 of every output that a checker is asked about."""

    def __init__(self) -> None:
        super().__init__(lambda source, _: outcome("0" if "correct_output.txt" in source else "3"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('checker = "flots"', "did you mean 'floats'?"),
        ('checker = "banana"', "give one of exact, tokens"),
        ('checker = "absent.py"', "there is no"),
        ('checker = "exact"\ntolerance = 0.1', 'tolerance, which is for checker = "floats"'),
        ('checker = "floats"\ntolerance = 0.1\nabs = 0.1', "leave tolerance"),
        ("tolerance = -1", "above zero"),
        ("exact = true", 'write checker = "exact"'),
        ("points = [1]", "[[points]]"),
        ('[[points]]\ncases = ["9"]\npoints = 1', "no such case"),
        ("[[points]]\ncases = [0]\npoints = -1", "points above zero"),
    ],
)
def test_settings_that_grade_nothing_are_refused(tmp_path: Path, settings: str, said: str) -> None:
    assert said in refusal(made(tmp_path, problem__toml=settings, cases__toml=CASES))


def test_points_name_cases_in_every_form(tmp_path: Path) -> None:
    numbered = folder(tmp_path / "a", "[[points]]\ncases = [0]\npoints = 2\n[[points]]\ncases = [0, 1]\npoints = 3\n")
    assert numbered.points == (Points((0,), 2.0), Points((0, 1), 3.0))
    files = {f"cases___{name}__{end}": "1" for name in ("big-1", "small-1", "small-2") for end in ("in", "out")}
    path = made(tmp_path / "b", problem__toml='[[points]]\ncases = ["small-*"]\npoints = 1\n', **files)
    problem = problems.load(str(path))
    assert [problem.points[0].cases, len(problem.cases)] == [(1, 2), 3]
    tests = "def test_a():\n    assert f(1) == 1\n    assert f(2) == 2\ndef test_b():\n    assert f(3) == 3\n"
    path = made(tmp_path / "c", problem__toml='[[points]]\ncases = ["test_a"]\npoints = 1\n', tests__py=tests)
    assert problems.load(str(path)).points[0].cases == (0, 1)


def graded(*points: Points) -> Problem:
    cases = tuple(Case(str(number), str(number)) for number in range(5))
    return Problem("p", "P", "Copy it.", cases, points=points)


async def fraction(problem: Problem, visible: tuple[int, ...], **wrong: str) -> tuple[float, list[str], Status]:
    """Returns the visible fraction of a program, the inputs that it ran on, and the status."""
    answers = {key[1:]: outcome("no") if value == "wrong" else outcome("", value) for key, value in wrong.items()}  # type: ignore[arg-type]
    sandbox = ScriptedSandbox(lambda _, given: answers.get(given) or outcome(given))
    hidden = tuple(number for number in range(5) if number not in visible)
    verdict = await Judge(sandbox, problem, replace(split(problem, "all", 0), visible=visible, hidden=hidden)).program(
        "p"
    )
    return verdict.visible_fraction, [given for _, given in sandbox.ran], verdict.status


async def test_points_are_earned_by_groups_that_pass_whole() -> None:
    problem = graded(Points((0, 1), 30), Points((2, 3), 20), Points((4,), 50))
    everything = (0, 1, 2, 3, 4)
    assert await fraction(problem, everything) == (1.0, list("01234"), Status.ACCEPTED)
    assert await fraction(problem, everything, c0="wrong") == (0.7, list("0234"), Status.WRONG_ANSWER)
    share, ran, status = await fraction(problem, everything, c1="error", c2="cpu_limit")
    assert (share, ran, status) == (0.5, list("0124"), Status.RUNTIME_ERROR)
    assert (await fraction(problem, everything, c0="wrong", c3="wrong", c4="wrong"))[0] == 0.0


async def test_points_of_hidden_cases_are_no_part_of_the_visible_fraction() -> None:
    problem = graded(Points((0, 1), 30), Points((2, 3), 10), Points((4,), 60))
    assert (await fraction(problem, (0, 1, 2), c0="wrong"))[0] == pytest.approx(0.25)
    share, ran, status = await fraction(problem, (0, 1, 2), c3="wrong")
    assert (share, ran, status) == (1.0, list("0123"), Status.WRONG_ANSWER)


async def test_a_case_without_points_earns_none_and_must_pass() -> None:
    problem = graded(Points((0,), 1))
    assert await fraction(problem, (0, 1, 2, 3, 4), c4="wrong") == (1.0, list("01234"), Status.WRONG_ANSWER)
    assert (await fraction(problem, (0, 1, 2, 3, 4), c1="wrong"))[1] == list("01")


def test_one_line_warns_of_questions_with_several_right_answers() -> None:
    plain = Problem("p", "P", "Print the sum.", (Case("1", "1"),))
    several = [replace(plain, name=f"q{n}", statement="If there are several, print any.") for n in range(5)]
    assert several_answers_warning([plain]) == ""
    assert several_answers_warning([plain, several[0]]).startswith("q0: the statement allows several right answers")
    assert several_answers_warning(several).startswith("q0, q1, q2 and 2 more: ")
    assert several_answers_warning([replace(several[0], checker=Checker("unordered"))]) == ""
