"""Examples: what the weights learn from a finished group. Each function is a column of the table of methods."""

from __future__ import annotations

from collections.abc import Sequence

from ttsd.nouns import Attempt, Example, History, Prompt
from ttsd.prompts import PromptWriter, selected


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


def self_teacher(writer: PromptWriter, group: Sequence[Attempt], history: History) -> list[Example]:
    """Returns each answered attempt with the prompt at which the self-teacher scores it (SDPO, appendix F.3).

    That is the question with a successful attempt of the run, else with the feedback on this attempt.
    """
    answered = [attempt for attempt in group if attempt.answered]
    known = [*history.attempts, *answered]
    successes = [attempt for attempt in answered if attempt.verdict.visible_accepted]
    successes += [attempt for attempt in history.attempts if attempt.verdict.visible_accepted]
    failed = [attempt for attempt in known[history.restarted :] if attempt.verdict.feedback]
    return [_example(attempt, teacher=_teacher(writer, attempt, successes, failed)) for attempt in answered]


def _teacher(
    writer: PromptWriter, attempt: Attempt, successes: Sequence[Attempt], failed: Sequence[Attempt]
) -> Prompt | None:
    """Returns the self-teacher's prompt for `attempt`; None where nothing can be said about it.

    Another success is preferred: it teaches something even to a successful attempt. A lone success demonstrates itself,
    as in the paper; the released code gives it no loss.
    """
    others = [success for success in successes if success.number != attempt.number]
    if others or successes:
        return writer.with_demonstration("teacher", (others or successes)[0])
    if not attempt.verdict.feedback:
        return None
    hint = attempt.hint.text if attempt.hint else ""
    return writer.with_feedback("teacher", selected(attempt, failed, writer.extensions.feedback_items), hint)


def _example(attempt: Attempt, *, teacher: Prompt | None = None, reward: float | None = None) -> Example:
    completion = attempt.completion
    return Example(attempt.number, attempt.prompt.token_ids, completion.token_ids, completion.logprobs, teacher, reward)
