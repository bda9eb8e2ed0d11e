"""The bundled suite: names, generation, the three parts and the lists."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator

import pytest

from problems import ProblemError, load, micro
from problems.micro import families
from problems.micro.families import FAMILIES
from problems.problem import Problem


def run(problem: Problem, source: str) -> Iterator[str]:
    """What `source`, our own generated program, answers to every case; one line of text each."""
    for case in problem.cases:
        space: dict[str, object] = {"input": iter(case.input.split("\n")).__next__}
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(source, space)
        function = space.get(problem.entry_point or "")
        if callable(function):
            yield json.dumps(function(*map(json.loads, case.input.split("\n"))))
        else:
            yield printed.getvalue()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rules", range(1, families.MAX_RULES + 1))
def test_right_programs_pass_and_only_they(family: str, rules: int) -> None:
    for seed in range(3):
        name = f"{family}:{rules}:{seed}"
        problem, asked = load(f"micro:{name}"), micro.named(name)
        expected = [case.expected for case in problem.cases]
        assert list(run(problem, micro.program(asked))) == expected
        for rival in asked.family.verbs[asked.rules[0].verb]:
            if rival != asked.rules[0].operation:
                wrong = [rival, *(rule.operation for rule in asked.rules[1:])]
                with contextlib.suppress(TypeError):
                    assert list(run(problem, micro.program(asked, wrong))) != expected


def test_questions_are_the_same_everywhere() -> None:
    problem = load("micro:mixed:3:7")
    assert problem.statement == GOLDEN_STATEMENT
    assert [(case.input, case.expected) for case in problem.cases] == GOLDEN_CASES
    assert micro.program(micro.named("numbers:2:1")) == GOLDEN_PROGRAM


def test_a_function_question_shows_its_starter_code() -> None:
    problem = load("micro:lists:4:1")
    assert problem.entry_point == "f"
    assert micro.program(micro.named("lists:4:1")).startswith(problem.starter_code)
    assert load("micro:numbers:4:1").entry_point is None


def test_some_wrong_operations_fail_at_run_time() -> None:
    asked = micro.named("mixed:8:3")
    outcomes = [
        families.evaluate(rival.code, "value", rule.argument)
        for rule in asked.rules
        for rival in asked.family.verbs[rule.verb]
    ]
    assert any(error.startswith("TypeError: ") for _, error in outcomes)


def test_the_parts_ignore_order_and_arguments() -> None:
    asked = micro.named("numbers:4:5")
    turned = micro.Question(asked.family, asked.rules[::-1])
    assert asked.part == turned.part


def test_most_questions_are_for_training() -> None:
    parts = [micro.named(f"lists:4:{seed}").part for seed in range(400)]
    assert parts.count("training") > 320
    assert {"training", "tuning", "test"} == set(parts)


def test_the_lists_never_meet() -> None:
    programs: dict[str, set[str]] = {"tuning": set(), "test": set()}
    for subset in micro.lists():
        for name in micro.subset(subset):
            asked = micro.named(name.removeprefix("micro:"))
            assert asked.part == ("tuning" if "tuning" in subset else "test")
            programs[asked.part].add(" ".join(sorted(micro.program(asked).splitlines())))
    assert not programs["tuning"] & programs["test"]


def test_the_lists_hold_what_their_names_say() -> None:
    assert {"micro-demo", "micro-hard", "micro-very-hard", "micro-long"} <= set(micro.lists())
    for subset, questions in micro.lists().items():
        assert list(questions) == micro.subset(subset) != []
        assert all(0 < p < 0.01 for p in questions.values())
        if "very-hard" in subset:
            assert all(p < 0.001 for p in questions.values())


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("number:3:1", "no question 'micro:number:3:1': give .*; did you mean 'numbers'"),
        ("", r"no question 'micro:': give micro:<family>:<rules>:<seed>"),
        ("numbers:3", "give micro:<family>:<rules>:<seed>"),
        ("numbers:3:01", "give micro:<family>:<rules>:<seed>"),
        ("numbers:3:-1", "give micro:<family>:<rules>:<seed>"),
        ("numbers:9:1", "asks for 9 rules: ask for 1 to 8"),
        ("numbers:0:1", "asks for 0 rules"),
    ],
)
def test_bad_names_are_refused_with_a_sentence(rest: str, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        micro.load(rest)


GOLDEN_STATEMENT = """\
Given a name and a value, return what the rule of that name makes of it. Values have many types.
gray: grow
ant: repeat
hen: turn"""
GOLDEN_CASES = [('"gray"\n6', "16"), ('"ant"\n9', "18"), ('"hen"\n7', "-7")]
GOLDEN_PROGRAM = """\
name = input()
n = int(input())
if name == "bat":
    print(n ** 3)
elif name == "lime":
    print(n * 3)
"""
