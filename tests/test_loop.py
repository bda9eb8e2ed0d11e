"""The loop against a scripted policy: numbering, aborting, stopping, learning, and resuming."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import pytest

from tests.fakes import ScriptedPolicy, attempt, judge_by_word, method, settings, text_of
from ttsd.loop import NOTHING, Event, Rules, learn
from ttsd.methods import METHODS, MethodOnQuestion
from ttsd.nouns import Attempt, Completion, Example, History, Status, Step, Verdict

RULES = Rules(group_size=4, budget=12)


async def events_of(
    policy: ScriptedPolicy,
    rules: Rules = RULES,
    *,
    on: MethodOnQuestion | None = None,
    history: History = NOTHING,
    begun: Sequence[Attempt] = (),
) -> list[Event]:
    learning = learn(policy, judge_by_word, on or method(), rules, history=history, begun=begun)
    return [event async for event in learning]


def parted(events: Iterable[Event]) -> tuple[list[Attempt], list[Step]]:
    events = list(events)
    return [e for e in events if isinstance(e, Attempt)], [e for e in events if isinstance(e, Step)]


async def run(policy: ScriptedPolicy, rules: Rules = RULES, **options: object) -> tuple[list[Attempt], list[Step]]:
    return parted(await events_of(policy, rules, **options))  # type: ignore[arg-type]


async def test_runs_the_whole_budget_and_numbers_attempts_without_gaps() -> None:
    policy = ScriptedPolicy(["wrong"] * 10)
    attempts, steps = await run(policy, replace(RULES, budget=10))
    assert [a.number for a in attempts] == list(range(1, 11))
    assert [len(s.attempts) for s in steps] == [4, 4, 2]
    assert [s.adapter_version for s in steps] == [1, 2, 3]
    assert [a.completion.adapter_version for a in attempts] == [0] * 4 + [1] * 4 + [2] * 2


async def test_stops_at_the_discovery_without_another_gradient_step() -> None:
    policy = ScriptedPolicy(["wrong"] * 5 + ["right"] * 7)
    _, steps = await run(policy)
    assert [step.discovery and step.discovery.number for step in steps] == [None, 6]
    assert len(policy.learned) == 1
    assert policy.requested == 8


async def test_a_discovery_aborts_higher_numbers_and_lets_lower_ones_finish() -> None:
    policy = ScriptedPolicy([("wrong", 9), "right", ("right", 9), ("wrong", 9)])
    attempts, steps = await run(policy)
    assert [a.verdict.status for a in steps[0].attempts] == [
        Status.WRONG_ANSWER,
        Status.ACCEPTED,
        Status.ABORTED,
        Status.ABORTED,
    ]
    assert policy.cancelled == 2
    assert len(attempts) == 4  # aborted attempts count
    assert [a.prompt_tokens > 0 for a in steps[0].attempts] == [True, True, False, False]


async def test_the_discovery_is_the_lowest_number_even_if_a_higher_one_came_first() -> None:
    policy = ScriptedPolicy([("right", 5), ("wrong", 50), "right", ("wrong", 50)])
    _, steps = await run(policy)
    assert steps[0].discovery is not None
    assert steps[0].discovery.number == 1
    assert [a.verdict.status for a in steps[0].attempts][1:] == [Status.ABORTED, Status.ACCEPTED, Status.ABORTED]


async def test_goes_on_after_a_discovery_when_asked() -> None:
    policy = ScriptedPolicy(["right"] + ["wrong"] * 40)
    _, steps = await run(policy, replace(RULES, stop_at_discovery=False))
    assert len(steps) == 3
    assert len(policy.learned) == 3
    later = policy.learned[2][0]
    assert "Correct solution:\n\nright" in text_of(later.teacher)


async def test_a_frozen_method_learns_nothing_and_finds_what_it_finds() -> None:
    policy = ScriptedPolicy(["wrong"] * 5 + ["right"] * 3)
    _, steps = await run(policy, replace(RULES, budget=8), on=method("best-of-k"))
    assert policy.learned == []
    assert steps[-1].discovery is not None
    assert steps[-1].discovery.number == 6


async def test_a_stopped_step_asks_only_for_the_attempts_that_are_missing() -> None:
    old = tuple(attempt(n, "old", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 1)) for n in range(1, 5))
    begun = (attempt(6, "old", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 1, feedback="old"), step=2),)
    policy = ScriptedPolicy(["wrong"] * 3)
    attempts, steps = await run(policy, replace(RULES, budget=8), history=History(old), begun=begun)
    assert [a.number for a in attempts] == [5, 7, 8]
    assert [a.number for a in steps[0].attempts] == [5, 6, 7, 8]
    assert steps[0].number == 2


@pytest.mark.parametrize("budget", [2, 6])
async def test_a_budget_below_what_is_recorded_leaves_no_number_out(budget: int) -> None:
    old = tuple(attempt(n, "old", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 1)) for n in range(1, 5))
    begun = [attempt(n, "old", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 1), step=2) for n in (6, 8)]
    policy = ScriptedPolicy(["wrong"] * 4)
    attempts, _ = await run(policy, replace(RULES, budget=budget), history=History(old), begun=begun)
    assert [a.number for a in attempts] == [5, 7]


async def test_a_stopped_step_with_a_discovery_only_finishes_the_lower_numbers() -> None:
    begun = (attempt(2, "right", Verdict(Status.ACCEPTED, 2, 2, 1, 1)),)
    policy = ScriptedPolicy(["wrong"])
    _, steps = await run(policy, begun=begun)
    assert policy.requested == 1
    assert [a.verdict.status for a in steps[0].attempts][2:] == [Status.ABORTED, Status.ABORTED]


async def test_one_step_off_samples_a_group_with_the_weights_before_the_step_that_is_taken_meanwhile() -> None:
    class Slow(ScriptedPolicy):
        async def distil(self, examples: Sequence[Example]) -> Mapping[str, float]:
            while self.requested < min(12, 4 * (self.adapter_version + 2)):  # until the next group has been asked for
                await asyncio.sleep(0)
            return await super().distil(examples)

    policy = Slow(["wrong"] * 12)
    events = await events_of(policy, replace(RULES, one_step_off=True))
    attempts, steps = parted(events)
    assert [a.number for a in attempts] == list(range(1, 13))
    assert [a.completion.adapter_version for a in attempts] == [0] * 8 + [1] * 4
    assert [step.number for step in steps] == [1, 2, 3]
    assert [step.adapter_version for step in steps] == [1, 2, 3]
    assert [isinstance(event, Step) for event in events].index(True) == 8  # the first step's event waits for group 2
    assert [[example.attempt for example in examples] for examples in policy.learned] == [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
        [9, 10, 11, 12],
    ]


async def test_one_step_off_finishes_the_step_before_a_discovery_and_takes_none_after_it() -> None:
    policy = ScriptedPolicy(["wrong"] * 4 + ["right"] + ["wrong"] * 3)
    _, steps = await run(policy, replace(RULES, one_step_off=True))
    assert [step.number for step in steps] == [1, 2]
    assert len(policy.learned) == 1
    assert steps[-1].discovery is not None


async def test_one_step_off_resumes_two_stopped_steps() -> None:
    failure = Verdict(Status.WRONG_ANSWER, 1, 2, 0, 1, feedback="no")
    begun = tuple(attempt(number, "wrong", failure, step=(number + 3) // 4) for number in (1, 2, 3, 4, 6))
    policy = ScriptedPolicy(["wrong"] * 3)
    attempts, steps = await run(policy, replace(RULES, budget=8, one_step_off=True), begun=begun)
    assert [a.number for a in attempts] == [5, 7, 8]
    assert [[a.number for a in step.attempts] for step in steps] == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize("one_step_off", [False, True])
async def test_a_fault_of_the_trainer_ends_the_loop(one_step_off: bool) -> None:
    class Stubborn(ScriptedPolicy):
        async def distil(self, examples: Sequence[Example]) -> Mapping[str, float]:
            raise OSError("no gradient today")

    with pytest.raises(OSError, match="no gradient"):
        await events_of(Stubborn(["wrong"] * 12), replace(RULES, one_step_off=one_step_off))


WORDS = [f"w{number}" for number in range(1, 17)]
GROWING = settings(history_length=9, feedback_items=1)
ROUNDS = Rules(group_size=8, budget=16, round_size=lambda known: min(known, 4))


def words_in(prompts: Iterable[tuple[int, ...]]) -> list[set[str]]:
    """The attempts that each prompt shows."""
    return [{word for word in WORDS if f"{word} is wrong" in text_of(prompt)} for prompt in prompts]


async def test_each_round_knows_the_verdicts_of_all_rounds_before_it() -> None:
    policy = ScriptedPolicy([(word, 7 * number % 5) for number, word in enumerate(WORDS)])
    attempts, _ = await run(policy, ROUNDS, on=method("multi-turn+sdpo", GROWING))
    attempts = sorted(attempts, key=lambda one: one.number)
    assert [a.round for a in attempts] == [1, 2, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6]
    assert [len(words) for words in words_in(policy.prompts)] == [0, 1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 9, 9, 9, 9]
    assert [a.prompt.shows[-1] for a in attempts[1:4]] == [1, 2, 1]  # another newest one for each attempt of a round
    assert [[example.attempt for example in examples] for examples in policy.learned] == [
        list(range(1, 9)),
        list(range(9, 17)),
    ]


async def test_a_learning_conversation_learns_at_the_prompt_that_was_answered() -> None:
    policy = ScriptedPolicy(WORDS)
    await run(policy, ROUNDS, on=method("multi-turn+sdpo", GROWING))
    examples = [example for group in policy.learned for example in group]
    assert [example.prompt_ids for example in examples] == policy.prompts
    for example, word in zip(examples, WORDS, strict=True):
        assert f"{word} is wrong" not in text_of(example.prompt_ids)
        assert f"{word} is wrong" in text_of(example.teacher)


async def test_no_round_is_begun_after_a_discovery() -> None:
    policy = ScriptedPolicy(["w1", "w2", "right", ("w4", 9), "w5"])
    attempts, _ = await run(policy, ROUNDS, on=method("multi-turn+sdpo", GROWING))
    assert [(a.number, a.verdict.status) for a in attempts[2:]] == [(3, Status.ACCEPTED), (4, Status.ABORTED)]


def test_rounds_grow_with_what_is_known() -> None:
    config = settings()
    rules, found = METHODS["multi-turn+sdpo"].rules(config), list[int]()
    while len(found) < 12:
        found.append(rules.next_round(sum(found), 8))
    assert found == [*[1] * 8, 2, 2, 3, 3]
    assert METHODS["sdpo"].rules(config).next_round(5, 16) == 16
    assert METHODS["multi-turn"].rules(config).next_round(100, 16) == 1


STEADY, BEST = ["wrong"] * 4, ["wrong", "wrong", "wrong", "partly"]
GOOD = ["partly", "partly", "wrong", "wrong"]
FALL = [*STEADY, *STEADY, *BEST, *STEADY, *["broken"] * 12]
WATCHED = Rules(group_size=4, budget=36, guarded=True)


def returned(steps: Sequence[Step]) -> dict[int, float]:
    return {step.number: step.metrics["returned_to"] for step in steps if "returned_to" in step.metrics}


async def test_a_collapsed_run_goes_back_to_the_weights_that_passed_most_and_forgets_what_came_after() -> None:
    policy = ScriptedPolicy([*FALL, *["other"] * 8])
    attempts, steps = await run(policy, WATCHED, on=method("multi-turn+sdpo", settings(history_length=9)))
    assert (returned(steps), policy.returns) == ({7: 2}, [2])  # step 3 was the best, with the weights after step 2
    assert [step.metrics["best_state"] for step in steps] == [0, 0, 2, 2, 2, 2, 2, 2, 2]
    assert [step.adapter_version for step in steps] == list(range(1, 10))
    assert len(policy.learned) == 8
    assert {number for attempt in attempts[28:] for number in attempt.prompt.shows} <= {*range(1, 9), *range(29, 37)}
    assert any(number > 8 for attempt in attempts[20:28] for number in attempt.prompt.shows)


async def test_one_step_off_the_best_weights_are_one_step_older() -> None:
    policy = ScriptedPolicy([*FALL, *["other"] * 8])
    _, steps = await run(policy, replace(WATCHED, one_step_off=True))
    assert (returned(steps), policy.returns) == ({7: 1}, [1])


async def test_without_the_rule_a_collapsed_run_goes_on() -> None:
    policy = ScriptedPolicy(FALL)
    await run(policy, replace(WATCHED, budget=28, guarded=False))
    assert (policy.returns, len(policy.learned)) == ([], 7)


@pytest.mark.parametrize(("late", "steps"), [("w" * 12, [8]), ("w" * 10, []), ("ww", [8]), ("www", [])])
async def test_answers_of_half_or_twice_the_length_that_pass_less_are_a_collapse(late: str, steps: list[int]) -> None:
    policy = ScriptedPolicy([*GOOD * 4, *[late] * 20])
    _, made = await run(policy, WATCHED)
    assert list(returned(made)) == steps


class Certain(ScriptedPolicy):
    """Grows surer, or less sure, of its answers: `logprob` is that of each token from attempt 17 on."""

    def __init__(self, answers: Iterable[str], logprob: float) -> None:
        super().__init__(answers)
        self._logprob = logprob

    async def sample(self, prompt_ids: Sequence[int]) -> Completion:
        made = await super().sample(prompt_ids)
        return replace(made, logprobs=(self._logprob,) * len(made.token_ids)) if self.requested > 16 else made


@pytest.mark.parametrize(("logprob", "steps"), [(-0.1, [8]), (-0.15, []), (-1.8, []), (-2.4, [8])])
async def test_a_quarter_or_four_times_the_entropy_where_less_passes_is_a_collapse(
    logprob: float, steps: list[int]
) -> None:
    _, made = await run(Certain([*GOOD * 4, *STEADY * 4], logprob), replace(WATCHED, budget=32))
    assert list(returned(made)) == steps


async def test_while_the_last_steps_are_the_best_nothing_has_collapsed() -> None:
    _, steps = await run(ScriptedPolicy([*STEADY, *STEADY, *STEADY, *["w", "w", "w", "partly"] * 6]), WATCHED)
    assert returned(steps) == {}


def test_the_weights_were_learned_from_the_attempts_before_the_state_they_went_back_to() -> None:
    no = Verdict(Status.WRONG_ANSWER, 0, 2, 0, 0, feedback="no")
    made = tuple(attempt(number, "x", no, step=number) for number in range(1, 10))

    def current(**back: int) -> list[int]:
        returns = {int(step[1:]): state for step, state in back.items()}
        return [one.number for one in History(made, returns).current]

    assert current() == list(range(1, 10))
    assert current(s5=2) == [1, 2, 6, 7, 8, 9]
    assert current(s9=0) == []
    assert current(s4=1, s8=2) == [1, 2, 9]  # back into what was left before
    assert current(s4=1, s8=6) == [1, 5, 6, 9]


def scripted(seed: int) -> tuple[list[tuple[str, int]], Rules, MethodOnQuestion]:
    """Answers that end in any order, with discoveries, visible successes and collapses; rules and method at random."""
    pick = random.Random(seed)
    lucky = [["right"], ["partly"], []][seed % 3]
    first = ["broken", *lucky, *(f"wrong{n}" for n in range(6))]
    words = [
        (pick.choice(first if n < 24 or pick.random() < 0.2 else ["broken"]), pick.randrange(4)) for n in range(60)
    ]
    growth = pick.choice([0.25, 0.5, 1.0, 3.0])
    rules = Rules(
        group_size=pick.choice([1, 3, 4, 8]),
        budget=pick.choice([16, 37, 48]),
        round_size=pick.choice([None, lambda known: int(known * growth), lambda known: 0]),
        stop_at_discovery=pick.random() < 0.7,
        guarded=pick.random() < 0.5,
        one_step_off=pick.random() < 0.4,
    )
    own = settings(
        history_length=pick.choice([None, 1, 3]),
        feedback_items=pick.choice([1, 4]),
    )
    return words, rules, method(pick.choice(list(METHODS)), own)


class Numbered(ScriptedPolicy):
    """Answers by the attempt's number, so that a resumed run gets the same answers; needs the order of request."""

    def __init__(self, answers: Sequence[tuple[str, int]], missing: Iterable[int]) -> None:
        super().__init__([answers[number - 1] for number in missing])


