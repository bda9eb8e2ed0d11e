"""Pairs that teach a model to use feedback: what is read is what the methods write, and what is to be said is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.fakes import QUESTION, ByteTokenizer, attempt, failed
from ttsd.config import Config
from ttsd.nouns import Attempt, Status, Verdict
from ttsd.prompts import PromptWriter, selected
from ttsd.running.pairs import KEEP, MOST_ITEMS, REPAIR, Pair, Source, pairs_of
from ttsd.running.pairs import QUESTION as ALONE


class Coding(ByteTokenizer):
    end_of_turn = 258

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(text.encode())


def right(number: int, text: str = "right") -> Attempt:
    return attempt(number, text, Verdict(Status.ACCEPTED, 2, 2, 0, 0))


WRONG = [failed(number, f"line {number} is wrong") for number in range(1, 7)]


def made(attempts: Sequence[Attempt], reference: str | None = None, count: int = 200, **model: object) -> list[Pair]:
    config = Config.model_validate({"model": model, "sampling": {"max_tokens": 8}})
    return pairs_of([Source(QUESTION, attempts, reference)], Coding(), config, count)


def said(pair: Pair) -> str:
    return Coding().decode(pair.completion_ids)


def test_the_prompts_are_those_that_the_methods_write() -> None:
    found = [pair for pair in made([*WRONG, right(7)]) if pair.kind == REPAIR]
    writer, numbers = PromptWriter(QUESTION, Coding(), Config()), [own.number for own in WRONG]
    written = {
        (bool(shown), count): {
            writer.with_feedback("feedback", selected(own, WRONG, count), shown).token_ids for own in WRONG
        }
        for shown in ([], numbers)
        for count in range(1, MOST_ITEMS + 1)
    }
    assert {pair.prompt_ids for pair in found} <= set().union(*written.values())
    assert all(prompts & {pair.prompt_ids for pair in found} for prompts in written.values())


def test_a_success_of_the_models_own_is_what_is_to_be_said() -> None:
    found = made([*WRONG, right(7, "mine"), right(8, "mine too")], reference="theirs")
    assert {said(pair) for pair in found} == {"mine", "mine too"}
    assert {pair.kind for pair in found} == {REPAIR, KEEP, ALONE}
    shown = {Coding().decode(pair.prompt_ids) for pair in found if pair.kind == KEEP}
    assert all("Correct solution:\n\nmine" in text for text in shown)
    assert {Coding().decode(pair.prompt_ids) for pair in found if pair.kind == ALONE} == {QUESTION.statement}


def test_the_reference_stands_in_and_ends_the_turn() -> None:
    found = made(WRONG, reference="def f():\n    return 1")
    assert {pair.kind for pair in found} == {REPAIR}
    assert {said(pair) for pair in found} == {"```python\ndef f():\n    return 1\n```"}
    assert {pair.completion_ids[-1] for pair in found} == {Coding.end_of_turn}


def test_without_a_right_program_or_without_feedback_nothing_is_repaired() -> None:
    assert made(WRONG) == []
    assert {pair.kind for pair in made([right(1)])} == {KEEP, ALONE}
    cut = replace(right(7), completion=replace(right(7).completion, finish_reason="length"))
    assert made([*WRONG, cut]) == []


def test_pairs_are_different_and_no_longer_than_the_model() -> None:
    found = made([*WRONG, right(7)], max_model_len=220)
    assert len(found) == len(set(found)) < len(made([*WRONG, right(7)]))
    assert max(len(pair.prompt_ids) + len(pair.completion_ids) for pair in found) <= 220


@pytest.mark.parametrize("count", [3, 9])
def test_every_question_has_a_pair_before_one_has_two(count: int) -> None:
    sources = [Source(replace(QUESTION, name=name), [*WRONG, right(7)]) for name in "abcdefghi"]
    found = pairs_of(sources, Coding(), Config(), count)
    assert len({pair.question for pair in found}) == len(found) == count
    assert found == pairs_of(sources, Coding(), Config(), count)
