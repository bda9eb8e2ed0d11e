"""The loop against a scripted policy: numbering, aborting, stopping, teaching and going on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace

import pytest

from tests.fakes import ByteTokenizer, ScriptedPolicy, judge_by_word, papers_reprompt, rollout, teaching
from ttsd.loop import START, Event, Past, Rounds, learn, read_by
from ttsd.nouns import Attempt, Completion, Example, Reading, Status, Step, Verdict
from ttsd.reprompts import Reprompts


async def events_of(policy: ScriptedPolicy, **options: object) -> list[Event]:
    settings = {"group_size": 4, "budget": 12, **options}
    return [event async for event in learn(policy, judge_by_word, teaching(), **settings)]  # type: ignore[arg-type]


async def run(policy: ScriptedPolicy, **options: object) -> tuple[list[Attempt], list[Step]]:
    events = await events_of(policy, **options)
    return [e for e in events if isinstance(e, Attempt)], [e for e in events if isinstance(e, Step)]


def text_of(prompt_ids: tuple[int, ...] | None) -> str:
    assert prompt_ids is not None
    return ByteTokenizer().decode(prompt_ids)


async def test_runs_the_whole_budget_and_numbers_attempts_without_gaps() -> None:
    policy = ScriptedPolicy(["wrong"] * 10)
    rollouts, steps = await run(policy, budget=10)
    assert [r.attempt for r in rollouts] == list(range(1, 11))
    assert [len(s.rollouts) for s in steps] == [4, 4, 2]
    assert [s.adapter_version for s in steps] == [1, 2, 3]
    assert [r.completion.adapter_version for r in rollouts] == [0] * 4 + [1] * 4 + [2] * 2


async def test_stops_at_the_discovery_without_another_gradient_step() -> None:
    policy = ScriptedPolicy(["wrong"] * 5 + ["right"] * 7)
    _, steps = await run(policy)
    assert [step.discovery and step.discovery.attempt for step in steps] == [None, 6]
    assert len(policy.taught) == 1
    assert policy.requested == 8


async def test_a_discovery_aborts_higher_numbers_and_lets_lower_ones_finish() -> None:
    policy = ScriptedPolicy([("wrong", 9), "right", ("right", 9), ("wrong", 9)])
    rollouts, steps = await run(policy)
    assert [r.verdict.status for r in steps[0].rollouts] == [
        Status.WRONG_ANSWER,
        Status.ACCEPTED,
        Status.ABORTED,
        Status.ABORTED,
    ]
    assert policy.cancelled == 2
    assert len(rollouts) == 4  # aborted attempts count


async def test_the_discovery_is_the_lowest_number_even_if_a_higher_one_came_first() -> None:
    policy = ScriptedPolicy([("right", 5), ("wrong", 50), "right", ("wrong", 50)])
    _, steps = await run(policy)
    assert steps[0].discovery is not None
    assert steps[0].discovery.attempt == 1
    assert [r.verdict.status for r in steps[0].rollouts][1:] == [Status.ABORTED, Status.ACCEPTED, Status.ABORTED]


async def test_goes_on_after_a_discovery_when_asked() -> None:
    policy = ScriptedPolicy(["right"] + ["wrong"] * 40)
    _, steps = await run(policy, continue_after_discovery=True)
    assert len(steps) == 3
    assert len(policy.taught) == 3
    later = policy.taught[2][0]
    assert "Correct solution:\n\nright" in text_of(later.reprompt_ids)


async def test_failed_attempts_are_taught_with_their_own_feedback() -> None:
    policy = ScriptedPolicy(["one", "two", "three", "four"])
    await run(policy, budget=4)
    for lesson, word in zip(policy.taught[0], ["one", "two", "three", "four"], strict=True):
        prompt = text_of(lesson.reprompt_ids)
        assert f"{word} is wrong" in prompt
        assert prompt.count("is wrong") == 1
        assert bytes(lesson.completion_ids).decode() == word
        assert text_of(lesson.prompt_ids) == "question"


async def test_a_success_on_visible_cases_is_shown_to_the_others_and_its_feedback_is_empty() -> None:
    policy = ScriptedPolicy(["one", "partly", "two", "three"] + ["four"] * 4)
    await run(policy, budget=8)
    first = [text_of(lesson.reprompt_ids) for lesson in policy.taught[0]]
    assert all("Correct solution:\n\npartly" in prompt and "is wrong" not in prompt for prompt in first)
    assert "partly" in text_of(policy.taught[1][0].reprompt_ids)  # the archive of earlier steps


def test_the_released_codes_rule_leaves_a_lone_success_without_a_lesson() -> None:
    alone = rollout(1, "partly", Verdict(Status.ACCEPTED, 2, 2, 0, 0))
    assert teaching().lessons([alone])[0].reprompt_ids is not None
    assert teaching(dont_reprompt_on_self_success=True).lessons([alone])[0].reprompt_ids is None


def test_without_feedback_there_is_nothing_to_teach() -> None:
    failed = rollout(1, "one", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 0, feedback="hint"))
    assert teaching(include_environment_feedback=False).lessons([failed])[0].reprompt_ids is None


@pytest.mark.parametrize(("cut", "kept"), [("left", "tail"), ("right", "head")])
def test_long_reprompts_lose_feedback_but_never_the_question(cut: str, kept: str) -> None:
    failed = rollout(1, "one", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 0, feedback="head" + "x" * 500 + "tail"))
    lesson = teaching(max_reprompt_len=200, reprompt_truncation=cut).lessons([failed])[0]
    prompt = text_of(lesson.reprompt_ids)
    assert len(lesson.reprompt_ids or ()) <= 200
    assert prompt.startswith("question")
    assert kept in prompt


async def test_a_broken_off_step_asks_only_for_the_attempts_that_are_missing() -> None:
    old = tuple(rollout(n, "old", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 1)) for n in range(1, 5))
    begun = (rollout(6, "old", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 1, feedback="old")),)
    policy = ScriptedPolicy(["wrong"] * 3)
    rollouts, steps = await run(policy, budget=8, past=Past(steps=1, rollouts=old, unfinished=begun))
    assert [r.attempt for r in rollouts] == [5, 7, 8]
    assert [r.attempt for r in steps[0].rollouts] == [5, 6, 7, 8]
    assert steps[0].number == 2


async def test_a_broken_off_step_with_a_discovery_only_finishes_the_lower_numbers() -> None:
    begun = (rollout(2, "right", Verdict(Status.ACCEPTED, 2, 2, 1, 1)),)
    policy = ScriptedPolicy(["wrong"])
    _, steps = await run(policy, past=Past(unfinished=begun))
    assert policy.requested == 1
    assert [r.verdict.status for r in steps[0].rollouts][2:] == [Status.ABORTED, Status.ABORTED]


async def test_one_step_off_draws_a_group_from_the_weights_before_the_step_that_is_taken_meanwhile() -> None:
    class Slow(ScriptedPolicy):
        async def distil(self, lessons: Sequence[Example]) -> Mapping[str, float]:
            while self.requested < min(12, 4 * (self.adapter_version + 2)):  # until the next group has been asked for
                await asyncio.sleep(0)
            return await super().distil(lessons)

    policy = Slow(["wrong"] * 12)
    events = await events_of(policy, one_step_off=True)
    rollouts, steps = [e for e in events if isinstance(e, Attempt)], [e for e in events if isinstance(e, Step)]
    assert [rollout.attempt for rollout in rollouts] == list(range(1, 13))
    assert [rollout.completion.adapter_version for rollout in rollouts] == [0] * 8 + [1] * 4
    assert [step.number for step in steps] == [1, 2, 3]
    assert [step.adapter_version for step in steps] == [1, 2, 3]
    assert [isinstance(event, Step) for event in events].index(True) == 8  # the first step's event waits for group 2
    assert [[lesson.attempt for lesson in lessons] for lessons in policy.taught] == [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
        [9, 10, 11, 12],
    ]


async def test_one_step_off_finishes_the_step_before_a_discovery_and_takes_none_after_it() -> None:
    policy = ScriptedPolicy(["wrong"] * 4 + ["right"] + ["wrong"] * 3)
    _, steps = await run(policy, one_step_off=True)
    assert [step.number for step in steps] == [1, 2]
    assert len(policy.taught) == 1
    assert steps[-1].discovery is not None


async def test_one_step_off_goes_on_with_two_broken_off_steps() -> None:
    failure = Verdict(Status.WRONG_ANSWER, 1, 2, 0, 1, feedback="no")
    begun = tuple(rollout(attempt, "wrong", failure) for attempt in (1, 2, 3, 4, 6))
    policy = ScriptedPolicy(["wrong"] * 3)
    rollouts, steps = await run(policy, budget=8, one_step_off=True, past=Past(unfinished=begun))
    assert [rollout.attempt for rollout in rollouts] == [5, 7, 8]
    assert [[r.attempt for r in step.rollouts] for step in steps] == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize("one_step_off", [False, True])
async def test_a_fault_of_the_learner_ends_the_loop(one_step_off: bool) -> None:
    class Stubborn(ScriptedPolicy):
        async def distil(self, lessons: Sequence[Example]) -> Mapping[str, float]:
            raise OSError("no gradient today")

    with pytest.raises(OSError, match="no gradient"):
        await events_of(Stubborn(["wrong"] * 12), one_step_off=one_step_off)


def wrong(attempt: int, feedback: str) -> Attempt:
    return rollout(attempt, f"program {attempt}", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 0, feedback=feedback))


def test_a_teacher_reads_its_own_feedback_last_and_before_it_what_says_most_that_is_new() -> None:
    group = [wrong(1, "a\nb"), wrong(2, "a\nb\nc"), wrong(3, "d\ne\nf"), wrong(4, "a\nb")]
    reprompts = [text_of(lesson.reprompt_ids) for lesson in teaching(feedback_blocks=3).lessons(group)]
    assert "earlier attempt:\n\na\nb\nc\n\nd\ne\nf\n\na\nb\n\nCorrectly" in reprompts[0]
    assert reprompts[3] == reprompts[0]  # the same text twice tells nothing new
    assert "earlier attempt:\n\nd\ne\nf\n\na\nb\nc\n\nCorrectly" in reprompts[1]  # attempt 1 adds nothing to it
    assert [text_of(lesson.reprompt_ids).count("a\nb") for lesson in teaching().lessons(group)] == [1, 1, 0, 1]


def test_a_teacher_may_read_what_was_said_in_earlier_steps() -> None:
    past, group = [wrong(1, "a\nb\nc"), wrong(2, "a\nb\nd")], [wrong(3, "e"), wrong(4, "b\nf")]
    for source, read in [("run", "f\n\na\nb\nd\n\ne"), ("group", "attempt:\n\nb\nf\n\ne")]:
        reprompts = teaching(feedback_blocks=3, feedback_from=source)
        reprompts.remember(past)
        assert read + "\n\nCorrectly" in text_of(reprompts.lessons(group)[0].reprompt_ids)


def test_a_passing_attempt_reads_no_feedback_of_others() -> None:
    group = [wrong(1, "a"), rollout(2, "right", Verdict(Status.ACCEPTED, 2, 2, 0, 0))]
    lesson = teaching(feedback_blocks=4, environment_feedback_only_without_solution=False).lessons(group)[1]
    assert text_of(lesson.reprompt_ids).count("feedback from") == 0


def test_a_share_of_the_next_group_is_drawn_under_different_reprompts() -> None:
    reprompts = Reprompts("question", ByteTokenizer(), papers_reprompt(), max_prompt_len=100, teacher_fraction=0.5)
    assert [reading.role for reading in reprompts.readings(4, [])] == ["student"] * 4
    group = [wrong(1, "a"), wrong(2, "b"), wrong(3, "a")]
    readings = reprompts.readings(6, group)
    assert [reading.role for reading in readings] == ["student"] * 3 + ["teacher"] * 3
    told = [text_of(reading.prompt_ids) for reading in readings[3:]]
    assert told[0] != told[1]
    assert told[2] == told[0]


def test_a_small_round_reads_what_the_newest_attempts_were_told() -> None:
    reprompts = Reprompts("question", ByteTokenizer(), papers_reprompt(), max_prompt_len=100, teacher_fraction=1.0)
    told = [
        text_of(reading.prompt_ids) for reading in reprompts.readings(2, [wrong(1, "a"), wrong(2, "b"), wrong(3, "c")])
    ]
    assert ["\n\nc\n\n" in told[0], "\n\nb\n\n" in told[1]] == [True, True]


def roles_by_score(read: Sequence[int], bare: Sequence[int], window: int | None) -> list[str]:
    """Roles of a round after attempts that passed so many of four cases: those without a reading first."""
    reprompts = Reprompts(
        "question",
        ByteTokenizer(),
        papers_reprompt(),
        max_prompt_len=100,
        teacher_fraction=1.0,
        reading_window=window,
    )
    scores = [*((passed, "student") for passed in bare), *((passed, "teacher") for passed in read)]
    known = [
        replace(
            wrong(number, f"w{number}"), verdict=Verdict(Status.WRONG_ANSWER, passed, 4, 0, 0, feedback="no"), role=role
        )
        for number, (passed, role) in enumerate(scores, 1)
    ]
    return [reading.role for reading in reprompts.readings(2, known)]


@pytest.mark.parametrize(
    ("read", "bare", "window", "role"),
    [
        ([], [3], 64, "teacher"),  # whatever the first attempt passed, feedback is tried
        ([0, 0, 0], [0], 64, "teacher"),  # (1 + 0) / 4 to (1/2 + 0) / 2
        ([0, 0, 0, 0], [0], 64, "student"),
        ([0, 0, 0, 0], [0, 0], 64, "teacher"),  # what passes as little is tried as well, half as often
        ([1] * 8, [2] * 8, 64, "student"),
        ([2] * 8, [1] * 8, 64, "teacher"),
        ([1] * 8, [2] * 8, None, "teacher"),
        ([0] * 8, [4] * 8, 8, "student"),  # the eight newest had all read: the question is tried
        ([3] * 8, [4] * 8, 8, "teacher"),
    ],
)
def test_a_round_reads_feedback_while_that_passes_more(
    read: list[int], bare: list[int], window: int | None, role: str
) -> None:
    assert roles_by_score(read, bare, window) == [role] * 2


def test_where_reading_does_not_pay_feedback_teaches_nothing_and_a_success_does() -> None:
    reprompts = Reprompts("question", ByteTokenizer(), papers_reprompt(), max_prompt_len=100)
    failed, passed = wrong(1, "a"), rollout(2, "right", Verdict(Status.ACCEPTED, 2, 2, 0, 0))
    bare = dict.fromkeys((1, 2), Reading(reprompts.prompt_ids, taught=False))
    assert [lesson.reprompt_ids for lesson in reprompts.lessons([failed], bare)] == [None]
    told = [text_of(lesson.reprompt_ids) for lesson in reprompts.lessons([failed, passed], bare)]
    assert ["Correct solution" in text for text in told] == [True, True]


async def test_attempts_of_the_teacher_count_and_teach_like_any_other() -> None:
    reprompts = Reprompts("question", ByteTokenizer(), papers_reprompt(), max_prompt_len=100, teacher_fraction=0.25)
    policy = ScriptedPolicy(["wrong"] * 8)
    events = learn(policy, judge_by_word, reprompts, group_size=4, budget=8)
    rollouts = [event async for event in events if isinstance(event, Attempt)]
    assert [rollout.role for rollout in rollouts] == ["student"] * 7 + ["teacher"]
    assert rollouts[-1].completion.prompt_tokens > rollouts[0].completion.prompt_tokens
    lesson = policy.taught[1][-1]
    assert (lesson.role, lesson.prompt_ids) == ("teacher", reprompts.prompt_ids)


async def rolling(policy: ScriptedPolicy, past: Past = START, **settings: object) -> list[Attempt]:
    """Attempts in rounds of 1, 1, 2, 4, 4, ..., each reading up to 20 texts; groups of 8."""
    chosen = papers_reprompt(feedback_blocks=20, feedback_from="run", max_reprompt_len=9999, **settings)
    reprompts = Reprompts("question", ByteTokenizer(), chosen, max_prompt_len=100, teacher_fraction=1.0)
    events = learn(policy, judge_by_word, reprompts, group_size=8, budget=16, rounds=Rounds(4), past=past)
    return [event async for event in events if isinstance(event, Attempt)]


WORDS = [f"w{number}" for number in range(1, 17)]


def words_in(prompts: Sequence[tuple[int, ...]]) -> list[set[str]]:
    """Of which attempts each prompt tells."""
    return [{word for word in WORDS if f"{word} is wrong" in text_of(prompt)} for prompt in prompts]


async def test_each_round_reads_the_verdicts_of_all_rounds_before_it() -> None:
    policy = ScriptedPolicy([(word, 7 * number % 5) for number, word in enumerate(WORDS)])
    rollouts = sorted(await rolling(policy), key=lambda rollout: rollout.attempt)
    assert [rollout.round for rollout in rollouts] == [1, 2, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6]
    assert [len(words) for words in words_in(policy.read)] == [0, 1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12]
    assert [[lesson.attempt for lesson in lessons] for lessons in policy.taught] == [
        list(range(1, 9)),
        list(range(9, 17)),
    ]


async def test_no_round_is_begun_after_a_discovery() -> None:
    policy = ScriptedPolicy(["w1", "w2", "right", ("w4", 9), "w5"])
    rollouts = await rolling(policy)
    assert [(rollout.attempt, rollout.verdict.status) for rollout in rollouts[2:]] == [
        (3, Status.ACCEPTED),
        (4, Status.ABORTED),
    ]


@pytest.mark.parametrize(
    ("growth", "least", "sizes"),
    [
        (1.0, 1, [1, 1, 2, 4, 8, 8]),
        (0.5, 1, [1, 1, 1, 1, 2, 3, 4, 6, 8]),
        (0.25, 1, [1] * 8 + [2, 2, 3, 3]),
        (0.5, 2, [2, 2, 2, 3, 4, 6, 8, 8]),
        (0.5, 20, [8, 8]),
    ],
)
def test_rounds_grow_with_what_is_known(growth: float, least: int, sizes: list[int]) -> None:
    rounds, found = Rounds(8, growth, least), list[int]()
    while len(found) < len(sizes):
        found.append(rounds.next(sum(found), 100))
    assert found == sizes
    assert Rounds().next(5, 100) == 100
    assert rounds.next(100, 3) == 3


@pytest.mark.parametrize("made", range(1, 16))
async def test_a_resumed_run_reads_what_it_would_have_read(made: int) -> None:
    whole = ScriptedPolicy(WORDS)
    done = await rolling(whole)
    kept = [replace(rollout, step=1 if rollout.attempt <= 8 else 2) for rollout in done[:made]]
    finished = 8 if made >= 8 else 0
    past = Past(steps=made // 8, rollouts=tuple(kept[:finished]), unfinished=tuple(kept[finished:]))
    rest = ScriptedPolicy(WORDS[made:])
    rollouts = await rolling(rest, past)
    assert rest.read == whole.read[made:]
    assert [rollout.round for rollout in rollouts] == [rollout.round for rollout in done[made:]]


async def test_a_reprompted_attempt_may_teach_at_the_prompt_that_it_was_drawn_from() -> None:
    policy = ScriptedPolicy(WORDS)
    await rolling(policy, student_reads="reading")
    lessons = [lesson for taught in policy.taught for lesson in taught]
    assert [lesson.prompt_ids for lesson in lessons] == policy.read
    assert {lesson.role for lesson in lessons} == {"student"}  # what the sampler read is what the student reads
    for lesson, word in zip(lessons, WORDS, strict=True):
        assert f"{word} is wrong" not in text_of(lesson.prompt_ids)
        assert f"{word} is wrong" in text_of(lesson.reprompt_ids)


def test_what_a_judged_group_read_can_be_found_again() -> None:
    reprompts = Reprompts("question", ByteTokenizer(), papers_reprompt(), max_prompt_len=100, teacher_fraction=1.0)
    group = [replace(wrong(number, word), round=2) for number, word in zip(range(2, 5), "abc", strict=True)]
    found = read_by(range(2, 10), group, [wrong(1, "z")], reprompts, Rounds(4))
    assert list(found) == [2, 3, 4, 5, 6, 7, 8]  # rounds of 1 and 2, and 4 that nobody has made yet
    assert "z" in text_of(found[2].prompt_ids)


@pytest.mark.parametrize(("reward", "expected"), [("success", [0.0, 1.0]), ("visible-fraction", [0.5, 1.0])])
def test_a_lessons_reward_is_success_or_what_passed(reward: str, expected: list[float]) -> None:
    group = [
        rollout(1, "one", Verdict(Status.WRONG_ANSWER, 1, 2, 0, 0, feedback="a")),
        rollout(2, "partly", Verdict(Status.WRONG_ANSWER, 2, 2, 0, 1)),
    ]
    assert [lesson.reward for lesson in teaching(reward=reward).lessons(group)] == expected


FALL = ["wrong"] * 16 + ["broken"] * 12


def watched(policy: ScriptedPolicy, past: Past = START) -> AsyncGenerator[Event]:
    settings = papers_reprompt(feedback_blocks=3, feedback_from="run")
    reprompts = Reprompts("question", ByteTokenizer(), settings, max_prompt_len=100, teacher_fraction=1.0)
    return learn(policy, judge_by_word, reprompts, group_size=4, budget=36, restart_after_collapse=True, past=past)


async def test_a_collapsed_run_restarts_and_discards_its_feedback() -> None:
    policy = ScriptedPolicy([*FALL, *["other"] * 8])
    events = [event async for event in watched(policy)]
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.number for step in steps if step.metrics.get("restarted")] == [7]
    assert [step.adapter_version for step in steps] == list(range(1, 10))
    assert (policy.restarts, len(policy.taught)) == (1, 8)
    assert {rollout.role for rollout in steps[7].rollouts} == {"student"}
    told = [text_of(lesson.reprompt_ids) for lesson in policy.taught[-2]]
    assert all("other is wrong" in prompt and "wrong is wrong" not in prompt for prompt in told)
    assert all("wrong is wrong" in text_of(lesson.reprompt_ids) for lesson in policy.taught[5])


@pytest.mark.parametrize("steps", range(1, 9))
async def test_a_resumed_run_collapses_where_it_would_have(steps: int) -> None:
    def told(policy: ScriptedPolicy) -> list[tuple[int, ...] | None]:
        return [lesson.reprompt_ids for group in policy.taught for lesson in group]

    answers = [*FALL, *["other"] * 8]
    whole = ScriptedPolicy(answers)
    events = [event async for event in watched(whole)]
    done = tuple(event for event in events if isinstance(event, Attempt))[: 4 * steps]
    rest = ScriptedPolicy(answers[4 * steps :])
    past = Past(steps=steps, rollouts=done)
    async for _ in watched(rest, past):
        pass
    assert told(rest) == told(whole)[len(told(whole)) - len(told(rest)) :]
    assert rest.restarts == (steps < 7)
    assert len(rest.taught) == 9 - steps - rest.restarts


async def test_without_the_setting_a_collapsed_run_goes_on() -> None:
    policy = ScriptedPolicy(FALL)
    await run(policy, budget=28)
    assert (policy.restarts, len(policy.taught)) == (0, 7)


async def test_closing_the_loop_cancels_what_is_being_sampled() -> None:
    policy = ScriptedPolicy(["wrong", ("wrong", 10**6), ("wrong", 10**6), ("wrong", 10**6)])
    events = learn(policy, judge_by_word, teaching(), group_size=4, budget=4)
    await anext(events)
    await events.aclose()
    assert policy.cancelled == 3


async def test_a_fault_of_the_judge_ends_the_loop_and_is_no_verdict() -> None:
    async def broken(completion: Completion) -> tuple[str | None, Verdict]:
        raise OSError("the sandbox is gone")

    policy = ScriptedPolicy(["wrong", ("wrong", 10**6)])
    with pytest.raises(OSError, match="sandbox is gone"):
        async for _ in learn(policy, broken, teaching(), group_size=2, budget=2):
            pass
    assert policy.cancelled == 1