def stored(events: Sequence[Event]) -> tuple[History, list[Attempt]]:
    """What a run database gives back: the attempts of finished steps, where they went back, and the others."""
    attempts, steps = parted(events)
    finished = sum(len(step.attempts) for step in steps)
    ordered = sorted(attempts, key=lambda one: one.number)
    back = {step: int(state) for step, state in returned(steps).items()}
    done = History(tuple(one for one in ordered if one.number <= finished), back)
    return done, [one for one in ordered if one.number > finished]


def facts(events: Iterable[Event]) -> list[object]:
    """All that must be alike; which one of several attempts ends first need not be."""
    attempts, steps = parted(events)
    return [
        [(a.number, a.step, a.round, a.prompt, a.program, a.verdict) for a in sorted(attempts, key=lambda a: a.number)],
        [(s.number, [a.number for a in s.attempts], s.examples, s.metrics["best_state"]) for s in steps],
        returned(steps),
    ]


@pytest.mark.parametrize("block", range(10))
async def test_a_run_stopped_anywhere_and_resumed_is_the_run_that_was_never_stopped(block: int) -> None:
    compared = 0
    for seed in range(200 * block, 200 * block + 200):
        words, rules, on = scripted(seed)
        whole = await events_of(ScriptedPolicy(words), rules, on=on)
        attempts, _ = parted(whole)
        stop = random.Random(seed).randrange(1, len(whole) + 1)
        events = whole[:stop]
        history, begun = stored(events)
        accepted = [a.number for a in begun if a.verdict.accepted and rules.stop_at_discovery]
        made = {a.number for a in (*history.attempts, *begun)}
        # An attempt that was under way when the run was stopped is asked for again, unless a discovery aborted it.
        again = [a.number for a in sorted(attempts, key=lambda one: one.number) if a.number not in made]
        over = history.attempts and rules.found(history.attempts)
        resumed = [] if over else await events_of(Numbered(words, again), rules, on=on, history=history, begun=begun)
        if accepted or (any(a.verdict.accepted for a in attempts if a.number in again) and rules.stop_at_discovery):
            continue  # which lower numbers were aborted depends on time; the next test looks at these
        assert facts([*events, *resumed]) == facts(whole), seed
        compared += 1
    assert compared > 100


