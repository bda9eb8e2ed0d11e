"""What the teacher reads: which demonstration or feedback stands in the reprompt of each rollout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from types import MappingProxyType

from ttsd.config import Reprompt
from ttsd.errors import UserError
from ttsd.nouns import Attempt, Example, Reading, Status
from ttsd.prompts import ChatTokenizer, as_examples, attempt_and_feedback, teacher_prompt, without_thinking


class Reprompts:
    """Student and teacher prompts of one question (SDPO, section 2.1 and appendix F.3): the loop's `Teaching`.

    Both roles go through the same tokenizer, so they share system message, chat template and thinking flag. Later
    steps may show demonstrations and feedback of the rollouts that `remember` was given.
    """

    def __init__(
        self,
        question: str,
        tokenizer: ChatTokenizer,
        settings: Reprompt,
        *,
        max_prompt_len: int,
        teacher_fraction: float = 0.0,
        reading_window: int | None = None,
    ) -> None:
        self._question = question
        self._tokenizer = tokenizer
        self._settings = settings
        self._teacher_fraction = teacher_fraction
        self._reading_window = reading_window
        self._successes: list[Attempt] = []
        self._texts: dict[str, frozenset[str]] = {}
        self.prompt_ids = tokenizer.chat(question)
        if len(self.prompt_ids) > max_prompt_len:
            raise UserError(
                f"the question's prompt has {len(self.prompt_ids)} tokens, more than "
                f"sampling.max_prompt_len={max_prompt_len}; raise that setting (questions are never cut)"
            )

    def remember(self, rollouts: Sequence[Attempt]) -> None:
        """Keeps the successes and the feedback of a finished group, where the settings let later steps read them."""
        if self._settings.demonstrations_from == "run":
            self._successes += [rollout for rollout in rollouts if rollout.verdict.visible_accepted]
        if self._settings.feedback_from == "run":
            self._texts |= _lines(rollouts)

    def discard(self) -> None:
        """Drops the feedback that `remember` kept; successes stay."""
        self._texts.clear()

    def readings(self, size: int, known: Sequence[Attempt]) -> list[Reading]:
        """What the next `size` attempts read: the question, but the last ones of them a teacher's prompt.

        That share (`sampling.teacher_fraction`) gets different reprompts of the newest step in `known`, the newest
        attempt's first; before the first verdict there is no feedback, so all attempts read the bare question. So do
        those of a round in which reading does not pay (`sampling.reading_window`); feedback does not teach them either.
        """
        wanted = round(size * self._teacher_fraction)
        if wanted and not self._reading_pays(known):
            return [Reading(self.prompt_ids, taught=False)] * size
        newest = [rollout for rollout in known if rollout.step == known[-1].step] if wanted else []
        lessons = self.lessons(newest)
        reprompts = list(dict.fromkeys(lesson.reprompt_ids for lesson in reversed(lessons) if lesson.reprompt_ids))
        taught = [Reading(reprompts[at % len(reprompts)], "teacher") for at in range(wanted if reprompts else 0)]
        return [Reading(self.prompt_ids)] * (size - len(taught)) + taught

    def _reading_pays(self, known: Sequence[Attempt]) -> bool:
        """Whether the newest attempts passed at least as many visible cases where they had read a teacher's prompt.

        An imagined attempt on either side, all right with a reading and half right without, has each tried for a while,
        and again once its attempts are no longer among the newest.
        """
        if self._reading_window is None:
            return True
        answered = [rollout for rollout in known if rollout.verdict.status is not Status.ABORTED]
        recent = answered[-self._reading_window :]
        read = [1.0, *(rollout.verdict.visible_fraction for rollout in recent if rollout.role == "teacher")]
        bare = [0.5, *(rollout.verdict.visible_fraction for rollout in recent if rollout.role == "student")]
        return fmean(read) >= fmean(bare)

    def lessons(
        self, rollouts: Sequence[Attempt], readings: Mapping[int, Reading] = MappingProxyType({})
    ) -> list[Example]:
        """One lesson for each answered rollout of a group; `readings`: what its attempts read, if not the question."""
        answered = [rollout for rollout in rollouts if rollout.verdict.status is not Status.ABORTED]
        successes = [rollout for rollout in answered if self._succeeded(rollout)] + self._successes
        # Ties: the newest text first.
        texts = _lines(reversed(answered)) | dict(reversed(self._texts.items()))
        return [self._lesson(rollout, readings.get(rollout.attempt), successes, texts) for rollout in answered]

    def _lesson(
        self,
        rollout: Attempt,
        reading: Reading | None,
        successes: Sequence[Attempt],
        texts: Mapping[str, frozenset[str]],
    ) -> Example:
        demonstration = self._demonstration(rollout, successes)
        tells = self._settings.include_environment_feedback and (reading is None or reading.taught)
        feedback = self._feedback(rollout, texts) if tells else []
        if demonstration is not None and self._settings.environment_feedback_only_without_solution:
            feedback = []
        completion, verdict = rollout.completion, rollout.verdict
        as_read = reading is not None and self._settings.student_reads == "reading"
        by_success = self._settings.reward == "success"
        return Example(
            attempt=rollout.attempt,
            prompt_ids=reading.prompt_ids if reading is not None and as_read else self.prompt_ids,
            completion_ids=completion.token_ids,
            sampler_logprobs=completion.logprobs,
            reward=float(verdict.visible_accepted) if by_success else verdict.visible_fraction,
            reprompt_ids=self._reprompt(demonstration, "\n\n".join(feedback)) if demonstration or feedback else None,
            feedback_used=bool(feedback),
            role="student" if as_read else rollout.role,
        )

    def _succeeded(self, rollout: Attempt) -> bool:
        return rollout.verdict.visible_fraction >= self._settings.success_reward_threshold

    def _feedback(self, rollout: Attempt, texts: Mapping[str, frozenset[str]]) -> list[str]:
        """At most `feedback_blocks` texts: the attempt's own one last, before it those that say most that is new."""
        own = rollout.verdict.feedback
        if not own:
            return []
        chosen, known = [own], set(own.splitlines())
        while len(chosen) < self._settings.feedback_blocks:
            best = max(texts, key=lambda text: len(texts[text] - known))
            if texts[best] <= known:
                break
            chosen.append(best)
            known |= texts[best]
        if self._settings.feedback_restates_cases:
            chosen = list(dict.fromkeys(map(as_examples, chosen)))
        if self._settings.feedback_shows_attempt:
            chosen[0] = attempt_and_feedback(rollout.completion.text, chosen[0])
        return chosen[::-1]

    def _demonstration(self, rollout: Attempt, successes: Sequence[Attempt]) -> str | None:
        # Another success is preferred: it teaches something even to a successful attempt. A lone success
        # demonstrates itself, so that it is not wasted, unless the released code's rule is asked for.
        others = [success for success in successes if success.attempt != rollout.attempt]
        own = [success for success in successes if success.attempt == rollout.attempt]
        if self._settings.dont_reprompt_on_self_success:
            own = []
        chosen = next(iter(others or own), None)
        if chosen is None:
            return None
        text = chosen.completion.text
        return without_thinking(text) if self._settings.remove_thinking_from_demonstration else text

    def _reprompt(self, demonstration: str | None, feedback: str) -> tuple[int, ...]:
        limit, cut = self._settings.max_reprompt_len, self._settings.reprompt_truncation
        reprompt_ids = self._teacher_ids(demonstration, feedback)
        if len(reprompt_ids) <= limit:
            return reprompt_ids
        if cut == "error":
            raise UserError(
                f"a teacher prompt has {len(reprompt_ids)} tokens, more than reprompt.max_reprompt_len={limit}; "
                "raise that setting, or let reprompt.reprompt_truncation=left or right shorten what is added to it"
            )
        return self._shortened(demonstration, feedback, lambda text, n: text[-n:] if cut == "left" else text[:n])

    def _shortened(self, demonstration: str | None, feedback: str, cut: Callable[[str, int], str]) -> tuple[int, ...]:
        # Demonstration and feedback lose characters by bisection; the question itself is never touched.
        low, high = 0, max(len(demonstration or ""), len(feedback))
        best = self.prompt_ids
        while low <= high:
            middle = (low + high) // 2
            shown = None if demonstration is None else cut(demonstration, middle) if middle else ""
            candidate = self._teacher_ids(shown, cut(feedback, middle) if middle else "")
            if len(candidate) <= self._settings.max_reprompt_len:
                best, low = candidate, middle + 1
            else:
                high = middle - 1
        return best

    def _teacher_ids(self, demonstration: str | None, feedback: str) -> tuple[int, ...]:
        settings = self._settings
        text = teacher_prompt(
            self._question,
            demonstration=demonstration,
            feedback=[feedback] if feedback else [],
            reprompt_template=settings.reprompt_template,
            solution_template=settings.solution_template,
            feedback_template=settings.feedback_template,
        )
        return self._tokenizer.chat(text)


def _lines(rollouts: Iterable[Attempt]) -> dict[str, frozenset[str]]:
    """The different feedback texts, in order, and the lines of each."""
    return {text: frozenset(text.splitlines()) for rollout in rollouts if (text := rollout.verdict.feedback)}
