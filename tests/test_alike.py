"""Questions that are alike stay on one side of a division."""

from __future__ import annotations

from problems.alike import families, without
from problems.problem import Case, Problem


def question(name: str, statement: str, function: str | None = None) -> Problem:
    return Problem(name, name, statement, (Case("1", "1"),), entry_point=function)


SORTED = question("a", "Write a function to sort the given list of numbers by their last digit.", "sort_last")
PARAPHRASE = question("b", "Write a python function to sort a list of numbers by the last digit.", "by_digit")
SAME_FUNCTION = question("c", "Reverse the words of the text.", "by_digit")
OTHER = question("d", "Count the vowels in a string.", "vowels")


def names(groups: list[list[Problem]]) -> list[set[str]]:
    return sorted(({problem.name for problem in group} for group in groups), key=sorted)


def test_a_family_is_closed_under_paraphrase_and_function_name() -> None:
    assert names(families([SORTED, OTHER, SAME_FUNCTION, PARAPHRASE])) == [{"a", "b", "c"}, {"d"}]


def test_the_questions_alike_to_an_excluded_one_are_left_out() -> None:
    assert without([SORTED, SAME_FUNCTION, OTHER], [PARAPHRASE]) == [OTHER]
    assert without([OTHER], [OTHER]) == []


def test_a_functions_name_that_any_question_has_says_nothing() -> None:
    pairs = [("f", "f"), ("solve", "solve"), (None, None)]
    for one, other in pairs:
        alike = [question("a", "Count the vowels in a string.", one), question("b", "Sort numbers down.", other)]
        assert len(families(alike)) == 2


def test_examples_in_a_statement_do_not_hide_a_paraphrase() -> None:
    example = "\n\nFor example:\n\n    assert vowels('banana', 3, 17) == [12, 55, 'one', 'two', 'three', 'four']\n"
    assert len(families([OTHER, question("e", OTHER.statement + example, "count")])) == 1
