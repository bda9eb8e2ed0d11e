"""What a method's attempts wait for and how many are drawn at once, as the settings say."""

from __future__ import annotations

from ttsd.config import load_config
from ttsd.loop import WHOLE_GROUPS, Rounds
from ttsd.running.methods import BEST_OF_K, GRPO, MULTI_TURN, SDPO
from ttsd.running.readings import group_size_of, rounds_of


def test_only_attempts_that_read_verdicts_wait_for_them() -> None:
    rolling = ["sampling.teacher_fraction=1", "sampling.round_size=4", "sampling.round_growth=0.5"]
    config = load_config("micro-cpu", rolling)
    assert rounds_of(SDPO, config) == Rounds(4, 0.5)
    assert [rounds_of(method, config) for method in (GRPO, MULTI_TURN, BEST_OF_K)] == [WHOLE_GROUPS] * 3
    assert rounds_of(SDPO, load_config("micro-cpu", [*rolling, "sampling.teacher_fraction=0"])) == WHOLE_GROUPS


def test_a_turn_of_all_chains_is_a_group() -> None:
    config = load_config("micro-cpu", ["reprompt.multi_turn_chains=3", "sampling.group_size=8"])
    assert [group_size_of(method, config) for method in (MULTI_TURN, SDPO)] == [3, 8]
