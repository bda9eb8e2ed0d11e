"""Names, splits and the checks that every question passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import problems
from problems import Case, Problem, ProblemError, Split, split
from problems.problem import checked
from problems.values import argument, encoded, strict_json


def problem_with(public: int, private: int) -> Problem:
    shown = [Case(f"public {n}", str(n), public=True) for n in range(public)]
    return Problem("p", "P", "Do it.", (*shown, *(Case(f"private {n}", str(n)) for n in range(private))))


def test_all_shows_everything() -> None:
    assert split(problem_with(1, 3), "all", 0) == Split((0, 1, 2, 3), ())


def test_public_shows_the_statements_cases() -> None:
    assert split(problem_with(2, 3), "public", 0) == Split((0, 1), (2, 3, 4))


def test_public_needs_a_public_case() -> None:
    with pytest.raises(ProblemError, match=r"^p has no public case, .* choose 'half'$"):
        split(problem_with(0, 3), "public", 0)


def test_half_is_the_same_on_every_python() -> None:
    assert split(problem_with(1, 8), "half", 0) == Split((0, 3, 4, 7, 8), (1, 2, 5, 6))
    assert split(problem_with(1, 8), "half", 1) != split(problem_with(1, 8), "half", 0)


@given(st.integers(0, 5), st.integers(0, 40), st.integers())
def test_half_divides_the_private_cases(public: int, private: int, seed: int) -> None:
    if public + private == 0:
        return
    divided = split(problem_with(public, private), "half", seed)
    assert sorted(divided.visible + divided.hidden) == list(range(public + private))
    assert divided.visible == tuple(sorted(divided.visible))
    assert divided.visible[:public] == tuple(range(public))
    assert len(divided.hidden) == private // 2


@pytest.mark.parametrize(("public", "private"), [(0, 1), (2, 0), (1, 1)])
def test_half_hides_nothing_of_fewer_than_two_private_cases(public: int, private: int) -> None:
    assert split(problem_with(public, private), "half", 0).hidden == ()


def test_a_case_with_a_visible_input_is_not_hidden() -> None:
    problem = replace(problem_with(1, 2), cases=(Case("1", "2", public=True), Case("1", "2"), Case("3", "4")))
    assert split(problem, "public", 0) == Split((0, 1), (2,))


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ProblemError, match=r"'most'.*all, half, public"):
        split(problem_with(1, 1), "most", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "abc", "micro", "x\0y", "no/such/folder", "a#b", "#", "FILE.json#1"])
def test_a_name_of_no_form_is_answered_with_the_forms(name: str) -> None:
    with pytest.raises(ProblemError) as refused:
        problems.load(name)
    assert repr(name) in str(refused.value)
    assert problems.FORMS in str(refused.value)


def test_a_question_that_was_not_pulled_is_answered_with_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTSD_CACHE", str(tmp_path))
    with pytest.raises(ProblemError, match=r"pull livecodebench` .*FILE\.jsonl#abc387_b$"):
        problems.load("lcb:abc387_b")
    with pytest.raises(ProblemError, match=r"pull humaneval`"):
        problems.reference("humaneval:7")
    assert problems.reference("micro:numbers:5:7") is None


def test_a_file_without_an_id_is_answered_with_the_form(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match=r"rows\.jsonl#<question_id>"):
        problems.load(str(tmp_path / "rows.jsonl"))


def test_micro_questions_are_found() -> None:
    pytest.importorskip("problems.micro")
    with pytest.raises(ProblemError):
        problems.load("micro:no-such-family")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cases": ()}, "no test case"),
        ({"statement": "  \n"}, "empty statement"),
        ({"title": "\ud800"}, "lone surrogate"),
        ({"cases": (Case("\ud800", ""),)}, "case 0, input: character 0"),
        ({"entry_point": "f g"}, "not a Python name"),
        ({"entry_point": "f", "cases": (Case("1,", "2"),)}, "case 0, is not JSON"),
        ({"entry_point": "f", "cases": (Case("1\n", "2"),)}, "case 0, is not JSON"),
        ({"entry_point": "f", "cases": (Case("1", "NaN"),)}, "NaN is not JSON"),
        ({"entry_point": "f", "cases": (Case("1", "[" * 9999),)}, "nested too deeply"),
        ({"entry_point": "f", "cases": (Case("1", "(1, 2)"),)}, "case 0, is not JSON"),
        ({"entry_point": "f", "cases": (Case("1, 2", "2"),)}, "case 0, is not JSON"),
        ({"entry_point": "f", "cases": (Case("open('x')", "2"),)}, "case 0, is not JSON"),
    ],
)
def test_what_could_not_be_judged_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ProblemError, match=words) as refused:
        checked(replace(problem_with(1, 1), **change))  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


def test_what_can_be_judged_is_left_as_it_is() -> None:
    cases = (Case("", "null"), Case('[1]\n"x"', "0.5"), Case("(1, {2})\n{(3,): 'a'}", "1" * 9999))
    function = replace(problem_with(0, 0), entry_point="f", cases=cases)
    assert checked(function) is function
    assert checked(problem_with(1, 0)).kind == "stdin"


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "[" * 100_000, "", "01", "\ud800", "9" * 5000 + "x"])
def test_strict_json_knows_one_exception(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_json(text)


def test_integers_have_any_length() -> None:
    assert strict_json("[" + "9" * 50_000 + "]") == strict_json("[" + "9" * 50_000 + "]")
    assert strict_json("9" * 50_000) != strict_json("9" * 49_999 + "8")
    assert strict_json("-" + "9" * 4000) == -int("9" * 4000)


@pytest.mark.parametrize("value", [1, 1.5, "a'\n", None, [1, "x"], {"a": [True]}, (1, (2,)), {3}, [{(1, 2): set()}]])
def test_an_argument_comes_back_as_it_went(value: object) -> None:
    line = encoded(value)
    assert "\n" not in line
    assert (argument(line), type(argument(line))) == (value, type(value))
