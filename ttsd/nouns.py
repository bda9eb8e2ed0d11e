"""The nouns that travel round the ring: completion, verdict, rollout, lesson, step. Frozen, and without behaviour.

`Problem` and `Case` belong to `problems`, which knows nothing of `ttsd`; they are named here so that one
import gives every noun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from problems.problem import Case, Problem, Split

__all__ = [
    "Attempt",
    "Case",
    "CaseResult",
    "Completion",
    "Example",
    "Gains",
    "Problem",
    "Reading",
    "Role",
    "Split",
    "Status",
    "Step",
    "Verdict",
]


Role = Literal["student", "teacher"]
Gains = Mapping[int, Sequence[float]]  # attempt -> the teacher's minus the student's log-probability of each token


class Status(StrEnum):
    """What the judge says of an attempt.

    `UNFINISHED` is a final answer that is not worked out. `ABORTED` attempts were requested, counted and not needed
    any more.
    """

    ACCEPTED = "accepted"
    WRONG_ANSWER = "wrong_answer"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    NO_PROGRAM = "no_program"
    UNFINISHED = "unfinished"
    TRUNCATED = "truncated"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Completion:
    """Tokens that the sampler drew for one prompt.

    `token_ids` contains the end-of-turn token where one was drawn; `logprobs` are the sampler's natural
    log-probabilities of exactly these tokens, one each.
    """

    token_ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length", "abort"]
    adapter_version: int = 0
    prompt_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Tells how one case of one program ended.

    `actual` is what it printed or returned, `error` the traceback of its own lines. `score` is 0 to 1, in between only
    where a checker says so, and `message` is what a checker said.
    """

    index: int
    status: Status
    actual: str = ""
    error: str = ""
    cpu_seconds: float = 0.0
    message: str = ""
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge's word on one program. Counts cover the cases that were run; judging stops when the rest can't matter.

    `first_failure` is the index in the problem's own case order, hidden cases included; `feedback` speaks of
    visible cases only and is empty for an accepted attempt. `score` is that of a judge or checker of the user's own, or
    the share of the points that the visible cases earned; None where cases count alike.
    """

    status: Status
    visible_passed: int
    visible_total: int
    hidden_passed: int
    hidden_total: int
    first_failure: int | None = None
    feedback: str = ""
    cpu_seconds: float = 0.0
    score: float | None = None

    @property
    def visible_accepted(self) -> bool:
        return self.visible_total > 0 and self.visible_passed == self.visible_total

    @property
    def accepted(self) -> bool:
        """A discovery: every visible and every hidden case passed."""
        return self.status is Status.ACCEPTED

    @property
    def visible_fraction(self) -> float:
        """Returns the share passed, 0 to 1: the score where there is one, else the share of the visible cases."""
        if self.score is not None:
            return min(max(self.score, 0.0), 1.0)
        return self.visible_passed / self.visible_total if self.visible_total else 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt, and the role in which the policy answers it. `taught`: feedback on the answer is distilled."""

    prompt_ids: tuple[int, ...]
    role: Role = "student"
    taught: bool = True


@dataclass(frozen=True, slots=True)
class Attempt:
    """One judged attempt. `attempt` is 1-based within the run, in the order of request.

    `role` says what its author had read: the question (student) or a teacher's prompt (teacher). Attempts of the same
    `round` (1-based within the run) were requested at once, when the verdicts of all earlier rounds were known.
    """

    attempt: int
    step: int
    completion: Completion
    program: str | None
    verdict: Verdict
    judge_seconds: float = 0.0
    role: Role = "student"
    round: int = 1


@dataclass(frozen=True, slots=True)
class Example:
    """What one rollout teaches: its tokens, read by the student and by the teacher.

    `reward` is the paper's sparse one (1 for passing every visible case, else 0), or the share of visible cases passed.
    `reprompt_ids` is None when the teacher has nothing to say of this attempt (no demonstration, no feedback).
    `sampler_logprobs` belong to `prompt_ids` if `role` is the student's, else to the prompt that a teacher was given.
    """

    attempt: int
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    sampler_logprobs: tuple[float, ...]
    reward: float
    reprompt_ids: tuple[int, ...] | None = None
    feedback_used: bool = False
    role: Role = "student"


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of the ring, complete: its rollouts in attempt order, what was learnt and how long each phase took."""

    number: int
    rollouts: tuple[Attempt, ...]
    adapter_version: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def discovery(self) -> Attempt | None:
        """The discovery with the lowest attempt number, as if the samples had been drawn one by one."""
        return next((rollout for rollout in self.rollouts if rollout.verdict.accepted), None)
