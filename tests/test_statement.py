"""What a statement grants, by its words: an error, any case of letters, several right answers."""

from __future__ import annotations

import json

import pytest

from problems import livecodebench
from problems.checker import Checker
from problems.statement import MAX_CHARACTERS, granted, says_several_answers
from tests.rows import ROWS, needs_data

SEVERAL = """
If there are several such trees, print any.
If there are multiple answers, output any.
If there are several, print one of them.
Return any valid arrangement.
Return an array of all such elements in any order.
Print the edges in arbitrary order.
Find any such array.
If there are multiple solutions, printing any one of them is accepted as correct.
If multiple solutions exist, any of them is accepted.
If there are multiple answers, return any of them.
You may return the answer in any order.
You can output any valid solution.
If there are multiple valid solutions, any one of them is considered correct.
If there are multiple ways that minimize the total cost, printing any one of them is accepted.
If there are many optimal solutions, you may print any.
You may print any of them.
You can print them in any order.
You are allowed to print any correct answer.
Any answer satisfying the conditions will be accepted.
All valid answers are accepted.
If more than one answer is possible, you can choose whichever you like.
The answer is not unique.
The edges may be printed in any order.
The solution is not necessarily unique; output an arbitrary one.
Output any permutation that satisfies the condition.
Print an arbitrary solution.
If there are multiple such strings, print either.
Construct any tree with this property.
Report one of the possible routes.
Return any one of the longest subsequences.
Return the k most frequent elements in any order.
The order of the output does not matter.
Any valid construction is acceptable.
In case of multiple answers, output any.
Print any suitable x.
Output one such sequence; if several exist, any will do.
It is solved by a special judge.
Any of them will do.
It does not matter which one you print.
Output whichever you like.
There may be multiple correct outputs; you only need to print one.
Ties may be broken arbitrarily.
"""
ONE = """
You may perform these operations any number of times in any order.
Choose an arbitrary positive integer, or any of them.
If multiple such pairs exist, choose the leftmost one.
Print the number of pairs, any of which may be empty.
Print the number of ways to arrange the books in any order.
Given an array of integers in any order, return the sum.
If there are several answers, print the lexicographically smallest.
Return the minimum cost to visit all points in any order.
Do not print any extra spaces.
Print the answer, if any.
Return true if any element repeats.
Print one of the following strings.
The cards are given in arbitrary order.
He can repeatedly perform the following two types of actions in any order.
If multiple buttons have the same longest time, return the button with the smallest index.
There may be multiple edges between a pair of nodes, but they must have unique weights.
Return the number of operations, or -1 if there is not any.
You can print each letter in any case.
Any answer within 1e-6 of the right one is accepted.
Find the number of different strings that any of the players can form.
You can rearrange the letters of S in any order, print the largest string.
If there are several players, each takes any card.
Given several strings, return the number of any that repeat.
Print whichever is smaller.
For any two vertices print the distance.
"""


@pytest.mark.parametrize("sentence", SEVERAL.strip().split("\n"))
def test_several_right_answers_are_known_by_usual_phrases(sentence: str) -> None:
    assert says_several_answers(f"Read n.\n\n{sentence}\n\nConstraints: none.")


@pytest.mark.parametrize("sentence", ONE.strip().split("\n"))
def test_what_sounds_alike_is_no_alarm(sentence: str) -> None:
    assert not says_several_answers(f"Read n.\n\n{sentence}\n\nConstraints: none.")


def floats(absolute: float, relative: float) -> Checker:
    return Checker("floats", absolute, relative, granted=True)


@pytest.mark.parametrize(
    ("sentence", "checker"),
    [
        ("It is correct if its absolute or relative error from the true value is at most 10^{-6}.", floats(1e-6, 1e-6)),
        ("The absolute or relative error must not exceed $10^{-4}$.", floats(1e-4, 1e-4)),
        ("Correct if its absolute or relative error\r\ndoesn't exceed 10 - 9.", floats(1e-9, 1e-9)),
        ("Answers within 10^-5 of the actual answer will be accepted.", floats(1e-5, 0)),
        ("Answers within 10<sup>-5</sup> of the actual answer will be accepted.", floats(1e-5, 0)),
        ("It is accepted if it differs from ours by no more than 10**-6.", floats(1e-6, 0)),
        ("The relative error must be less than 1e-9.", floats(0, 1e-9)),
        ("An absolute error up to 0.0001 is permitted.", floats(1e-4, 0)),
        ("An error of 10⁻⁶ is allowed.", floats(1e-6, 1e-6)),
        ("The answer must be accurate to 4 decimal places.", floats(1e-4, 1e-4)),
        ("The judge is case-insensitive.", Checker("case-insensitive", granted=True)),
        ("You can print each letter in any case (upper or lower).", Checker("case-insensitive", granted=True)),
        ("Print YES in uppercase or lowercase, both are accepted.", Checker("case-insensitive", granted=True)),
        ("Print the answer rounded to 2 decimal places.", None),
        ("Print exactly 3 digits; the error is at most 0.001.", None),
        ("It is guaranteed that the answer is not within 10^{-6} of an integer.", None),
        ("The error is at most 10^5.", None),
        ("1 <= n <= 10^5", None),
        ("Compare names in a case-insensitive way.", None),
        ("In any case, print the sum.", None),
    ],
)
def test_an_error_or_the_case_of_letters_is_granted(sentence: str, checker: Checker | None) -> None:
    assert granted(f"Print the answer.\n{sentence}\n\nConstraints\n\n- N is small.") == checker


@needs_data
def test_what_real_questions_grant_is_found() -> None:
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    found = {row["question_id"]: granted(row["question_content"]) for row in rows}
    assert {name: str(checker) for name, checker in found.items() if checker} == {
        "abc375_b": "numbers within 1e-06",
        "arc192_b": "text in any case",
    }
    several = sorted(row["question_id"] for row in rows if livecodebench.problem(row, "x").several_answers)
    assert several == ["abc396_e", "abc397_d", "abc398_f", "arc190_a", "arc191_c"]


@pytest.mark.parametrize(
    "piece", ["print any ", "multiple ", "error 10^-", "answers not ", "the output letters ", "a."]
)
def test_a_long_statement_is_read_in_time(piece: str) -> None:
    says_several_answers(piece * (MAX_CHARACTERS // len(piece)))
    granted(piece * (MAX_CHARACTERS // len(piece)))
