"""Cases out of assertions: what is read, what is refused, and that nothing is run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import Case, ProblemError, asserts
from problems.values import any_length_integers

with any_length_integers():
    SEVEN = str(7**6000)


def cases(source: str) -> list[Case]:
    return [call.case("t") for call in asserts.calls(asserts.tree(source, "t").body, "t")]


@pytest.mark.parametrize(
    ("source", "given_", "expected"),
    [
        ("assert f() == 1", "", "1"),
        ("assert f(1, [2, 'é']) == {'a': None}", '1\n[2, "é"]', '{"a": null}'),
        ("assert 3 == f(-1)", "-1", "3"),
        ("assert f(x.y) == 1" if False else "assert m.f(0.1) == 1e3", "0.1", "1000.0"),
        ("assert Solution().f([[]]) == ()", "[[]]", "[]"),
        ("assert f('a') is None", '"a"', "null"),
        ("assert f('a')", '"a"', "true"),
        ("assert not f('a')", '"a"', "false"),
        ("assert f(10 ** 9 + 7, 7 // 2, 7 / 2, 7 % 4) == (1 + 2, 2 * 3)", "1000000007\n3\n3.5\n3", "[3, 6]"),
        ("assert f('a' + 'b', [1] + [2]) == {1: (2,)}", '"ab"\n[1, 2]', '{"1": [2]}'),
        ("x = [1]\ny = x\nassert f(y) == x", "[1]", "[1]"),
        ('"""Doc."""\nimport math\nfrom m import f\nassert True, "debugging"\npass\nassert f(1) == 2', "1", "2"),
    ],
)
def test_what_is_read(source: str, given_: str, expected: str) -> None:
    assert cases(source) == [Case(given_, expected)]


@pytest.mark.parametrize(
    ("source", "case"),
    [
        ("assert f('a') is True, 'why not'", Case('"a"', "true", exact=True)),
        ("assert f(1) is False", Case("1", "false", exact=True)),
        ("assert f((1, 2)) == 3", Case("(1, 2)", "3")),
        ("assert f([(1, 2)], {'a': (1,)}) == 3", Case("[(1, 2)]\n{'a': (1,)}", "3")),
        ("assert f({1: 2}, {None: 1}, {(1, 2): [3]}) == 3", Case("{1: 2}\n{None: 1}\n{(1, 2): [3]}", "3")),
        ("assert f({1}, set(), frozenset([2]), set((3,))) == 3", Case("{1}\nset()\n{2}\n{3}", "3")),
        (f"assert f({'9' * 5000}) == 7 ** 6000", Case("9" * 5000, SEVEN)),
    ],
)
def test_what_python_alone_can_carry(source: str, case: Case) -> None:
    assert cases(source) == [case]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("assert abs(f(1) - 0.5) < 1e-6", "line 1: 'abs(f(1) - 0.5) < 1e-06' does not compare"),
        ("\nfor n in range(3):\n    assert f(n) == n", "line 2: 'for n in range(3): assert f(n) == n' is no assertion"),
        ("assert f(x) == 1", "'x' is no plain value"),
        ("assert f(g(1)) == 1", "'g(1)' is no plain value"),
        ("assert f(1) == g(2)", "'g(2)' is no plain value"),
        ("assert f(a=1) == 1", "by position"),
        ("assert f(*[1]) == 1", "by position"),
        ("assert f(1) != 1", "does not compare"),
        ("assert 1 < f(1) < 2", "does not compare"),
        ("assert f(1) is 5", "does not compare"),
        ("assert f(1) == 1 and f(2) == 2", "does not compare"),
        ("assert f[0](1) == 1", "is no function's name"),
        ("assert False", "does not compare"),
        ("f(1)", "is no assertion"),
        ("assert f({[1]}) == 3", "'{[1]}' can't be made"),
        ("assert f({[1]: 2}) == 3", "can't be made"),
        ("assert f({*[1]}) == 3", "is no plain value"),
        ("assert f(set(1)) == 3", "'set(1)' can't be made"),
        ("assert f(set([1], [2])) == 3", "is no plain value"),
        ("assert f(1) == {1, 2}", "JSON can't carry"),
        ("assert f(1) == {(1, 2): 3}", "JSON can't carry"),
        ("assert f({0.1: frozenset([frozenset()])}) == 3", "text can't carry"),
        ("assert f({**{}}) == 3", "is no plain value"),
        ("assert f(b'a') == 3", "is no plain value"),
        ("assert f(1j) == 3", "is no plain value"),
        ("assert f(...) == 3", "is no plain value"),
        ("assert f(1e999) == 3", "text can't carry"),
        ("assert f(9 ** 9 ** 9) == 3", "too large"),
        ("assert f(2 ** -1) == 3", "too large"),
        ("assert f(1 // 0) == 3", "can't be computed"),
        ("assert f([1] * 10 ** 9) == 3", "computes with list and int"),
        ("assert f('a' * 10 ** 9) == 3", "computes with str and int"),
        ("assert f(True + 1) == 3", "computes with bool and int"),
        ("assert f(-'a') == 3", "is no number"),
        ("assert f(" + "[" * 150 + "]" * 150 + ") == 3", ""),
        ("assert f(" + "-" * 5000 + "1) == 3", ""),
        ("assert f(" + "1+" * 5000 + "1) == 3", ""),
        ("assert f(", "is not Python"),
        ("assert f('\0')", "is not Python"),
    ],
)
def test_what_is_refused_in_one_sentence_that_names_the_place(source: str, words: str) -> None:
    if not words:  # deep nesting: either is fine, as long as it is said or read
        try:
            cases(source)
        except ProblemError as error:
            words = str(error)
            assert "\n" not in words
        return
    with pytest.raises(ProblemError) as refused:
        cases(source)
    assert words in str(refused.value)
    assert str(refused.value).startswith("t")
    assert "\n" not in str(refused.value)


def test_a_very_long_test_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asserts, "MAX_SOURCE_CHARACTERS", 10)
    with pytest.raises(ProblemError, match="t has more than"):
        asserts.tree("assert f(1) == 2", "t")


@given(st.text(alphabet="assert fg()[]{}'\"=-+*/%.,:0129e#\n\\xin", max_size=60))
def test_any_text_gives_cases_or_a_sentence(source: str) -> None:
    message = ""
    try:
        cases(source)
    except ProblemError as error:
        message = str(error)
    assert "\n" not in message


HELPER = "def assertion(out, exp, atol):\n    exact_match = out == exp\n    assert exact_match\n"
LOOP = "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(f(*inp), exp, 0)\n"


def tabled(source: str) -> list[Case] | None:
    module = asserts.tree(source, "t")
    calls = asserts.table(module, module.body, "f", "t")
    return None if calls is None else [call.case("t") for call in calls]


def test_a_table_of_inputs_and_results() -> None:
    source = f"{HELPER}inputs = [[1, 'a'], [[], 'b']]\nresults = [(True, 1.5), []]\n{LOOP}"
    assert tabled(source) == [Case('1\n"a"', "[true, 1.5]"), Case('[]\n"b"', "[]")]
    assert tabled("assert f(1) == 2") is None


@pytest.mark.parametrize(
    ("results", "floats"), [("[0.5]", True), ("[[0.5, 1.0]]", True), ("[1]", False), ("[[]]", False)]
)
def test_results_that_are_floats_may_differ_a_little(results: str, floats: bool) -> None:
    module = asserts.tree(f"{HELPER}inputs = [[1]]\nresults = {results}\n{LOOP}", "t")
    found = asserts.table(module, module.body, "f", "t")
    assert asserts.checker(found or []) == (asserts.EVALPLUS if floats else None)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (f"inputs = [[1]]\nresults = [1]\n{LOOP}", "does not compare results by =="),
        (f"{HELPER.replace('out == exp', 'set(out) == set(exp)')}inputs = []\nresults = []\n{LOOP}", "by =="),
        (f"{HELPER}inputs = [[1]]\nresults = [1]\n{LOOP.replace('exp, 0', 'exp, 0.1')}", "by =="),
        (f"{HELPER}inputs = [[1]]\nresults = [1]\n{LOOP.replace('exp, 0', 'ref(*inp), 0')}", "by =="),
        (f"{HELPER}inputs = [[1]]\nresults = [1]\n{LOOP}{LOOP}", "by =="),
        (f"{HELPER}inputs = [[1]]\nresults = [inf]\n{LOOP}", "'inf' is no plain value"),
        (f"{HELPER}inputs = [[1]]\nresults = []\n{LOOP}", "do not belong together"),
        (f"{HELPER}inputs = [1]\nresults = [1]\n{LOOP}", "do not belong together"),
        (f"{HELPER}inputs = 1\nresults = [1]\n{LOOP}", "is no list"),
    ],
)
def test_a_table_that_says_more_than_cases_can(source: str, words: str) -> None:
    with pytest.raises(ProblemError) as refused:
        tabled(source)
    assert words in str(refused.value)
