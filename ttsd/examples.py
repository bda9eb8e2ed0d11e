"""Examples: what the weights learn from a finished group. Each function is a column of the table of methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ttsd.nouns import Attempt, Example, History, Prompt
from ttsd.prompts import STEEPNESS, PromptWriter, parent_of, selected


def rewards(writer: PromptWriter, group: Sequence[Attempt], history: History) -> list[Example]:
    """Returns each answered attempt with its reward, for the policy gradient (GRPO).

    The reward is the paper's sparse one, 1 for passing every visible case, else 0; or the share passed.
    """
    sparse = writer.extensions.reward == "success"
    return [
        _example(attempt, reward=float(verdict.visible_accepted) if sparse else verdict.visible_fraction)
        for attempt in group
        if attempt.answered and (verdict := attempt.verdict)
    ]


def sibling_rewards(writer: PromptWriter, group: Sequence[Attempt], history: History) -> list[Example]:
    """Returns each answered attempt with a steep reward that is compared among the attempts of the same parent."""
    return [
        replace(_example(attempt, reward=attempt.verdict.visible_fraction**STEEPNESS), parent=parent_of(attempt))
        for attempt in group
        if attempt.answered
    ]


def self_teacher(writer: PromptWriter, group: Sequence[Attempt], history: History) -> list[Example]:
    """Returns each answered attempt with the prompt at which the self-teacher scores it (SDPO, appendix F.3).

    That is the question with a successful attempt of the run, else with the feedback on this attempt.
    """
    known = [*history.current, *group]
    failed, items = [attempt for attempt in known if attempt.verdict.feedback], writer.extensions.feedback_items

    def context(own: Attempt) -> Prompt:
        return writer.with_feedback("teacher", selected(own, failed, items), hint=own.hint)

    return _distilled(writer, group, history, context)


def sibling_teacher(writer: PromptWriter, group: Sequence[Attempt], history: History) -> list[Example]:
    """Returns what `self_teacher` does, but a prompt with the feedback on an attempt shows its parent as well.

    A teacher that did not know the parent would blame the student for what it took from there.
    """
    known = {attempt.number: attempt for attempt in (*history.attempts, *group)}

    def context(own: Attempt) -> Prompt:
        shown = own.prompt.shows
        return writer.with_feedback("teacher", [*(known[number] for number in shown), own], shown, own.hint)

    return _distilled(writer, group, history, context)


def _distilled(
    writer: PromptWriter, group: Sequence[Attempt], history: History, context: Callable[[Attempt], Prompt]
) -> list[Example]:
    """Returns each answered attempt with a success as demonstration, else with its `context`, else with nothing.

    Another success is preferred: it teaches something even to a successful attempt. A lone success demonstrates itself,
    as in the paper; the released code gives it no loss.
    """
    answered = [attempt for attempt in group if attempt.answered]
    successes = [attempt for attempt in (*answered, *history.attempts) if attempt.verdict.visible_accepted]

    def teacher(own: Attempt) -> Prompt | None:
        others = [success for success in successes if success.number != own.number]
        if others or successes:
            return writer.with_demonstration("teacher", (others or successes)[0])
        return context(own) if own.verdict.feedback else None

    return [_example(attempt, teacher=teacher(attempt)) for attempt in answered]


def _example(attempt: Attempt, *, teacher: Prompt | None = None, reward: float | None = None) -> Example:
    completion = attempt.completion
    return Example(attempt.number, attempt.prompt.token_ids, completion.token_ids, completion.logprobs, teacher, reward)