@pytest.mark.parametrize("block", range(5))
async def test_every_run_however_stopped_has_each_attempt_once_and_the_lowest_discovery(block: int) -> None:
    for seed in range(10_000 + 200 * block, 10_200 + 200 * block):
        words, rules, on = scripted(seed)
        whole = await events_of(ScriptedPolicy(words), rules, on=on)
        events = whole[: random.Random(seed).randrange(1, len(whole) + 1)]
        history, begun = stored(events)
        over = history.attempts and rules.found(history.attempts)
        rest = [] if over else await events_of(ScriptedPolicy(words), rules, on=on, history=history, begun=begun)
        attempts, steps = parted([*events, *rest])
        numbers = [a.number for a in attempts]
        assert sorted(numbers) == list(range(1, len(numbers) + 1)), seed
        assert len(numbers) <= rules.budget
        assert [s.number for s in steps] == list(range(1, len(steps) + 1))
        for _, group in groupby(sorted(attempts, key=lambda a: a.number), key=lambda a: a.step):
            members = list(group)
            first = next((a.number for a in members if a.verdict.accepted), None)
            if rules.stop_at_discovery and first is not None:
                assert not any(a.number < first and not a.answered for a in members), seed
                assert members[-1].number == len(numbers), seed


async def test_closing_the_loop_cancels_what_is_being_sampled() -> None:
    policy = ScriptedPolicy(["wrong", ("wrong", 10**6), ("wrong", 10**6), ("wrong", 10**6)])
    events: AsyncGenerator[Event] = learn(policy, judge_by_word, method(), replace(RULES, budget=4))
    await anext(events)
    await events.aclose()
    assert policy.cancelled == 3


async def test_a_fault_of_the_judge_ends_the_loop_and_is_no_verdict() -> None:
    async def broken(completion: Completion) -> tuple[str | None, Verdict]:
        raise OSError("the sandbox is gone")

    policy = ScriptedPolicy(["wrong", ("wrong", 10**6)])
    with pytest.raises(OSError, match="sandbox is gone"):
        async for _ in learn(policy, broken, method(), replace(RULES, group_size=2, budget=2)):
            pass
    assert policy.cancelled == 1


async def test_a_budget_of_something_else_ends_the_run_after_a_round() -> None:
    policy, made = ScriptedPolicy(WORDS), list[Attempt]()
    learning = learn(
        policy,
        judge_by_word,
        method("multi-turn"),
        METHODS["multi-turn"].rules(settings()),
        spent=lambda: len(made) >= 3,
    )
    async for event in learning:
        made += [event] if isinstance(event, Attempt) else []
    assert len(made) == 3
