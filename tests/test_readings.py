"""What a method's attempts wait for and how many are drawn at once, as the settings say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from problems.problem import Case, Problem
from tests.fakes import ByteTokenizer, rollout
from ttsd.config import Config, load_config
from ttsd.loop import WHOLE_GROUPS, Rounds
from ttsd.methods import BEST_OF_K, GRPO, MULTI_TURN, SDPO
from ttsd.nouns import Status, Verdict
from ttsd.running.readings import group_size_of, rounds_of, teaching


def test_only_attempts_that_read_verdicts_wait_for_them() -> None:
    rolling = [
        "sampling.teacher_fraction=1",
        "sampling.round_size=4",
        "sampling.round_growth=0.5",
        "sampling.round_least=3",
    ]
    config = load_config("micro-cpu", rolling)
    assert rounds_of(SDPO, config) == Rounds(4, 0.5, 3)
    assert [rounds_of(method, config) for method in (GRPO, MULTI_TURN, BEST_OF_K)] == [WHOLE_GROUPS] * 3
    assert rounds_of(SDPO, load_config("micro-cpu", [*rolling, "sampling.teacher_fraction=0"])) == WHOLE_GROUPS


def test_a_run_weighs_its_readings_as_the_settings_say() -> None:
    """Attempts that read failed, one that did not passed half: only a run that weighs them leaves the readings."""
    known = [
        replace(rollout(number, "wrong", Verdict(Status.WRONG_ANSWER, passed, 2, 0, 0, feedback="no")), role=role)
        for number, (passed, role) in enumerate([(1, "student"), *[(0, "teacher")] * 5], 1)
    ]
    for window, role in [("64", "student"), ("none", "teacher")]:
        config = load_config("micro-cpu", [f"sampling.reading_window={window}"])
        prompts = teaching(Problem("q", "q", "?", (Case("1", "1"),)), ByteTokenizer(), config)
        assert [reading.role for reading in prompts.readings(1, known)] == [role]


def test_a_turn_of_all_chains_is_a_group() -> None:
    config = load_config("micro-cpu", ["reprompt.multi_turn_chains=3", "sampling.group_size=8"])
    assert [group_size_of(method, config) for method in (MULTI_TURN, SDPO)] == [3, 8]


@pytest.mark.parametrize(("drawn", "limit"), [(1.0, 1600), (0.0, 3000)])
def test_a_reprompt_that_is_drawn_from_leaves_room_for_an_answer(drawn: float, limit: int) -> None:
    """One that the teacher only scores with has no answer to leave room for."""
    sections = {"model": {"max_model_len": 2000}, "sampling": {"max_tokens": 400, "teacher_fraction": drawn}}
    config = Config.model_validate({**sections, "reprompt": {"max_reprompt_len": 3000}})
    prompts = teaching(Problem("q", "q", "?", (Case("1", "1"),)), ByteTokenizer(), config)
    failed = rollout(1, "wrong", Verdict(Status.WRONG_ANSWER, 0, 1, 0, 0, feedback="no " * 2000))
    (lesson,) = prompts.lessons([failed])
    assert lesson.reprompt_ids is not None
    assert limit - 4 <= len(lesson.reprompt_ids) <= limit
